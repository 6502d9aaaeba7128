"""Which encoder with which settings: the source's depth, chroma and HDR are kept or the job is refused.

It decides and tries the encoder once; encoding belongs to `media.encode`.
"""

from __future__ import annotations

import os

from upscale_server.budget import Cap
from upscale_server.errors import BadRequest, HdrNotCarried, UnsupportedFormat
from upscale_server.media.encoders import (
    CARRIES_HDR10,
    CRF_MAX,
    DEFAULTS,
    PIXEL_FORMATS,
    PRESETS,
    EncoderSettings,
    VideoSpec,
    encoder_accepts,
    encoder_named,
)
from upscale_server.media.formats import WORKING, bits_of, subsampling_of
from upscale_server.media.types import Size, VideoInfo
from upscale_server.profiles import profile_named
from upscale_server.wish import Wish

_HDR_TRANSFERS = (16, 18)  # H.273: PQ and HLG
_CODECS_HELD = {
    "mp4": ("libx264", "libx265", "libsvtav1", "h264_nvenc", "hevc_nvenc", "av1_nvenc"),
    "mov": ("libx264", "libx265", "h264_nvenc", "hevc_nvenc"),
    "webm": ("libsvtav1", "av1_nvenc"),
}


def choose_encoder(info: VideoInfo, wish: Wish, spec: VideoSpec, cap: Cap | None = None) -> EncoderSettings:
    """Return how the output is encoded, its rate under `cap` where there is one.

    Raises:
        BadRequest: a codec, container or pixel format that does not exist or does not go together.
        UnsupportedFormat: the encoder cannot keep the source's pixel format, or does not open for this size.
        HdrNotCarried: the output could not hold the source's HDR.
    """
    profile, codec = profile_named(wish.profile), encoder_named(wish.codec)
    if profile.crf and codec not in profile.crf:
        raise BadRequest(f"codec is {wish.codec!r}; the {profile.name} profile takes {', '.join(profile.crf)}")
    held = _CODECS_HELD.get(wish.container, tuple(DEFAULTS))
    if codec not in held:
        raise BadRequest(f"a {wish.container} file cannot hold {wish.codec}; it holds {', '.join(held)}")
    crf, preset = DEFAULTS[codec]
    _in_range(codec, wish)
    settings = EncoderSettings(
        codec=codec,
        pixel_format=_pixel_format(info, wish, codec, spec.size),
        crf=profile.crf.get(codec, crf) if wish.crf is None else wish.crf,
        preset=wish.preset or preset,
        threads=wish.threads or _cores(),
        gop_frames=profile.most_gop_frames or max(12, min(300, round(5 * info.average_rate))),
        b_frames=profile.b_frames,
        rate_kbit=cap.rate_kbit if cap else 0,
        buffer_kbit=cap.buffer_kbit if cap else 0,
    )
    _carries_hdr(info, settings, must_keep_depth=profile.pixel_format is None)
    encoder_accepts(settings, spec)
    return settings


def _in_range(codec: str, wish: Wish) -> None:
    worst, presets = CRF_MAX[codec], PRESETS[codec]
    if wish.crf is not None and not 0 <= wish.crf <= worst:
        raise BadRequest(f"crf is {wish.crf}; {codec} takes 0 (best) to {worst}")
    if wish.preset is not None and wish.preset not in presets:
        raise BadRequest(f"preset is {wish.preset!r}; {codec} takes {', '.join(presets)}")


def _pixel_format(info: VideoInfo, wish: Wish, codec: str, size: Size) -> str:
    chosen = profile_named(wish.profile).pixel_format or wish.pixel_format or info.pixel_format
    if chosen not in WORKING:
        raise BadRequest(f"pixel format is {chosen!r}; expected one of {', '.join(sorted(WORKING))}")
    if chosen not in PIXEL_FORMATS[codec]:
        raise UnsupportedFormat(
            f"{codec} cannot keep {chosen}; it takes {', '.join(PIXEL_FORMATS[codec])}",
            hint="choose the codec hevc, or a pixel format to convert to",
        )
    across, down = subsampling_of(chosen)
    if (across and size.width % across) or (down and size.height % down):
        raise UnsupportedFormat(
            f"output is {size}; {chosen} needs sides that are multiples of {across} and {down}",
            hint="choose another size, or the pixel format yuv444p",
        )
    return chosen


def _carries_hdr(info: VideoInfo, settings: EncoderSettings, *, must_keep_depth: bool) -> None:
    is_hdr = info.colour.transfer in _HDR_TRANSFERS
    if must_keep_depth and is_hdr and bits_of(settings.pixel_format) < info.bits:
        raise HdrNotCarried(f"the source is HDR of {info.bits} bits; {settings.pixel_format} has 8")
    if (info.hdr.mastering_display or info.hdr.content_light) and settings.codec not in CARRIES_HDR10:
        raise HdrNotCarried(
            f"{settings.codec} cannot carry HDR10 metadata here; {', '.join(CARRIES_HDR10)} can",
            hint="choose the codec hevc",
        )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
