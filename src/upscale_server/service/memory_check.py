"""Refuses a picture that the machine's memory would not hold, before the system ends the process for it.

It predicts from sizes; what is free `host_memory` asks the system, and a GPU's memory is the model's own business.
"""

from __future__ import annotations

from upscale_server.errors import OutOfMemory
from upscale_server.media.types import Size
from upscale_server.models.host_memory import free_bytes

BYTES_A_PIXEL = 28
"""Of the result, at 8 bits without alpha: 18.7 to 24.3 measured from 4 to 64 MP (benchmarks/bench_image.py)."""
BYTES_A_DEEP_PIXEL = 50
"""The same at 16 bits or with alpha: 45.9 measured with both."""
BASE_BYTES = 160 << 20
"""Beside them, whatever the size: 145 MB measured at 4 MP, most of it the network's tile."""


def check_memory(larger: Size, *, deep: bool) -> None:
    """Return where a result of this size can be made.

    Raises:
        OutOfMemory: with what is needed and what is free; retryable, because other pictures free theirs.
    """
    needed = BASE_BYTES + larger.pixels * (BYTES_A_DEEP_PIXEL if deep else BYTES_A_PIXEL)
    free = free_bytes()
    if free is not None and needed > free:
        raise OutOfMemory(
            f"the result of {larger} needs about {needed / 2**30:.1f} GiB of memory; {free / 2**30:.1f} are free",
            hint="send it again when less is under way, or send a smaller picture",
        )
