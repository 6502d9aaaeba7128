"""Real internet video, whole: upscaled with the defaults and held against its source.

The footage is not part of the project; without it these tests are skipped and say so.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cli_runner import run_apart
from tests.support.oracle import Promise, differences
from upscale_server.media.probe import probe

FOOTAGE = Path(__file__).parents[3] / "shared" / "clips"
CLIPS = sorted(FOOTAGE.rglob("*.mp4"))
LARGE = 320 * 240
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not CLIPS, reason=f"no footage in {FOOTAGE}: put clips there to run these tests"),
]


@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.stem)
def test_real_footage_loses_nothing(clip: Path, tmp_path: Path) -> None:
    """The default command and its own `verify` accept the clip, and the oracle finds nothing missing.

    Larger pictures are enlarged without a network, which would take minutes and be no more of a test.
    """
    output, info = tmp_path / "out.mp4", probe(clip)
    model = ("--model", "lanczos") if info.size.pixels > LARGE else ()

    made = run_apart("video", clip, "-o", output, "--scale", "2", "--preset", "ultrafast", *model)
    verified = run_apart("verify", clip, output)

    assert made.exit_code == 0, made.stderr
    assert verified.exit_code == 0, verified.stdout + verified.stderr
    assert [] == differences(clip, output, Promise(numbered=False))
