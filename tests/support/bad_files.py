"""Things people hand over that are no usable video, each with the code and exit code that the product documents.

The codes are CONTRACTS part D as the error tree states it; this module writes the files and does not run anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av

from tests.support import bent_clips
from tests.support.clip_spec import Clip, Picture, Sound
from tests.support.clip_writer import write_clip

SOURCE_EXIT = 3


@dataclass(frozen=True, slots=True)
class Bad:
    """A bad source: how to make it, and which error codes are right for it.

    `begins_well` is true where only the work itself can find out.
    """

    name: str
    write: Callable[[Path], object]
    codes: frozenset[str]
    exit_code: int = SOURCE_EXIT
    begins_well: bool = False


def _bad(name: str, write: Callable[[Path], object], *codes: str) -> Bad:
    return Bad(name, write, frozenset(codes))


def _nothing(path: Path) -> None:
    del path


def _text(path: Path) -> None:
    path.write_text("This is a letter, not a video.\n" * 40)


def _png(path: Path) -> None:
    av.VideoFrame(32, 32, "rgb24").to_image().save(path, format="PNG")


def _without_index(path: Path) -> None:
    write_clip(Clip(sounds=(Sound(),)), path)
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"moov") - 4])


def _audio_only(path: Path) -> None:
    write_clip(Clip(pictures=(), sounds=(Sound(),)), path)


def _cover_only(path: Path) -> None:
    write_clip(Clip(pictures=(), sounds=(Sound(),), cover=True), path)


def _without_frames(path: Path) -> None:
    with av.open(str(path), "w", options={"movflags": "+empty_moov+frag_keyframe"}) as out:
        stream = out.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        out.start_encoding()


def _one_pixel(path: Path) -> None:
    write_clip(Clip(suffix=".mkv", pictures=(Picture(codec="ffv1", width=1, height=1, frame_count=2),)), path)


def _too_wide(path: Path) -> None:
    """Write a header that says 16385 samples; the packet behind it is small and honest about it."""
    picture = Picture(codec="ffv1", width=16385, height=16, frame_count=1, pixel_format="gray")
    write_clip(Clip(suffix=".mkv", pictures=(picture,)), path)


def _hls_playlist(path: Path) -> None:
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n")


def _concat_list(path: Path) -> None:
    path.write_text("ffconcat version 1.0\nfile /etc/hostname\nduration 2\n")


def _retagged(tag: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        write_clip(Clip(), path)
        content = path.read_bytes()
        place = content.index(b"avc1", content.index(b"stsd"))
        path.write_bytes(content[:place] + tag + content[place + 4 :])

    return write


def _encrypted(path: Path) -> None:
    """Write an MP4 by the common encryption scheme; the key is not in the file."""
    key = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "00" * 16, "encryption_kid": "11" * 16}
    write_clip(Clip(container_options=key), path)


def _noise(path: Path) -> None:
    path.write_bytes(bytes((n * 2654435761 >> 13) % 256 for n in range(40_000)))


BAD_SOURCES = (
    _bad("missing.mp4", _nothing, "source_not_found"),
    _bad("folder.mp4", Path.mkdir, "source_not_found"),  # a folder is a batch; this one is empty
    _bad("empty.mp4", Path.touch, "not_media"),
    _bad("letter.mp4", _text, "not_media"),
    _bad("picture.mp4", _png, "not_media", "unsupported_format"),
    _bad("no_moov.mp4", _without_index, "not_media", "source_truncated", "source_corrupt"),
    _bad("audio_only.m4a", _audio_only, "no_video"),
    _bad("cover_only.mp4", _cover_only, "no_video"),
    _bad("one_pixel.mkv", _one_pixel, "unsupported_format", "nothing_to_upscale", "no_video"),
    _bad("no_frames.mp4", _without_frames, "no_video", "not_media"),
    _bad("too_wide.mkv", _too_wide, "too_many_pixels"),
    _bad("playlist.m3u8", _hls_playlist, "unsupported_format", "not_media"),
    _bad("playlist_called.mp4", _hls_playlist, "unsupported_format", "not_media"),
    _bad("list.ffconcat", _concat_list, "unsupported_format", "not_media"),
    _bad("list_called.mp4", _concat_list, "unsupported_format", "not_media"),
    _bad("unknown_codec.mp4", _retagged(b"zzzz"), "codec_not_allowed", "no_video"),
    _bad("encrypted_tag.mp4", _retagged(b"encv"), "codec_not_allowed", "source_corrupt", "no_video"),
    _bad("encrypted.mp4", _encrypted, "codec_not_allowed"),
    _bad("noise.mkv", _noise, "not_media"),
    Bad("size_changes.ts", bent_clips.size_that_changes, frozenset({"unsupported_format"}), begins_well=True),
    Bad("time_jumps_back.ts", bent_clips.time_that_jumps_back, frozenset({"source_corrupt"}), begins_well=True),
    Bad("noise_in_packets.mkv", bent_clips.corrupt_everywhere, frozenset({"source_corrupt"}), begins_well=True),
)
