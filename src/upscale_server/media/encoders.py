"""What encoders there are, what each can keep, and opening one with a stream's facts.

It writes no frame: `encode` does.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction

import av
import av.error
from av.codec import Codec
from av.container import OutputContainer
from av.video.stream import VideoStream

from upscale_server.errors import BadRequest, UnsupportedFormat
from upscale_server.media.hdr import in_decimals
from upscale_server.media.scheduling import ordinary_priority
from upscale_server.media.types import Colour, Hdr, Size


@dataclass(frozen=True, slots=True)
class EncoderSettings:
    """How frames are encoded; the bytes of the output depend on every field, the thread count included.

    `rate_kbit` caps the rate over `buffer_kbit`, on top of the CRF; 0 leaves it free. Where the cap is reached, x264
    and x265 with several threads decide by their timing, and two runs differ.
    """

    codec: str
    pixel_format: str
    crf: int
    preset: str
    threads: int
    gop_frames: int
    b_frames: bool = True
    rate_kbit: int = 0
    buffer_kbit: int = 0


@dataclass(frozen=True, slots=True)
class VideoSpec:
    """What the encoded stream is: all that the decoder of the result will read back."""

    size: Size
    time_base: Fraction
    average_rate: Fraction
    sample_aspect_ratio: Fraction | None
    display_matrix: tuple[int, ...]
    colour: Colour
    hdr: Hdr


CODECS = {
    "hevc": "libx265", "h265": "libx265", "x265": "libx265", "libx265": "libx265",
    "h264": "libx264", "avc": "libx264", "x264": "libx264", "libx264": "libx264",
    "av1": "libsvtav1", "svtav1": "libsvtav1", "libsvtav1": "libsvtav1",
    "h264_nvenc": "h264_nvenc", "hevc_nvenc": "hevc_nvenc", "av1_nvenc": "av1_nvenc",
}  # fmt: skip
"""What users may call an encoder, and the encoder."""

_PLANAR = ("yuv420p", "yuv422p", "yuv444p", "gray", "yuv420p10le", "yuv422p10le", "yuv444p10le", "gray10le")
PIXEL_FORMATS = {
    "libx264": tuple(name for name in _PLANAR if not name.startswith("gray")),  # decoders give its gray back as 4:2:0
    "libx265": _PLANAR,
    "libsvtav1": ("yuv420p", "yuv420p10le"),
    "h264_nvenc": ("yuv420p", "yuv444p"),
    "hevc_nvenc": ("yuv420p", "yuv444p"),
    "av1_nvenc": ("yuv420p",),
}
"""The working formats that each encoder takes as they are."""

CARRIES_HDR10 = ("libx264", "libx265", "libsvtav1")
DEFAULTS = {
    "libx264": (18, "medium"),
    "libx265": (20, "fast"),
    "libsvtav1": (26, "8"),
    "h264_nvenc": (19, "p5"),
    "hevc_nvenc": (21, "p5"),
    "av1_nvenc": (24, "p5"),
}
"""CRF (for NVENC: CQ) and preset: visually near-transparent on upscaled video, which has little noise to spend on."""


CRF_MAX = {"libx264": 51, "libx265": 51, "libsvtav1": 63, "h264_nvenc": 51, "hevc_nvenc": 51, "av1_nvenc": 63}
_X26X = (
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo",
)  # fmt: skip
_NVENC = tuple(f"p{level}" for level in range(1, 8))
PRESETS = {
    "libx264": _X26X,
    "libx265": _X26X,
    "libsvtav1": tuple(str(level) for level in range(14)),
    "h264_nvenc": _NVENC,
    "hevc_nvenc": _NVENC,
    "av1_nvenc": _NVENC,
}
"""What each encoder takes; asked for otherwise, FFmpeg only says that something was invalid."""


def open_encoder(
    container: OutputContainer, settings: EncoderSettings, spec: VideoSpec, clock: Fraction
) -> VideoStream:
    """Add a video stream with an opened encoder.

    Raises:
        UnsupportedFormat: the encoder refuses the size, the pixel format or an option.
    """
    os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 prints its banner to stderr unless told before it loads
    stream = container.add_stream(settings.codec, rate=spec.average_rate, options=_options(settings, spec))
    assert isinstance(stream, VideoStream)  # noqa: S101 - every codec in the table is a video codec
    context = stream.codec_context
    context.width, context.height = spec.size.width, spec.size.height
    context.pix_fmt = settings.pixel_format
    context.time_base = clock
    # PyAV sets slice threads; x264 would then cut each picture into as many slices, which costs bits and time.
    context.thread_type = "AUTO"
    context.thread_count = settings.threads
    context.gop_size = settings.gop_frames
    context.color_primaries = spec.colour.primaries
    context.color_trc = spec.colour.transfer
    context.colorspace = spec.colour.matrix
    context.color_range = spec.colour.range
    if spec.sample_aspect_ratio:
        context.sample_aspect_ratio = spec.sample_aspect_ratio
    try:
        with ordinary_priority():
            context.open()
    except av.error.FFmpegError as err:
        raise UnsupportedFormat(
            f"{settings.codec} does not open for {spec.size} {settings.pixel_format} "
            f"(crf {settings.crf}, preset {settings.preset}): {err.strerror}"
        ) from err
    return stream


def encoder_accepts(settings: EncoderSettings, spec: VideoSpec) -> None:
    """Open the encoder once and close it again, so that a plan never promises what an encoder refuses.

    Raises:
        UnsupportedFormat: with the encoder's reason.
    """
    with av.open(os.devnull, "w", format="null") as sink:
        open_encoder(sink, settings, spec, Fraction(1, spec.time_base.denominator))


def encoder_opens(name: str) -> bool:
    """Tell whether an encoder really works here, by encoding one small frame with it."""
    if name not in DEFAULTS or not _exists(name):
        return False
    size = Size(256, 144)
    spec = VideoSpec(size, Fraction(1, 25), Fraction(25), None, (), Colour(), Hdr())
    settings = EncoderSettings(name, "yuv420p", *DEFAULTS[name], threads=1, gop_frames=25)
    try:
        with av.open(os.devnull, "w", format="null") as sink:
            stream = open_encoder(sink, settings, spec, spec.time_base)
            frame = av.VideoFrame(size.width, size.height, "yuv420p")
            frame.pts = 0
            return bool(stream.encode(frame) + stream.encode(None))
    except (av.error.FFmpegError, UnsupportedFormat, ValueError):
        return False


def _exists(name: str) -> bool:
    try:
        Codec(name, "w")
    except (av.error.FFmpegError, ValueError):
        return False
    return True


def encoder_named(name: str) -> str:
    """Return the encoder for a codec's name as users write it.

    Raises:
        BadRequest: no such codec, or an encoder that does not open on this machine.
    """
    encoder = CODECS.get(name.lower())
    if encoder is None:
        raise BadRequest(f"codec is {name!r}; expected one of {', '.join(sorted(set(CODECS)))}")
    if encoder.endswith("_nvenc") and not encoder_opens(encoder):
        raise BadRequest(f"{encoder} does not open on this machine", hint="choose hevc, h264 or av1")
    return encoder


def _options(settings: EncoderSettings, spec: VideoSpec) -> dict[str, str]:
    options = {"preset": settings.preset} | _rate_options(settings)
    if not settings.b_frames and settings.codec != "libsvtav1":  # AV1 has none: its packets are in order as they are
        options["bf"] = "0"
    if spec.colour.chroma_location:
        options["chroma_sample_location"] = spec.colour.chroma_location
    if settings.codec == "libx264":
        return options | {"crf": str(settings.crf)} | _joined("x264-params", _x264_params(spec))
    if settings.codec == "libx265":
        return options | {"crf": str(settings.crf)} | _joined("x265-params", _x265_params(settings, spec))
    if settings.codec == "libsvtav1":
        return options | {"crf": str(settings.crf)} | _joined("svtav1-params", _svtav1_params(settings, spec))
    return options | {"rc": "vbr", "cq": str(settings.crf)}


def _rate_options(settings: EncoderSettings) -> dict[str, str]:
    """Return the cap as FFmpeg's own options; SVT-AV1 takes it among its parameters."""
    if not settings.rate_kbit or settings.codec == "libsvtav1":
        return {}
    return {"maxrate": str(settings.rate_kbit * 1000), "bufsize": str(settings.buffer_kbit * 1000)}


def _joined(name: str, params: list[str]) -> dict[str, str]:
    return {name: ":".join(params)} if params else {}


def _x264_params(spec: VideoSpec) -> list[str]:
    params = []
    if spec.hdr.mastering_display:
        params.append(f"mastering-display={spec.hdr.mastering_display}")
    if spec.hdr.content_light:
        params.append(f"cll={spec.hdr.content_light}")
    return params


def _x265_params(settings: EncoderSettings, spec: VideoSpec) -> list[str]:
    # Segments are joined, so no GOP may lean on the one before; x265 opens GOPs by default.
    params = ["log-level=error", "open-gop=0", f"pools={settings.threads}", "frame-threads=2"]
    if spec.hdr.mastering_display:
        params.append(f"master-display={spec.hdr.mastering_display}")
    if spec.hdr.content_light:
        params.append(f"max-cll={spec.hdr.content_light}")
    return params


def _svtav1_params(settings: EncoderSettings, spec: VideoSpec) -> list[str]:
    params = [f"lp={settings.threads}"]
    if settings.rate_kbit:
        # Measured on noise and on moving grain: by default it goes 20 % over its cap in ten seconds and 100 % in one;
        # so set it stays 20 % under in five, and only a clip of a second needs another round (1.4 times the cap).
        params += [f"mbr={settings.rate_kbit}", "mbr-overshoot-pct=0", "lookahead=0"]
    if spec.hdr.mastering_display:
        params.append(f"mastering-display={in_decimals(spec.hdr.mastering_display)}")
    if spec.hdr.content_light:
        params.append(f"content-light={spec.hdr.content_light}")
    return params
