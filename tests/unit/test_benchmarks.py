"""Benchmarks say plainly what they could not measure."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import bench_gpu, bench_image
from benchmarks.machine import RESULTS
from tests.support.image_served import image_settings
from upscale_server.cli import doors
from upscale_server.service.image import ImageService


def test_without_a_gpu_nothing_is_measured_and_one_line_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    """No number, no file, no failure: the machine lacks what is asked about."""
    engines, _ = bench_gpu.gpu_engines()
    if engines:
        pytest.skip("there is a GPU here")
    before = sorted(RESULTS.iterdir())

    code = bench_gpu.main([])

    out, err = capfd.readouterr()
    assert (0, "") == (code, out)
    assert err.startswith("no GPU here: nothing measured")
    assert 1 == len(err.splitlines())
    assert before == sorted(RESULTS.iterdir())


def test_what_an_image_server_keeps_for_itself_is_no_leak(tmp_path: Path) -> None:
    """Its key and its lock, as it makes them, are not counted; any other file is."""
    service = ImageService(image_settings(tmp_path))
    with doors.only_one(tmp_path / "image", 0):
        service.start()
        service.stop()
    (service.output_dir / "a.png").touch()

    assert ["output/a.png"] == bench_image.left_in(tmp_path / "image")
