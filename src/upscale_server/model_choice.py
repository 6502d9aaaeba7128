"""Which model family suits a source, and why: strongly compressed footage and clean footage want different networks.

It names a family; which cards it has, and on which engine they run, is the business of `models`.
"""

from __future__ import annotations

from dataclasses import dataclass

from upscale_server.media.index import PacketIndex
from upscale_server.media.types import VideoInfo
from upscale_server.models.card import ModelCard
from upscale_server.models.catalogue import available, family

CLEAN_CODECS = ("ffv1", "prores", "rawvideo", "huffyuv", "ffvhuff", "utvideo", "png", "dnxhd", "v210", "qtrle", "cfhd")
"""Codecs of masters and intermediates, lossless or nearly so at any rate they are used at."""

CLEAN_BITS_PER_PIXEL = 0.5
"""From this rate on a source counts as clean.

Measured on nine panned pictures, x264 medium, luma at half size: `fast-clean` is ahead of `fast` by 0.10 dB at
0.84 bits a pixel (CRF 8) and 0.03 dB at 0.58, and behind by 0.06 dB at 0.40 and 0.20 dB at 0.21 (CRF 24). More
efficient codecs cross at fewer bits; for them the bound errs towards the network made for compressed sources.
"""


@dataclass(frozen=True, slots=True)
class Choice:
    """The cards to choose passes from, and the reason in words."""

    cards: dict[int, ModelCard]
    why: str


def choose_model(info: VideoInfo, index: PacketIndex, asked: str | None) -> Choice:
    """Return the family asked for, or the one that suits the source.

    Raises:
        ModelMissing, ModelInvalid: the model asked for is not there or no model.
    """
    if asked is not None:
        return Choice(family(asked), "asked for")
    here = {card.name for card in available()}
    clean, why = _is_clean(info, index)
    if clean and "fast-clean" in here:
        return Choice(family("fast-clean"), why)
    return Choice(family(None), why)


def _is_clean(info: VideoInfo, index: PacketIndex) -> tuple[bool, str]:
    if info.codec in CLEAN_CODECS:
        return True, f"{info.codec} is a clean source"
    frames = max(1, info.frame_count)
    bits = 8 * index.byte_count / (frames * info.size.pixels)
    clean = bits >= CLEAN_BITS_PER_PIXEL
    return clean, f"{info.codec} at {bits:.2f} bits a pixel is {'nearly clean' if clean else 'compressed'}"
