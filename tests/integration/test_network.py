"""The network really runs: what it restores is closer to the truth than what a kernel restores.

It measures the whole road (decode, network, encode), not the model alone.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cli_runner import run_apart
from tests.support.quality import lumas, psnr, write_halved

pytestmark = pytest.mark.timeout(600)  # two whole runs a test, on a machine that may be busy
GAIN_DB = 0.3
FRAME_COUNT = 24
NEARLY_LOSSLESS = ("--codec", "libx264", "--crf", "2")
"""So that the comparison is of upscalers and not of an encoder."""


@pytest.mark.parametrize("model", [None, "fast-clean"])
def test_network_beats_lanczos(model: str | None, bundled_clip: Path, tmp_path: Path) -> None:
    """A clip that is halved and restored is at least 0.3 dB PSNR-Y closer to the original than by Lanczos."""
    truth = lumas(bundled_clip, FRAME_COUNT)
    small = write_halved(truth, tmp_path / "small.mkv")

    by_lanczos = restored(small, tmp_path / "lanczos.mkv", "lanczos")
    by_network = restored(small, tmp_path / "network.mkv", model)

    assert psnr(truth, by_network) >= psnr(truth, by_lanczos) + GAIN_DB


def restored(source: Path, output: Path, model: str | None) -> list:
    """Run the command and return the luma of what it wrote."""
    chosen = () if model is None else ("--model", model)
    ran = run_apart("video", source, "-o", output, "--scale", "2", *NEARLY_LOSSLESS, *chosen)
    assert ran.exit_code == 0, ran.stderr
    return lumas(output, FRAME_COUNT)
