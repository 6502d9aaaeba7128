"""Corpus files that are special in time: rates, gaps, starts, edit lists, GOPs.

What is special about one is in its name.
"""

from __future__ import annotations

from fractions import Fraction

from tests.support import bent_clips
from tests.support.case import (
    B_FRAMES,
    FILM,
    FIRST_CHAPTERS,
    MILLISECONDS,
    NINETY_KHZ,
    NTSC,
    SILENT_X265,
    UNEVEN_TIMES,
    bent,
    case,
    of,
)
from tests.support.clip_spec import BT709, Clip, Picture, Sound

TIME = {
    "constant_rate": of(Picture()),
    "rate_23_976": of(Picture(rate=FILM, time_base=Fraction(1, 24000), times=tuple(1001 * n for n in range(24)))),
    "rate_29_97_with_b_frames": of(Picture(rate=NTSC, options=B_FRAMES)),
    "rate_59_94_in_mkv": of(Picture(rate=Fraction(60000, 1001), frame_count=40), ".mkv"),
    "rate_14_985": of(Picture(rate=Fraction(15000, 1001), frame_count=15)),
    "one_frame_a_second": of(Picture(rate=Fraction(1), frame_count=7)),
    "single_frame": of(Picture(frame_count=1)),
    "two_frames": of(Picture(frame_count=2, options=B_FRAMES)),
    "variable_rate": of(Picture(time_base=MILLISECONDS, times=UNEVEN_TIMES)),
    "variable_rate_b_frames": of(Picture(time_base=MILLISECONDS, times=UNEVEN_TIMES, options=B_FRAMES)),
    "variable_rate_mkv": of(Picture(time_base=MILLISECONDS, times=UNEVEN_TIMES, options=B_FRAMES), ".mkv"),
    "variable_rate_odd_time_base": of(
        Picture(time_base=Fraction(1, 11988), times=tuple(500 * n + 37 * (n % 3) for n in range(30)), rate=FILM)
    ),
    "long_time_base_90khz": of(Picture(time_base=NINETY_KHZ, times=tuple(3003 * n + n % 2 for n in range(30)))),
    "edit_list": case(
        Clip(pictures=(Picture(options=B_FRAMES),), container_options={"use_editlist": "1"}, sounds=(Sound(),))
    ),
    "no_edit_list_b_frames": case(Clip(pictures=(Picture(options=B_FRAMES),), container_options={"use_editlist": "0"})),
    "edit_list_skips_frames": bent(bent_clips.edit_list_that_skips, ".mp4"),
    "negative_first_pts": bent(bent_clips.timestamps_wrap, ".ts", out_suffix=".mkv"),
    "negative_first_pts_to_mp4": bent(bent_clips.timestamps_wrap, ".ts", out_suffix=".mp4"),
    "frames_before_the_edit": bent(bent_clips.frames_before_the_edit, ".mp4"),
    "late_first_pts": of(Picture(time_base=MILLISECONDS, times=tuple(700 + 40 * n for n in range(24)))),
    "late_first_pts_between_milliseconds": case(
        Clip(
            pictures=(Picture(rate=NTSC, time_base=NINETY_KHZ, times=tuple(21021 + 3003 * n for n in range(24))),),
            sounds=(Sound(rate=44100, start_seconds=Fraction(1, 7)),),
        )
    ),
    "late_first_pts_mkv": of(
        Picture(time_base=MILLISECONDS, times=tuple(1234 + 40 * n for n in range(24)), options=B_FRAMES), ".mkv"
    ),
    "audio_starts_later": case(Clip(sounds=(Sound(start_seconds=Fraction(3, 10)),))),
    "audio_starts_before_picture": case(
        Clip(
            pictures=(Picture(time_base=MILLISECONDS, times=tuple(520 + 40 * n for n in range(24)), options=B_FRAMES),),
            sounds=(Sound(seconds=1.5),),
        ),
    ),
    "audio_longer_than_picture": case(Clip(sounds=(Sound(seconds=2.5),))),
    "transport_stream_offset": case(
        Clip(
            suffix=".ts",
            pictures=(Picture(options=B_FRAMES, colour=BT709),),
            sounds=(Sound(),),
            container_options={"output_ts_offset": "1.4"},
        ),
        out_suffix=".mkv",
    ),
    "transport_stream_to_mp4": case(
        Clip(
            suffix=".ts",
            pictures=(Picture(codec="mpeg2video", options={"bf": "2"}),),
            sounds=(Sound(codec="ac3", rate=48000),),
        ),
        out_suffix=".mp4",
    ),
    "transport_stream_to_mov": case(
        Clip(
            suffix=".ts",
            pictures=(Picture(options=B_FRAMES),),
            sounds=(Sound(),),
            container_options={"output_ts_offset": "1.4"},
        ),
        out_suffix=".mov",
    ),
    "open_gop": of(
        Picture(
            frame_count=48,
            options={"bf": "3", "g": "12", "x264-params": "open-gop=1:b-adapt=0:keyint=12:min-keyint=12:scenecut=0"},
        )
    ),
    "open_gop_hevc": of(
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
    "time_jumps_forward": bent(bent_clips.time_that_jumps_forward, ".ts", out_suffix=".mkv"),
    "starts_after_a_day": of(
        Picture(time_base=MILLISECONDS, times=tuple(90_000_123 + 40 * n for n in range(24))), ".mkv"
    ),
    "an_hour_between_frames": of(
        Picture(time_base=MILLISECONDS, times=(0, 40, 80, 3_600_080, 3_600_120, 3_600_160), options=B_FRAMES), ".mkv"
    ),
    "an_hour_between_frames_mp4": of(
        Picture(time_base=MILLISECONDS, times=(0, 40, 80, 3_600_080, 3_600_120, 3_600_160), options=B_FRAMES)
    ),
    "thousand_frames_a_second": of(
        Picture(time_base=MILLISECONDS, rate=Fraction(1000), times=tuple(range(60)), options=B_FRAMES), ".mkv"
    ),
    "audio_after_the_picture": case(Clip(sounds=(Sound(start_seconds=Fraction(2)),))),
    "mp4_to_mkv": case(
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
    "one_keyframe": of(Picture(frame_count=60, options={"bf": "3", "g": "999", "x264-params": "scenecut=0"})),
    "all_intra": of(Picture(options={"g": "1"})),
    "frames_left_in_decoder": of(
        Picture(options={"bf": "8", "g": "250", "refs": "8", "x264-params": "b-adapt=0:b-pyramid=normal"})
    ),
}
