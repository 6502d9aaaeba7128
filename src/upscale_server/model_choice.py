"""Which model family suits a source, and why: strongly compressed footage and clean footage want different networks.

It names a family; which cards it has, and on which engine they run, is the business of `models`.
"""

from __future__ import annotations

from dataclasses import dataclass

from upscale_server.media.index import PacketIndex
from upscale_server.media.types import VideoInfo
from upscale_server.models.card import ModelCard
from upscale_server.models.catalogue import available, family

CLEAN_FAMILY = "fast-clean"

CLEAN_CODECS = ("ffv1", "prores", "rawvideo", "huffyuv", "ffvhuff", "utvideo", "png", "dnxhd", "v210", "qtrle", "cfhd")
"""Codecs of masters and intermediates, lossless or nearly so at any rate they are used at."""

CLEAN_BITS_PER_PIXEL = {"h264": 0.7, "hevc": 0.4, "av1": 0.5, "vp9": 0.6, "mpeg2video": 2.5}
"""From this rate on a source of this codec counts as clean.

Where `fast-clean` overtakes `fast`, measured by `training.crossover` on nine panned pictures (x264 medium 0.68,
x265 fast 0.41, SVT-AV1 preset 8 0.51, VP9 0.58, MPEG-2 2.53) and rounded; close to it the two are nearly equal.
"""

CLEAN_BITS_OF_OTHERS = max(CLEAN_BITS_PER_PIXEL.values())
"""For codecs that were not measured: nearly all are older, and the network for compressed sources risks less."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The cards to choose passes from, and the reason: in plain words, and its numbers in brackets behind them."""

    cards: dict[int, ModelCard]
    why: str


def choose_model(info: VideoInfo, index: PacketIndex, asked: str | None) -> Choice:
    """Return the family asked for, or the one that suits the source.

    Raises:
        ModelMissing, ModelInvalid: the model asked for is not there or no model.
    """
    if asked is not None:
        return Choice(family(asked), "asked for")
    is_clean, numbers = _is_clean(info, index)
    default = family(None)
    if not is_clean:
        made_for = next(iter(default.values())).name
        return Choice(default, f"the video is strongly compressed, and {made_for} is made for that ({numbers})")
    if CLEAN_FAMILY not in {card.name for card in available()}:
        return Choice(default, f"the video is nearly clean, and {CLEAN_FAMILY}, made for that, is not here ({numbers})")
    return Choice(family(CLEAN_FAMILY), f"the video is nearly clean, and {CLEAN_FAMILY} is made for that ({numbers})")


def _is_clean(info: VideoInfo, index: PacketIndex) -> tuple[bool, str]:
    if info.codec in CLEAN_CODECS:
        return True, info.codec
    frames = max(1, info.frame_count)
    bits = 8 * index.byte_count / (frames * info.size.pixels)
    least = CLEAN_BITS_PER_PIXEL.get(info.codec, CLEAN_BITS_OF_OTHERS)
    bound = f"under {least}" if bits < least else f"{least} or more"
    return bits >= least, f"{info.codec} at {bits:.2f} bits a pixel, {bound}"
