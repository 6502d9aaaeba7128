"""Corpus files that are special in what they are packed as or carry beside the picture, and damaged ones.

What is special about one is in its name.
"""

from __future__ import annotations

from fractions import Fraction

from tests.support import bent_clips
from tests.support.case import (
    B_FRAMES,
    FEATURE_SOUNDS,
    FIRST_CHAPTERS,
    LEFT_OUT,
    MILLISECONDS,
    NINETY_KHZ,
    UNEVEN_TIMES,
    bent,
    case,
    of,
    x265,
)
from tests.support.clip_spec import BT709, BT2020, BT2020_HLG, Attachment, Clip, Picture, Sound, Texts

CODECS = {
    "prores_mov": of(Picture(codec="prores_ks", pixel_format="yuv422p10le", colour=BT709), ".mov"),
    "mpeg4_avi": of(Picture(codec="mpeg4"), ".avi", out_suffix=".mkv"),
    "mpeg4_b_frames_avi": bent(bent_clips.b_frames_avi, ".avi", out_suffix=".mkv"),
    "mpeg4_packed_b_frames_avi": bent(bent_clips.packed_b_frames_avi, ".avi", out_suffix=".mkv"),
    "mpeg2_b_frames_mkv": of(Picture(codec="mpeg2video", options={"bf": "2", "g": "12"}), ".mkv"),
    "vp9_webm": case(
        Clip(
            suffix=".webm",
            pictures=(Picture(codec="libvpx-vp9", options={"cpu-used": "8"}),),
            sounds=(Sound(codec="libopus", rate=48000),),
        ),
        out_suffix=".mkv",
    ),
    "vp9_webm_to_av1_webm": case(
        Clip(
            suffix=".webm",
            pictures=(Picture(codec="libvpx-vp9", options={"cpu-used": "8"}),),
            sounds=(Sound(codec="libopus", rate=48000),),
        ),
        options=("--codec", "libsvtav1"),
    ),
    "av1_mp4": of(Picture(codec="libsvtav1", options={"preset": "12", "svtav1-params": "lp=1"})),
    "hevc_mkv_to_mp4": case(
        Clip(suffix=".mkv", pictures=(x265(BT709, "yuv420p"),), sounds=(Sound(),)), out_suffix=".mp4"
    ),
    "ffv1_with_flac": case(Clip(suffix=".mkv", pictures=(Picture(codec="ffv1"),), sounds=(Sound(codec="flac"),))),
    "mov_with_pcm": case(Clip(suffix=".mov", sounds=(Sound(codec="pcm_s16le"),))),
    "fragmented_mp4": case(
        Clip(
            pictures=(Picture(options=B_FRAMES),),
            sounds=(Sound(),),
            container_options={"movflags": "frag_keyframe+empty_moov"},
        )
    ),
    "flac_and_opus_in_mp4": case(Clip(sounds=(Sound(codec="flac"), Sound(codec="libopus", rate=48000)))),
    "pcm_in_mkv": case(Clip(suffix=".mkv", sounds=(Sound(codec="pcm_s16le", language="eng"),))),
    "mpeg_program_stream": case(
        Clip(
            suffix=".mpg",
            container="vob",
            pictures=(Picture(codec="mpeg2video", options={"bf": "2", "g": "12"}),),
            sounds=(Sound(codec="ac3", rate=48000),),
        ),
        out_suffix=".mkv",
    ),
    "flv": case(
        Clip(suffix=".flv", pictures=(Picture(options=B_FRAMES),), sounds=(Sound(rate=44100),)), out_suffix=".mp4"
    ),
    "wmv": case(Clip(suffix=".wmv", pictures=(Picture(codec="wmv2"),)), out_suffix=".mkv"),
    "raw_h264": of(Picture(options={"g": "12", "bf": "0"}), ".h264", out_suffix=".mp4"),
    "to_h264": case(Clip(sounds=(Sound(),)), options=("--codec", "libx264")),
    "to_av1_ten_bits": of(Picture(pixel_format="yuv420p10le", colour=BT2020), options=("--codec", "libsvtav1")),
}

TRACKS = {
    "three_audio_tracks": case(Clip(sounds=FEATURE_SOUNDS)),
    "three_audio_tracks_mkv": case(Clip(suffix=".mkv", sounds=FEATURE_SOUNDS)),
    "subtitles_mov_text": case(Clip(texts=(Texts(codec="mov_text"), Texts(codec="mov_text", language="spa")))),
    "subtitles_mkv": case(
        Clip(
            suffix=".mkv",
            texts=(
                Texts(title="plain"),
                Texts(codec="ass", language="jpn", title="styled"),
                Texts(language="fra", disposition=64),
            ),
        ),
    ),
    "subtitles_mkv_to_mp4": case(
        Clip(suffix=".mkv", texts=(Texts(), Texts(codec="ass", language="jpn"))),
        out_suffix=".mp4",
        dropped=frozenset({"subtitle"}),
        warnings=LEFT_OUT,
    ),
    "chapters": case(Clip(chapters=FIRST_CHAPTERS)),
    "chapters_mkv": case(
        Clip(suffix=".mkv", chapters=FIRST_CHAPTERS, metadata={"title": "Show", "ARTIST": "Somebody"})
    ),
    "attachments": case(
        Clip(suffix=".mkv", attachments=(Attachment(), Attachment("second.otf", "font/otf", b"OTTO" * 50)))
    ),
    "attachments_to_mp4": case(
        Clip(suffix=".mkv", attachments=(Attachment(),)),
        out_suffix=".mp4",
        dropped=frozenset({"attachment"}),
        warnings=LEFT_OUT,
    ),
    "cover_art": case(Clip(cover=True, sounds=(Sound(),))),
    "cover_art_mkv": case(Clip(suffix=".mkv", cover=True)),
    "timed_data": case(Clip(timed_data=True)),
    "timed_data_ts": case(
        Clip(suffix=".ts", timed_data=True), out_suffix=".mp4", dropped=frozenset({"data"}), warnings=LEFT_OUT
    ),
    "metadata": case(
        Clip(
            pictures=(Picture(language="eng", title="main picture"),),
            sounds=(Sound(language="eng", title="mix"),),
            metadata={"title": "Ünïcödé title", "artist": "Somebody", "comment": "a; b=c", "date": "2024"},
        )
    ),
    "custom_metadata_mp4": case(
        Clip(metadata={"title": "x", "com.example.note": "kept"}, container_options={"movflags": "use_metadata_tags"})
    ),
    "two_videos_larger_second": case(
        Clip(
            pictures=(Picture(width=64, height=48, first_index=100), Picture(width=96, height=64, options=B_FRAMES)),
            sounds=(Sound(),),
        ),
    ),
    "two_videos_larger_first_mkv": case(
        Clip(suffix=".mkv", pictures=(Picture(), Picture(width=64, height=48, codec="mpeg4", first_index=60)))
    ),
    "two_videos_ts_to_mp4": case(
        Clip(
            suffix=".ts",
            pictures=(Picture(options=B_FRAMES), Picture(width=64, height=48, first_index=60, options={"bf": "0"})),
            sounds=(Sound(language="eng"),),
            container_options={"output_ts_offset": "1.4"},
        ),
        out_suffix=".mp4",
    ),
    "subtitles_mp4_to_mkv": case(
        Clip(texts=(Texts(codec="mov_text"),)), out_suffix=".mkv", dropped=frozenset({"subtitle"}), warnings=LEFT_OUT
    ),
    "subtitle_after_the_end": case(Clip(suffix=".mkv", texts=(Texts(lines=((0.1, 0.3, "in"), (5.0, 6.0, "after"))),))),
    "audio_first_in_file": bent(bent_clips.audio_before_video, ".mkv"),
    "everything_mkv": case(
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
    "everything_mp4": case(
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
    "corrupt_packets": bent(bent_clips.corrupt_packets, ".mkv", warnings=frozenset({"packets_failed"})),
    "corrupt_packets_ts": bent(bent_clips.corrupt_transport_stream, ".ts", out_suffix=".mkv"),
    "truncated_mkv": bent(bent_clips.truncated_mkv, ".mkv"),
    "truncated_ts": bent(bent_clips.truncated_ts, ".ts", out_suffix=".mkv"),
    "first_frames_without_time": bent(
        bent_clips.first_frames_without_time, ".mkv", warnings=frozenset({"timestamps_incomplete"})
    ),
    "truncated_faststart": bent(bent_clips.truncated_faststart_mp4, ".mp4", warnings=frozenset({"source_truncated"})),
    "starts_inside_a_gop": bent(bent_clips.starts_inside_a_gop, ".ts", out_suffix=".mkv"),
}
