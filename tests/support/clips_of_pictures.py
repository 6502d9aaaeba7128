"""Corpus files that are special as pictures: shape, aspect, rotation, lines, colour, depth.

What is special about one is in its name.
"""

from __future__ import annotations

from fractions import Fraction

from tests.support.case import LIGHT, MASTERING, MASTERING_DECIMALS, NTSC, of, x265
from tests.support.clip_spec import BT601, BT601_PAL, BT709, BT709_FULL, BT2020, BT2020_HLG, BT2020_PQ, Picture

SHAPES = {
    "odd_size_444": of(Picture(width=75, height=51, pixel_format="yuv444p"), ".mkv"),
    "odd_size_ffv1_420": of(Picture(codec="ffv1", width=75, height=51), ".mkv"),
    "odd_size_vp9_420": of(
        Picture(codec="libvpx-vp9", width=77, height=53, options={"cpu-used": "8"}), ".webm", out_suffix=".mkv"
    ),
    "odd_width_422": of(Picture(codec="ffv1", width=83, height=50, pixel_format="yuv422p"), ".mkv"),
    "portrait": of(Picture(width=66, height=118)),
    "width_not_a_multiple_of_four": of(Picture(width=102, height=70)),
    "anamorphic_16_11": of(Picture(sample_aspect_ratio=Fraction(16, 11))),
    "anamorphic_4_3_mkv": of(Picture(sample_aspect_ratio=Fraction(4, 3)), ".mkv"),
    "anamorphic_narrow": of(Picture(sample_aspect_ratio=Fraction(8, 9), rate=NTSC)),
    "anamorphic_rotated": of(Picture(sample_aspect_ratio=Fraction(4, 3), rotation=90)),
    "rotated_90": of(Picture(rotation=90)),
    "rotated_180": of(Picture(rotation=180)),
    "rotated_270_mov": of(Picture(rotation=270), ".mov"),
    "rotated_mkv": of(Picture(rotation=90), ".mkv"),
    "interlaced_top_first": of(
        Picture(
            codec="mpeg2video", filter_chain="setfield=tff", options={"flags": "+ildct+ilme", "b": "2000k"}, height=96
        ),
        ".mkv",
        deinterlaced=True,
        warnings=frozenset({"deinterlaced"}),
    ),
    "interlaced_bottom_first_h264": of(
        Picture(
            filter_chain="setfield=bff", options={"flags": "+ildct+ilme", "x264-params": "bff=1", "bf": "2"}, height=96
        ),
        deinterlaced=True,
        warnings=frozenset({"deinterlaced"}),
    ),
    "interlaced_h264_tagged_pal": of(
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
    "bt601": of(Picture(colour=BT601)),
    "bt709": of(Picture(colour=BT709)),
    "bt709_full_range": of(Picture(colour=BT709_FULL)),
    "full_range_yuvj": of(Picture(pixel_format="yuvj420p", colour=(2, 2, 2, 2))),
    "full_range_mjpeg_avi": of(
        Picture(codec="mjpeg", pixel_format="yuvj420p", colour=(2, 2, 2, 2)), ".avi", out_suffix=".mkv"
    ),
    "bt2020_ten_bits": of(x265(BT2020, "yuv420p10le")),
    "pq_without_metadata": of(x265(BT2020_PQ, "yuv420p10le")),
    "hlg": of(x265(BT2020_HLG, "yuv420p10le"), ".mkv"),
    "hdr10_hevc": of(
        x265(BT2020_PQ, "yuv420p10le", f":hdr10=1:repeat-headers=1:master-display={MASTERING}:max-cll={LIGHT}"),
    ),
    "hdr10_hevc_mkv": of(
        x265(BT2020_PQ, "yuv420p10le", f":hdr10=1:master-display={MASTERING}:max-cll={LIGHT}"), ".mkv"
    ),
    "hdr10_av1": of(
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
    "hdr10_max_cll_only": of(x265(BT2020_PQ, "yuv420p10le", f":hdr10=1:max-cll={LIGHT}"), ".mkv"),
    "ten_bits_420_h264": of(Picture(pixel_format="yuv420p10le")),
    "ten_bits_422": of(Picture(pixel_format="yuv422p10le", colour=BT709)),
    "ten_bits_444": of(x265(BT709, "yuv444p10le"), ".mkv"),
    "eight_bits_422": of(Picture(pixel_format="yuv422p")),
    "eight_bits_444": of(Picture(pixel_format="yuv444p", colour=BT709), ".mkv"),
    "gray": of(Picture(codec="ffv1", pixel_format="gray"), ".mkv"),
    "monochrome_h264": of(Picture(pixel_format="gray"), ".mp4"),
    "rgb": of(Picture(codec="ffv1", pixel_format="bgr0"), ".mkv", warnings=frozenset({"rgb_converted"})),
    "alpha_webm": of(
        Picture(codec="libvpx-vp9", pixel_format="yuva420p", options={"cpu-used": "8", "auto-alt-ref": "0"}),
        ".webm",
        out_suffix=".mkv",
        warnings=frozenset({"alpha_dropped"}),
    ),
    "alpha_prores": of(
        Picture(codec="prores_ks", pixel_format="yuva444p10le", colour=BT709),
        ".mov",
        warnings=frozenset({"alpha_dropped"}),
    ),
    "gif": of(
        Picture(codec="gif", pixel_format="gray"), ".gif", out_suffix=".mp4", warnings=frozenset({"rgb_converted"})
    ),
    "twelve_bits": of(x265(BT709, "yuv420p12le"), ".mkv", warnings=frozenset({"bit_depth_reduced"})),
    "chroma_top_left": of(Picture(colour=BT2020, options={"x264-params": "chromaloc=2"})),
    "chroma_center": of(Picture(options={"x264-params": "chromaloc=1"}), ".mkv"),
}
