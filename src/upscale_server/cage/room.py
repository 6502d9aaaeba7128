"""How much memory may be taken by what opens pictures of a size: enough for every legal one, too little for a bomb.

It is address space that is counted, since that is what the kernel bounds; a process touches less.
"""

from __future__ import annotations

_ALONE = 2 << 30
"""Interpreter and libraries take 0.3 GB; the rest is for time tables, fonts and the small pictures of many threads."""
_BYTES_OF_A_PIXEL = 6
"""Three planes of 16 bits."""
_PICTURES = 24
"""H.264 and HEVC refer to six pictures of 8K, four threads hold one each, and twice as many are on their way; measured
for 8192x4320: 2.4 GB of 7.2 for HEVC at 10 bits, 3.0 with sixteen threads.
"""


def room_for(*pixels: int) -> int:
    """Return the bytes that may be taken while files with pictures of so many pixels each are open."""
    return _ALONE + sum(pixels) * _BYTES_OF_A_PIXEL * _PICTURES
