"""The generated corpus: every trait of real files, alone and in nasty combinations, by name.

Each entry says in its name what is special; `case` objects add what a run over it needs to know. Files that no clean
writer makes (cut, bent, corrupt) come from `bent_clips`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from tests.support import bent_clips
from tests.support.clip_spec import (
    BT601,
    BT601_PAL,
    BT709,
    BT709_FULL,
    BT2020,
    BT2020_HLG,
    BT2020_PQ,
    Attachment,
    Chapter,
    Clip,
    Picture,
    Sound,
    Texts,
)
from tests.support.clip_writer import write_clip
from tests.support.oracle import Promise

NTSC = Fraction(30000, 1001)
FILM = Fraction(24000, 1001)
MILLISECONDS = Fraction(1, 1000)
NINETY_KHZ = Fraction(1, 90000)
UNEVEN_TIMES = (0, 33, 67, 100, 450, 455, 460, 900, 901, 933, 1500, 1540, 2300, 2340, 2380, 2381, 3000, 3100)
"""Milliseconds with a 1 ms gap, long pauses and bursts: nothing that a frame rate could reproduce."""

MASTERING = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
MASTERING_DECIMALS = "G(0.265,0.69)B(0.15,0.06)R(0.68,0.32)WP(0.3127,0.329)L(1000,0.005)"
LIGHT = "1000,400"
SILENT_X265 = "log-level=none:"
B_FRAMES = {"bf": "3", "g": "12", "x264-params": "b-adapt=0"}
LEFT_OUT = frozenset({"stream_left_out"})
FIRST_CHAPTERS = (Chapter(0.0, 0.4, "opening"), Chapter(0.4, 0.96, "the end, with ünïcödé"))
FEATURE_SOUNDS = (
    Sound(language="eng", title="stereo mix", disposition=1),
    Sound(language="fra", hertz=880),
    Sound(codec="ac3", rate=48000, language="deu", title="commentary", disposition=8),
)


@dataclass(frozen=True, slots=True)
class Case:
    """A corpus file and what a faithful run over it looks like.

    `out_suffix` is the container asked for (empty: the source's own). `dropped` are kinds of tracks that this target
    cannot hold, `warnings` the codes that the report must name. `deinterlaced` marks pictures whose lines are rebuilt.

    """

    write: Callable[[Path], Path]
    suffix: str
    out_suffix: str = ""
    options: tuple[str, ...] = ()
    dropped: frozenset[str] = frozenset()
    warnings: frozenset[str] = frozenset()
    deinterlaced: bool = False
    delayed: bool = False

    @property
    def target_suffix(self) -> str:
        """Return the suffix of the output asked for."""
        return self.out_suffix or self.suffix

    @property
    def promise(self) -> Promise:
        """Return what the oracle lets differ."""
        return Promise(dropped=self.dropped, deinterlaced=self.deinterlaced, delayed=self.delayed)


def _case(clip: Clip, **facts: object) -> Case:
    return Case(write=lambda path: write_clip(clip, path), suffix=clip.suffix, **facts)  # type: ignore[arg-type]


def _of(picture: Picture, suffix: str = ".mp4", **facts: object) -> Case:
    return _case(Clip(suffix=suffix, pictures=(picture,)), **facts)


def _bent(write: Callable[[Path], Path], suffix: str, **facts: object) -> Case:
    return Case(write=write, suffix=suffix, **facts)  # type: ignore[arg-type]


def _x265(colour: tuple[int, int, int, int], pixel_format: str, parameters: str = "") -> Picture:
    return Picture(
        codec="libx265",
        pixel_format=pixel_format,
        colour=colour,
        options={"x265-params": SILENT_X265 + "pools=none:frame-threads=1" + parameters, "preset": "ultrafast"},
    )


TIME = {
    "constant_rate": _of(Picture()),
    "rate_23_976": _of(Picture(rate=FILM, time_base=Fraction(1, 24000), times=tuple(1001 * n for n in range(24)))),
    "rate_29_97_with_b_frames": _of(Picture(rate=NTSC, options=B_FRAMES)),
    "rate_59_94_in_mkv": _of(Picture(rate=Fraction(60000, 1001), frame_count=40), ".mkv"),
    "rate_14_985": _of(Picture(rate=Fraction(15000, 1001), frame_count=15)),
    "one_frame_a_second": _of(Picture(rate=Fraction(1), frame_count=7)),
    "single_frame": _of(Picture(frame_count=1)),
    "two_frames": _of(Picture(frame_count=2, options=B_FRAMES)),
    "variable_rate": _of(Picture(time_base=MILLISECONDS, times=UNEVEN_TIMES)),
    "variable_rate_b_frames": _of(Picture(time_base=MILLISECONDS, times=UNEVEN_TIMES, options=B_FRAMES)),
    "variable_rate_mkv": _of(Picture(time_base=MILLISECONDS, times=UNEVEN_TIMES, options=B_FRAMES), ".mkv"),
    "variable_rate_odd_time_base": _of(
        Picture(time_base=Fraction(1, 11988), times=tuple(500 * n + 37 * (n % 3) for n in range(30)), rate=FILM)
    ),
    "long_time_base_90khz": _of(Picture(time_base=NINETY_KHZ, times=tuple(3003 * n + n % 2 for n in range(30)))),
    "edit_list": _case(
        Clip(pictures=(Picture(options=B_FRAMES),), container_options={"use_editlist": "1"}, sounds=(Sound(),))
    ),
    "no_edit_list_b_frames": _case(
        Clip(pictures=(Picture(options=B_FRAMES),), container_options={"use_editlist": "0"})
    ),
    "edit_list_skips_frames": _bent(bent_clips.edit_list_that_skips, ".mp4"),
    "negative_first_pts": _bent(bent_clips.timestamps_wrap, ".ts", out_suffix=".mkv"),
    "negative_first_pts_to_mp4": _bent(bent_clips.timestamps_wrap, ".ts", out_suffix=".mp4"),
    "frames_before_the_edit": _bent(bent_clips.frames_before_the_edit, ".mp4"),
    "late_first_pts": _of(Picture(time_base=MILLISECONDS, times=tuple(700 + 40 * n for n in range(24)))),
    "late_first_pts_between_milliseconds": _case(
        Clip(
            pictures=(Picture(rate=NTSC, time_base=NINETY_KHZ, times=tuple(21021 + 3003 * n for n in range(24))),),
            sounds=(Sound(rate=44100, start_seconds=Fraction(1, 7)),),
        )
    ),
    "late_first_pts_mkv": _of(
        Picture(time_base=MILLISECONDS, times=tuple(1234 + 40 * n for n in range(24)), options=B_FRAMES), ".mkv"
    ),
    "audio_starts_later": _case(Clip(sounds=(Sound(start_seconds=Fraction(3, 10)),))),
    "audio_starts_before_picture": _case(
        Clip(
            pictures=(Picture(time_base=MILLISECONDS, times=tuple(520 + 40 * n for n in range(24)), options=B_FRAMES),),
            sounds=(Sound(seconds=1.5),),
        ),
    ),
    "audio_longer_than_picture": _case(Clip(sounds=(Sound(seconds=2.5),))),
    "transport_stream_offset": _case(
        Clip(
            suffix=".ts",
            pictures=(Picture(options=B_FRAMES, colour=BT709),),
            sounds=(Sound(),),
            container_options={"output_ts_offset": "1.4"},
        ),
        out_suffix=".mkv",
    ),
    "transport_stream_to_mp4": _case(
        Clip(
            suffix=".ts",
            pictures=(Picture(codec="mpeg2video", options={"bf": "2"}),),
            sounds=(Sound(codec="ac3", rate=48000),),
        ),
        out_suffix=".mp4",
    ),
    "transport_stream_to_mov": _case(
        Clip(
            suffix=".ts",
            pictures=(Picture(options=B_FRAMES),),
            sounds=(Sound(),),
            container_options={"output_ts_offset": "1.4"},
        ),
        out_suffix=".mov",
    ),
    "open_gop": _of(
        Picture(
            frame_count=48,
            options={"bf": "3", "g": "12", "x264-params": "open-gop=1:b-adapt=0:keyint=12:min-keyint=12:scenecut=0"},
        )
    ),
    "open_gop_hevc": _of(
        Picture(
            codec="libx265",
            frame_count=48,
            options={
                "x265-params": SILENT_X265
                + "open-gop=1:keyint=12:min-keyint=12:scenecut=0:bframes=3:b-adapt=0:pools=none"
            },
        ),
        ".mkv",
    ),
    "time_jumps_forward": _bent(bent_clips.time_that_jumps_forward, ".ts", out_suffix=".mkv"),
    "starts_after_a_day": _of(
        Picture(time_base=MILLISECONDS, times=tuple(90_000_123 + 40 * n for n in range(24))), ".mkv"
    ),
    "an_hour_between_frames": _of(
        Picture(time_base=MILLISECONDS, times=(0, 40, 80, 3_600_080, 3_600_120, 3_600_160), options=B_FRAMES), ".mkv"
    ),
    "an_hour_between_frames_mp4": _of(
        Picture(time_base=MILLISECONDS, times=(0, 40, 80, 3_600_080, 3_600_120, 3_600_160), options=B_FRAMES)
    ),
    "thousand_frames_a_second": _of(
        Picture(time_base=MILLISECONDS, rate=Fraction(1000), times=tuple(range(60)), options=B_FRAMES), ".mkv"
    ),
    "audio_after_the_picture": _case(Clip(sounds=(Sound(start_seconds=Fraction(2)),))),
    "mp4_to_mkv": _case(
        Clip(
            pictures=(Picture(options=B_FRAMES),),
            sounds=(Sound(language="fra"),),
            chapters=FIRST_CHAPTERS,
            cover=True,
            metadata={"title": "Moved"},
        ),
        out_suffix=".mkv",
        delayed=True,
        warnings=frozenset({"times_delayed"}),
    ),
    "one_keyframe": _of(Picture(frame_count=60, options={"bf": "3", "g": "999", "x264-params": "scenecut=0"})),
    "all_intra": _of(Picture(options={"g": "1"})),
    "frames_left_in_decoder": _of(
        Picture(options={"bf": "8", "g": "250", "refs": "8", "x264-params": "b-adapt=0:b-pyramid=normal"})
    ),
}

SHAPES = {
    "odd_size_444": _of(Picture(width=75, height=51, pixel_format="yuv444p"), ".mkv"),
    "odd_size_ffv1_420": _of(Picture(codec="ffv1", width=75, height=51), ".mkv"),
    "odd_size_vp9_420": _of(
        Picture(codec="libvpx-vp9", width=77, height=53, options={"cpu-used": "8"}), ".webm", out_suffix=".mkv"
    ),
    "odd_width_422": _of(Picture(codec="ffv1", width=83, height=50, pixel_format="yuv422p"), ".mkv"),
    "portrait": _of(Picture(width=66, height=118)),
    "width_not_a_multiple_of_four": _of(Picture(width=102, height=70)),
    "anamorphic_16_11": _of(Picture(sample_aspect_ratio=Fraction(16, 11))),
    "anamorphic_4_3_mkv": _of(Picture(sample_aspect_ratio=Fraction(4, 3)), ".mkv"),
    "anamorphic_narrow": _of(Picture(sample_aspect_ratio=Fraction(8, 9), rate=NTSC)),
    "anamorphic_rotated": _of(Picture(sample_aspect_ratio=Fraction(4, 3), rotation=90)),
    "rotated_90": _of(Picture(rotation=90)),
    "rotated_180": _of(Picture(rotation=180)),
    "rotated_270_mov": _of(Picture(rotation=270), ".mov"),
    "rotated_mkv": _of(Picture(rotation=90), ".mkv"),
    "interlaced_top_first": _of(
        Picture(
            codec="mpeg2video", filter_chain="setfield=tff", options={"flags": "+ildct+ilme", "b": "2000k"}, height=96
        ),
        ".mkv",
        deinterlaced=True,
        warnings=frozenset({"deinterlaced"}),
    ),
    "interlaced_bottom_first_h264": _of(
        Picture(
            filter_chain="setfield=bff", options={"flags": "+ildct+ilme", "x264-params": "bff=1", "bf": "2"}, height=96
        ),
        deinterlaced=True,
        warnings=frozenset({"deinterlaced"}),
    ),
    "interlaced_h264_tagged_pal": _of(
        Picture(
            filter_chain="setfield=tff",
            options={"flags": "+ildct+ilme", "x264-params": "tff=1"},
            height=96,
            colour=BT601_PAL,
            sample_aspect_ratio=Fraction(16, 11),
        ),
        ".ts",
        out_suffix=".mkv",
        deinterlaced=True,
        warnings=frozenset({"deinterlaced"}),
    ),
}

COLOURS = {
    "bt601": _of(Picture(colour=BT601)),
    "bt709": _of(Picture(colour=BT709)),
    "bt709_full_range": _of(Picture(colour=BT709_FULL)),
    "full_range_yuvj": _of(Picture(pixel_format="yuvj420p", colour=(2, 2, 2, 2))),
    "full_range_mjpeg_avi": _of(
        Picture(codec="mjpeg", pixel_format="yuvj420p", colour=(2, 2, 2, 2)), ".avi", out_suffix=".mkv"
    ),
    "bt2020_ten_bits": _of(_x265(BT2020, "yuv420p10le")),
    "pq_without_metadata": _of(_x265(BT2020_PQ, "yuv420p10le")),
    "hlg": _of(_x265(BT2020_HLG, "yuv420p10le"), ".mkv"),
    "hdr10_hevc": _of(
        _x265(BT2020_PQ, "yuv420p10le", f":hdr10=1:repeat-headers=1:master-display={MASTERING}:max-cll={LIGHT}"),
    ),
    "hdr10_hevc_mkv": _of(
        _x265(BT2020_PQ, "yuv420p10le", f":hdr10=1:master-display={MASTERING}:max-cll={LIGHT}"), ".mkv"
    ),
    "hdr10_av1": _of(
        Picture(
            codec="libsvtav1",
            pixel_format="yuv420p10le",
            colour=BT2020_PQ,
            options={
                "preset": "12",
                "svtav1-params": f"lp=1:mastering-display={MASTERING_DECIMALS}:content-light={LIGHT}",
            },
        ),
        ".mkv",
    ),
    "hdr10_max_cll_only": _of(_x265(BT2020_PQ, "yuv420p10le", f":hdr10=1:max-cll={LIGHT}"), ".mkv"),
    "ten_bits_420_h264": _of(Picture(pixel_format="yuv420p10le")),
    "ten_bits_422": _of(Picture(pixel_format="yuv422p10le", colour=BT709)),
    "ten_bits_444": _of(_x265(BT709, "yuv444p10le"), ".mkv"),
    "eight_bits_422": _of(Picture(pixel_format="yuv422p")),
    "eight_bits_444": _of(Picture(pixel_format="yuv444p", colour=BT709), ".mkv"),
    "gray": _of(Picture(codec="ffv1", pixel_format="gray"), ".mkv"),
    "monochrome_h264": _of(Picture(pixel_format="gray"), ".mp4"),
    "rgb": _of(Picture(codec="ffv1", pixel_format="bgr0"), ".mkv", warnings=frozenset({"rgb_converted"})),
    "alpha_webm": _of(
        Picture(codec="libvpx-vp9", pixel_format="yuva420p", options={"cpu-used": "8", "auto-alt-ref": "0"}),
        ".webm",
        out_suffix=".mkv",
        warnings=frozenset({"alpha_dropped"}),
    ),
    "alpha_prores": _of(
        Picture(codec="prores_ks", pixel_format="yuva444p10le", colour=BT709),
        ".mov",
        warnings=frozenset({"alpha_dropped"}),
    ),
    "gif": _of(
        Picture(codec="gif", pixel_format="gray"), ".gif", out_suffix=".mp4", warnings=frozenset({"rgb_converted"})
    ),
    "twelve_bits": _of(_x265(BT709, "yuv420p12le"), ".mkv", warnings=frozenset({"bit_depth_reduced"})),
    "chroma_top_left": _of(Picture(colour=BT2020, options={"x264-params": "chromaloc=2"})),
    "chroma_center": _of(Picture(options={"x264-params": "chromaloc=1"}), ".mkv"),
}

CODECS = {
    "prores_mov": _of(Picture(codec="prores_ks", pixel_format="yuv422p10le", colour=BT709), ".mov"),
    "mpeg4_avi": _of(Picture(codec="mpeg4"), ".avi", out_suffix=".mkv"),
    "mpeg4_b_frames_avi": _bent(bent_clips.b_frames_avi, ".avi", out_suffix=".mkv"),
    "mpeg4_packed_b_frames_avi": _bent(bent_clips.packed_b_frames_avi, ".avi", out_suffix=".mkv"),
    "mpeg2_b_frames_mkv": _of(Picture(codec="mpeg2video", options={"bf": "2", "g": "12"}), ".mkv"),
    "vp9_webm": _case(
        Clip(
            suffix=".webm",
            pictures=(Picture(codec="libvpx-vp9", options={"cpu-used": "8"}),),
            sounds=(Sound(codec="libopus", rate=48000),),
        ),
        out_suffix=".mkv",
    ),
    "vp9_webm_to_av1_webm": _case(
        Clip(
            suffix=".webm",
            pictures=(Picture(codec="libvpx-vp9", options={"cpu-used": "8"}),),
            sounds=(Sound(codec="libopus", rate=48000),),
        ),
        options=("--codec", "libsvtav1"),
    ),
    "av1_mp4": _of(Picture(codec="libsvtav1", options={"preset": "12", "svtav1-params": "lp=1"})),
    "hevc_mkv_to_mp4": _case(
        Clip(suffix=".mkv", pictures=(_x265(BT709, "yuv420p"),), sounds=(Sound(),)), out_suffix=".mp4"
    ),
    "ffv1_with_flac": _case(Clip(suffix=".mkv", pictures=(Picture(codec="ffv1"),), sounds=(Sound(codec="flac"),))),
    "mov_with_pcm": _case(Clip(suffix=".mov", sounds=(Sound(codec="pcm_s16le"),))),
    "fragmented_mp4": _case(
        Clip(
            pictures=(Picture(options=B_FRAMES),),
            sounds=(Sound(),),
            container_options={"movflags": "frag_keyframe+empty_moov"},
        )
    ),
    "flac_and_opus_in_mp4": _case(Clip(sounds=(Sound(codec="flac"), Sound(codec="libopus", rate=48000)))),
    "pcm_in_mkv": _case(Clip(suffix=".mkv", sounds=(Sound(codec="pcm_s16le", language="eng"),))),
    "mpeg_program_stream": _case(
        Clip(
            suffix=".mpg",
            container="vob",
            pictures=(Picture(codec="mpeg2video", options={"bf": "2", "g": "12"}),),
            sounds=(Sound(codec="ac3", rate=48000),),
        ),
        out_suffix=".mkv",
    ),
    "flv": _case(
        Clip(suffix=".flv", pictures=(Picture(options=B_FRAMES),), sounds=(Sound(rate=44100),)), out_suffix=".mp4"
    ),
    "wmv": _case(Clip(suffix=".wmv", pictures=(Picture(codec="wmv2"),)), out_suffix=".mkv"),
    "raw_h264": _of(Picture(options={"g": "12", "bf": "0"}), ".h264", out_suffix=".mp4"),
    "to_h264": _case(Clip(sounds=(Sound(),)), options=("--codec", "libx264")),
    "to_av1_ten_bits": _of(Picture(pixel_format="yuv420p10le", colour=BT2020), options=("--codec", "libsvtav1")),
}

TRACKS = {
    "three_audio_tracks": _case(Clip(sounds=FEATURE_SOUNDS)),
    "three_audio_tracks_mkv": _case(Clip(suffix=".mkv", sounds=FEATURE_SOUNDS)),
    "subtitles_mov_text": _case(Clip(texts=(Texts(codec="mov_text"), Texts(codec="mov_text", language="spa")))),
    "subtitles_mkv": _case(
        Clip(
            suffix=".mkv",
            texts=(
                Texts(title="plain"),
                Texts(codec="ass", language="jpn", title="styled"),
                Texts(language="fra", disposition=64),
            ),
        ),
    ),
    "subtitles_mkv_to_mp4": _case(
        Clip(suffix=".mkv", texts=(Texts(), Texts(codec="ass", language="jpn"))),
        out_suffix=".mp4",
        dropped=frozenset({"subtitle"}),
        warnings=LEFT_OUT,
    ),
    "chapters": _case(Clip(chapters=FIRST_CHAPTERS)),
    "chapters_mkv": _case(
        Clip(suffix=".mkv", chapters=FIRST_CHAPTERS, metadata={"title": "Show", "ARTIST": "Somebody"})
    ),
    "attachments": _case(
        Clip(suffix=".mkv", attachments=(Attachment(), Attachment("second.otf", "font/otf", b"OTTO" * 50)))
    ),
    "attachments_to_mp4": _case(
        Clip(suffix=".mkv", attachments=(Attachment(),)),
        out_suffix=".mp4",
        dropped=frozenset({"attachment"}),
        warnings=LEFT_OUT,
    ),
    "cover_art": _case(Clip(cover=True, sounds=(Sound(),))),
    "cover_art_mkv": _case(Clip(suffix=".mkv", cover=True)),
    "timed_data": _case(Clip(timed_data=True)),
    "timed_data_ts": _case(
        Clip(suffix=".ts", timed_data=True), out_suffix=".mp4", dropped=frozenset({"data"}), warnings=LEFT_OUT
    ),
    "metadata": _case(
        Clip(
            pictures=(Picture(language="eng", title="main picture"),),
            sounds=(Sound(language="eng", title="mix"),),
            metadata={"title": "Ünïcödé title", "artist": "Somebody", "comment": "a; b=c", "date": "2024"},
        )
    ),
    "custom_metadata_mp4": _case(
        Clip(metadata={"title": "x", "com.example.note": "kept"}, container_options={"movflags": "use_metadata_tags"})
    ),
    "two_videos_larger_second": _case(
        Clip(
            pictures=(Picture(width=64, height=48, first_index=100), Picture(width=96, height=64, options=B_FRAMES)),
            sounds=(Sound(),),
        ),
    ),
    "two_videos_larger_first_mkv": _case(
        Clip(suffix=".mkv", pictures=(Picture(), Picture(width=64, height=48, codec="mpeg4", first_index=60)))
    ),
    "two_videos_ts_to_mp4": _case(
        Clip(
            suffix=".ts",
            pictures=(Picture(options=B_FRAMES), Picture(width=64, height=48, first_index=60, options={"bf": "0"})),
            sounds=(Sound(language="eng"),),
            container_options={"output_ts_offset": "1.4"},
        ),
        out_suffix=".mp4",
    ),
    "subtitles_mp4_to_mkv": _case(
        Clip(texts=(Texts(codec="mov_text"),)), out_suffix=".mkv", dropped=frozenset({"subtitle"}), warnings=LEFT_OUT
    ),
    "subtitle_after_the_end": _case(Clip(suffix=".mkv", texts=(Texts(lines=((0.1, 0.3, "in"), (5.0, 6.0, "after"))),))),
    "audio_first_in_file": _bent(bent_clips.audio_before_video, ".mkv"),
    "everything_mkv": _case(
        Clip(
            suffix=".mkv",
            pictures=(
                Picture(
                    pixel_format="yuv420p10le",
                    time_base=MILLISECONDS,
                    times=UNEVEN_TIMES,
                    options=B_FRAMES,
                    colour=BT2020_HLG,
                    sample_aspect_ratio=Fraction(4, 3),
                    language="eng",
                    title="picture",
                ),
            ),
            sounds=FEATURE_SOUNDS,
            texts=(Texts(), Texts(codec="ass", language="jpn")),
            attachments=(Attachment(),),
            chapters=FIRST_CHAPTERS,
            cover=True,
            metadata={"title": "Everything"},
        ),
    ),
    "everything_mp4": _case(
        Clip(
            pictures=(
                Picture(
                    time_base=NINETY_KHZ,
                    times=tuple(45000 + 3003 * n + 7 * (n % 3) for n in range(24)),
                    options=B_FRAMES,
                    colour=BT709,
                    sample_aspect_ratio=Fraction(16, 11),
                    rotation=90,
                ),
            ),
            sounds=FEATURE_SOUNDS,
            texts=(Texts(codec="mov_text"),),
            chapters=FIRST_CHAPTERS,
            cover=True,
            timed_data=True,
            metadata={"title": "Everything"},
        )
    ),
}

DAMAGED = {
    "corrupt_packets": _bent(bent_clips.corrupt_packets, ".mkv", warnings=frozenset({"packets_failed"})),
    "corrupt_packets_ts": _bent(bent_clips.corrupt_transport_stream, ".ts", out_suffix=".mkv"),
    "truncated_mkv": _bent(bent_clips.truncated_mkv, ".mkv"),
    "truncated_ts": _bent(bent_clips.truncated_ts, ".ts", out_suffix=".mkv"),
    "first_frames_without_time": _bent(
        bent_clips.first_frames_without_time, ".mkv", warnings=frozenset({"timestamps_incomplete"})
    ),
    "truncated_faststart": _bent(bent_clips.truncated_faststart_mp4, ".mp4", warnings=frozenset({"source_truncated"})),
    "starts_inside_a_gop": _bent(bent_clips.starts_inside_a_gop, ".ts", out_suffix=".mkv"),
}

CASES: dict[str, Case] = TIME | SHAPES | COLOURS | CODECS | TRACKS
