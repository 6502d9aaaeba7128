"""Files that no well-behaved writer makes: cut, shifted, corrupted, or packed the old way.

Each function writes one file by bending a good one; what a run must do with it is said by the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from tests.support.clip_spec import Clip, Picture, Sound
from tests.support.clip_writer import write_clip
from tests.support.packed_avi import packed

MILLISECONDS = Fraction(1, 1000)
GOP_OF_TWELVE = {"bf": "2", "g": "12", "x264-params": "b-adapt=0:scenecut=0"}


def edit_list_that_skips(path: Path) -> Path:
    """Write an MP4 whose edit list starts at the sixth frame: the frames before it are decoded, not shown."""
    source = write_clip(Clip(pictures=(Picture(options=GOP_OF_TWELVE, frame_count=36),)), path.with_suffix(".0.mp4"))
    content = bytearray(source.read_bytes())
    source.unlink()
    place = content.index(b"elst")
    media_time = place + 4 + 4 + 4 + 4
    ticks = int.from_bytes(content[media_time : media_time + 4], "big")
    content[media_time : media_time + 4] = (ticks + 5 * _frame_ticks(content)).to_bytes(4, "big")
    path.write_bytes(content)
    return path


def _frame_ticks(content: bytearray) -> int:
    place = content.index(b"mdhd")
    timescale = int.from_bytes(content[place + 16 : place + 20], "big")
    return timescale // 25


def timestamps_wrap(path: Path) -> Path:
    """Write a transport stream whose 33-bit clock starts over inside it: its first frames read as negative times."""
    picture = Picture(options=GOP_OF_TWELVE, frame_count=36)
    options = {"output_ts_offset": str(2**33 / 90000 - 0.5)}
    return write_clip(
        Clip(suffix=".ts", pictures=(picture,), sounds=(Sound(seconds=1.4),), container_options=options), path
    )


def frames_before_the_edit(path: Path) -> Path:
    """Write an MP4 whose first five frames have negative times: its edit list hides them."""
    times = tuple(-200 + 40 * n for n in range(24))
    picture = Picture(time_base=MILLISECONDS, times=times, options={"g": "12", "bf": "0"})
    return write_clip(Clip(pictures=(picture,), container_options={"avoid_negative_ts": "disabled"}), path)


def first_frames_without_time(path: Path) -> Path:
    """Write a Matroska file whose first two frames have lost their times."""
    times = tuple(-80 + 40 * n for n in range(24))
    picture = Picture(time_base=MILLISECONDS, times=times, options={"g": "12", "bf": "0"})
    return write_clip(
        Clip(suffix=".mkv", pictures=(picture,), container_options={"avoid_negative_ts": "disabled"}), path
    )


def b_frames_avi(path: Path) -> Path:
    """Write an AVI with MPEG-4 B-frames, whose packets carry no PTS."""
    picture = Picture(codec="mpeg4", options={"bf": "2", "g": "12"})
    return write_clip(Clip(suffix=".avi", pictures=(picture,)), path)


def packed_b_frames_avi(path: Path) -> Path:
    """Write an AVI the way DivX did: a P-frame and the B-frame before it in one packet, then an empty one."""
    picture = Picture(codec="mpeg4", options={"bf": "1", "g": "999", "b_strategy": "0"}, frame_count=25)
    source = write_clip(Clip(suffix=".avi", pictures=(picture,)), path.with_suffix(".0.avi"))
    packed(source, path)
    source.unlink()
    return path


def audio_before_video(path: Path) -> Path:
    """Write a file whose first stream is sound."""
    source = write_clip(
        Clip(suffix=".mkv", pictures=(Picture(options=GOP_OF_TWELVE),), sounds=(Sound(language="eng"),)),
        path.with_suffix(".0.mkv"),
    )
    _remux(source, path, order=(1, 0), bend=lambda packets: packets)
    source.unlink()
    return path


def corrupt_packets(path: Path) -> Path:
    """Write a Matroska file with two packets in the middle that hold noise instead of a picture."""
    return _with_noise(path, ".mkv", {8, 9})


def corrupt_transport_stream(path: Path) -> Path:
    """Write a transport stream with bytes lost in the middle."""
    source = _three_gops(path.with_suffix(".0.ts"))
    content = bytearray(source.read_bytes())
    source.unlink()
    middle = len(content) // 2 // 188 * 188
    content[middle : middle + 3 * 188] = bytes(3 * 188)
    path.write_bytes(content)
    return path


def corrupt_everywhere(path: Path) -> Path:
    """Write six seconds that are noise after the first packets: more errors in a row than any bound allows."""
    return _with_noise(path, ".mkv", set(range(3, 150)), frame_count=150)


def truncated_mkv(path: Path) -> Path:
    """Write a Matroska file that ends after two thirds of its bytes."""
    return _cut(_three_gops(path), Fraction(2, 3))


def truncated_ts(path: Path) -> Path:
    """Write a transport stream that ends inside a packet."""
    return _cut(_three_gops(path), Fraction(2, 3))


def truncated_faststart_mp4(path: Path) -> Path:
    """Write an MP4 with its index in front that ends after two thirds of its bytes."""
    return _cut(_three_gops(path, {"movflags": "+faststart"}), Fraction(2, 3))


def starts_inside_a_gop(path: Path) -> Path:
    """Write a transport stream whose first packets belong to a keyframe that is not there, as a recording starts."""
    source = _three_gops(path.with_suffix(".0.ts"))
    _remux(source, path, order=(0, 1), bend=_without_first_keyframe)
    source.unlink()
    return path


def size_that_changes(path: Path) -> Path:
    """Write a transport stream whose picture becomes larger in the middle."""
    return _one_after_another(path, Picture(**_FIRST), Picture(**_FIRST | {"width": 128, "height": 80}), "3.0")


def time_that_jumps_back(path: Path) -> Path:
    """Write a recording that was started again: its second half has the times of the first."""
    return _one_after_another(path, Picture(**_FIRST), Picture(**_FIRST | {"first_index": 36}), "1.4")


def time_that_jumps_forward(path: Path) -> Path:
    """Write a recording with a pause of half a minute in it."""
    return _one_after_another(path, Picture(**_FIRST), Picture(**_FIRST | {"first_index": 36}), "30")


_FIRST: dict[str, Any] = {"frame_count": 36, "options": GOP_OF_TWELVE}


def _one_after_another(path: Path, first: Picture, second: Picture, second_start: str) -> Path:
    content = b""
    for picture, start in ((first, "1.4"), (second, second_start)):
        clip = Clip(suffix=".ts", pictures=(picture,), container_options={"output_ts_offset": start})
        content += write_clip(clip, path).read_bytes()
    path.write_bytes(content)
    return path


def _without_first_keyframe(packets: Iterator[av.Packet]) -> Iterator[av.Packet]:
    dropped = False
    for packet in packets:
        if packet.stream.type == "video" and not dropped:
            dropped = True
            continue
        yield packet


def _three_gops(path: Path, container_options: dict[str, str] | None = None, frame_count: int = 36) -> Path:
    picture = Picture(frame_count=frame_count, options=GOP_OF_TWELVE)
    clip = Clip(
        suffix=path.suffix, pictures=(picture,), sounds=(Sound(seconds=1.4),), container_options=container_options or {}
    )
    return write_clip(clip, path)


def _cut(path: Path, share: Fraction) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def _with_noise(path: Path, suffix: str, places: set[int], frame_count: int = 36) -> Path:
    source = _three_gops(path.with_suffix(".0" + suffix), frame_count=frame_count)
    _remux(source, path, order=(0, 1), bend=lambda packets: _noisy(packets, places))
    source.unlink()
    return path


def _noisy(packets: Iterator[av.Packet], places: set[int]) -> Iterator[av.Packet]:
    position = 0
    for packet in packets:
        if packet.stream.type == "video":
            if position in places:
                content = bytes(packet)
                packet.update(content[:5] + bytes((37 * n + 11) % 256 for n in range(max(len(content) - 5, 1))))
            position += 1
        yield packet


def _remux(
    source: Path, path: Path, order: tuple[int, ...], bend: Callable[[Iterator[av.Packet]], Iterator[av.Packet]]
) -> None:
    with av.open(str(source)) as content, av.open(str(path), "w") as out:
        streams = {i: out.add_stream_from_template(content.streams[i], opaque=True) for i in order}
        for i, stream in streams.items():
            stream.metadata.update({k: v for k, v in content.streams[i].metadata.items() if k in ("language", "title")})
        packets = (packet for packet in content.demux() if packet.size)
        for packet in bend(packets):
            packet.stream = streams[packet.stream.index]
            out.mux(packet)
