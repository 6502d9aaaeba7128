"""What is refused from the request alone."""

from __future__ import annotations

import pytest

from upscale_server.errors import TooManyPixels
from upscale_server.jobs.job import Asked, Source
from upscale_server.service.door import check_target
from upscale_server.settings import Limits

SOURCE = Source("url", "https://example.org/a.mp4")
SMALL = Limits(max_output_side=4096, max_pixels=1_000_000)


@pytest.mark.parametrize(
    ("asked", "setting"),
    [
        (Asked(SOURCE, to="5000x4098"), "MAX_OUTPUT_SIDE"),
        (Asked(SOURCE, to="5000x100", fit="exact"), "MAX_OUTPUT_SIDE"),
        (Asked(SOURCE, to="4000x4000", fit="exact"), "MAX_PIXELS"),
        (Asked(SOURCE, task="4K28K"), "MAX_OUTPUT_SIDE"),
    ],
)
def test_output_that_can_only_be_too_large_is_refused(asked: Asked, setting: str) -> None:
    """No source makes it smaller, so nobody waits for one; the setting is named."""
    with pytest.raises(TooManyPixels, match=setting):
        check_target(asked, SMALL)


@pytest.mark.parametrize(
    "asked", [Asked(SOURCE, to="5000x100"), Asked(SOURCE, scale=4), Asked(SOURCE), Asked(SOURCE, task="SD2HD")]
)
def test_output_that_a_source_may_keep_small_is_left_to_the_plan(asked: Asked) -> None:
    """A tall picture in a wide box stays narrow, and a factor says nothing without a source."""
    check_target(asked, SMALL)
