"""What may differ between a track and its copy: what no container holds, and what a damaged head does not say."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from upscale_server.audit import LEAST_DETAIL, Promise, _content_rules
from upscale_server.audit_frames import Findings
from upscale_server.audit_tracks import _compare_packets
from upscale_server.media.track_facts import Track
from upscale_server.media.types import Size

VIDEO = Track(3, "video", "mpeg4", "deu", "a title", 1, "", Fraction(1, 1000), "64x48", 1, "digest", (Fraction(0),))


@pytest.mark.parametrize(
    ("there", "here", "expected"),
    [
        ({}, {}, True),
        ({"language": "un?"}, {"language": ""}, True),
        ({"language": "deu"}, {"language": ""}, False),
        ({"language": "un?"}, {"language": "eng"}, False),
        ({}, {"form": ""}, True),
        ({}, {"form": "32x48"}, False),
    ],
    ids=["the same", "no language", "lost language", "other language", "no head", "other size"],
)
def test_a_copy_differs_in_what_cannot_be_held_alone(
    there: dict[str, str], here: dict[str, str], *, expected: bool
) -> None:
    """A language of three letters and a size that is known are kept; what is none of that says nothing."""
    assert expected == _compare_packets(replace(VIDEO, **there), replace(VIDEO, **here))[0]  # type: ignore[arg-type]


@pytest.mark.parametrize(("size", "expected"), [(Size(34, 66), False), (Size(64, 64), True)])
def test_detail_of_a_few_blocks_is_told_and_not_judged(size: Size, *, expected: bool) -> None:
    """A frame of noise that is smaller than a block or two costs more than any usual CRF gives."""
    rules = _content_rules(Findings(detail_psnr=LEAST_DETAIL - 3), Promise(size=size))

    assert {"detail": (False, expected)} == {rule.name: (rule.ok, rule.hard) for rule in rules if rule.name == "detail"}
