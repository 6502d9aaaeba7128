"""Which decoders may meet a stranger's bytes: those that archives of real video need, by name.

FFmpeg has five hundred, and most of its memory errors are found in those that nobody's films use (FLIC, MagicYUV, HAP,
OpenEXR, APAC). Whether this build has a decoder is `decoders`' question; who decodes asks `admission`.
"""

from __future__ import annotations

from functools import cache

from av.codec import Codec, codecs_available

VIDEO = frozenset({
    # cameras, discs, broadcasts, browsers
    "av1", "h261", "h263", "h263i", "h263p", "h264", "hevc", "mjpeg", "mjpegb", "mpeg1video", "mpeg2video", "mpeg4",
    "theora", "vc1", "vp3", "vp5", "vp6", "vp6a", "vp6f", "vp7", "vp8", "vp9", "vvc", "wmv1", "wmv2", "wmv3",
    "cavs", "dirac", "dvvideo", "flv1", "msmpeg4v1", "msmpeg4v2", "msmpeg4v3", "rv10", "rv20", "rv30", "rv40",
    # editors and archives
    "aic", "apv", "cfhd", "dnxhd", "ffv1", "ffvhuff", "hq_hqa", "hqx", "huffyuv", "jpeg2000", "lagarith", "prores",
    "rawvideo", "utvideo", "png", "qtrle", "r10k", "r210", "v210", "v308", "v408", "v410", "yuv4",
    # QuickTime and AVI of the nineties; recordings of screens
    "cinepak", "indeo2", "indeo3", "indeo4", "indeo5", "msrle", "msvideo1", "rpza", "smc", "svq1", "svq3",
    "cscd", "flashsv", "flashsv2", "fraps", "tscc", "tscc2", "zmbv",
    "gif",
})  # fmt: skip
"""By FFmpeg's names of the formats; a picture in any other is refused."""

_OTHERS = frozenset({
    "aac", "aac_latm", "ac3", "adpcm_g722", "adpcm_g726", "adpcm_ima_qt", "adpcm_ima_wav", "adpcm_ms", "adpcm_swf",
    "adpcm_yamaha", "alac", "amr_nb", "amr_wb", "ape", "atrac3", "atrac3p", "cook", "dts", "dvaudio", "eac3", "flac",
    "gsm", "gsm_ms", "mace3", "mace6", "mlp", "mp1", "mp2", "mp3", "mp4als", "musepack7", "musepack8", "nellymoser",
    "opus", "pcm_alaw", "pcm_bluray", "pcm_dvd", "pcm_f32be", "pcm_f32le", "pcm_f64be", "pcm_f64le", "pcm_mulaw",
    "pcm_s16be", "pcm_s16le", "pcm_s24be", "pcm_s24le", "pcm_s32be", "pcm_s32le", "pcm_s8", "pcm_u16be", "pcm_u16le",
    "pcm_u24be", "pcm_u24le", "pcm_u32be", "pcm_u32le", "pcm_u8", "qcelp", "qdm2", "qdmc", "ra_144", "ra_288", "s302m",
    "sipr", "speex", "tak", "truehd", "truespeech", "tta", "vorbis", "wavpack", "wmalossless", "wmapro", "wmav1",
    "wmav2", "wmavoice",
    "ass", "dvb_subtitle", "dvd_subtitle", "eia_608", "hdmv_pgs_subtitle", "mov_text", "subrip", "text",
    "webvtt", "xsub",
    "bmp", "tiff", "webp",
})  # fmt: skip
"""Sound, subtitles and covers: carried packet by packet and never decoded for their content. FFmpeg opens these while
it looks for what the container does not say (a rate, a layout); what is not in here is carried with what it does say.
"""

_ON_DEVICES = ("_amf", "_cuvid", "_qsv", "_v4l2m2m", "_vaapi", "_videotoolbox", "_mediacodec")


@cache
def decoders() -> str:
    """Return the names of this FFmpeg's decoders of all that is allowed, as `codec_whitelist` takes them."""
    return ",".join(sorted(name for name in codecs_available if not name.endswith(_ON_DEVICES) and _is_allowed(name)))


def _is_allowed(name: str) -> bool:
    try:
        return Codec(name, "r").canonical_name in VIDEO | _OTHERS
    except ValueError:  # an encoder's name
        return False
