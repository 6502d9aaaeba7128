"""What people call the code points of a stream's colours, for whoever is told of them.

It converts nothing and judges nothing; a code without a name of its own is told by its number.
"""

from __future__ import annotations

from upscale_server.media.types import UNSPECIFIED

UNSTATED = "not stated"
"""What a stream does not say of itself."""

# ITU-T H.273, tables 2 to 4, and its chroma formats; named as video people name them.
_PRIMARIES = {
    1: "BT.709", 4: "BT.470 M", 5: "BT.601 (625 lines)", 6: "BT.601 (525 lines)", 7: "SMPTE 240M", 8: "film",
    9: "BT.2020", 10: "CIE XYZ", 11: "DCI-P3", 12: "Display P3", 22: "EBU Tech 3213",
}  # fmt: skip
_TRANSFERS = {
    1: "BT.709", 4: "gamma 2.2", 5: "gamma 2.8", 6: "BT.601", 7: "SMPTE 240M", 8: "linear", 9: "logarithmic 100:1",
    10: "logarithmic 316:1", 11: "xvYCC", 12: "BT.1361", 13: "sRGB", 14: "BT.2020, 10 bits", 15: "BT.2020, 12 bits",
    16: "PQ", 17: "SMPTE 428", 18: "HLG",
}  # fmt: skip
_MATRICES = {
    0: "RGB", 1: "BT.709", 4: "FCC", 5: "BT.601 (625 lines)", 6: "BT.601 (525 lines)", 7: "SMPTE 240M", 8: "YCgCo",
    9: "BT.2020", 10: "BT.2020, constant luminance", 11: "SMPTE 2085", 14: "ICtCp",
}  # fmt: skip
_RANGES = {0: UNSTATED, 1: "limited", 2: "full"}
_CHROMA = {(0, 0): "none", (1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0"}


def primaries_name(code: int) -> str:
    """Return what colour primaries are called."""
    return _named(_PRIMARIES, code)


def transfer_name(code: int) -> str:
    """Return what a transfer function is called."""
    return _named(_TRANSFERS, code)


def matrix_name(code: int) -> str:
    """Return what a matrix is called."""
    return _named(_MATRICES, code)


def range_name(code: int) -> str:
    """Return what a range of sample values is called; 0 is a stream that does not say."""
    return _RANGES.get(code, f"code {code}")


def chroma_name(subsampling: tuple[int, int]) -> str:
    """Return what a chroma format is called, by `formats.subsampling_of`."""
    return _CHROMA[subsampling]


def _named(names: dict[int, str], code: int) -> str:
    return UNSTATED if code == UNSPECIFIED else names.get(code, f"code {code}")
