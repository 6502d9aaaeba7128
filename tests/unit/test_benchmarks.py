"""Benchmarks measure what they name, and say plainly what they could not measure."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import bench_gpu, bench_image, bench_tsdsr
from benchmarks.machine import RESULTS
from tests.support.image_served import image_settings
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


def test_tsdsr_is_measured_with_the_servers_png_and_a_peak_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound is for what the server does, and one picture's peak is not another's."""
    done: list[str] = []
    torch = SimpleNamespace(
        empty_cache=lambda: done.append("emptied"),
        reset_peak_memory_stats=lambda: done.append("reset"),
        max_memory_reserved=lambda: 5,
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=torch))
    monkeypatch.setattr(bench_tsdsr, "encode_png_fast", lambda picture: done.append(f"png {picture.size}"))
    monkeypatch.setattr(bench_tsdsr, "watched", lambda _: nullcontext({}))

    def upscale(lr: np.ndarray) -> SimpleNamespace:
        done.append("upscaled")
        return SimpleNamespace(pixels=lr)

    model = SimpleNamespace(facts=SimpleNamespace(device="cuda"), at=lambda *_: SimpleNamespace(upscale=upscale))

    found = bench_tsdsr.measure(model, bench_tsdsr.Task(4, 3, 2, 0, 0), rounds=1)

    assert ["emptied", "reset", *["upscaled", "png 4x3"] * 2] == done
    assert 5 == found["peak_bytes"]
    assert {"picture", "png"} == set(found["seconds"])


@pytest.mark.slow
def test_what_an_image_server_keeps_for_itself_is_no_leak(tmp_path: Path) -> None:
    """Its key, as it makes it, is not counted; any other file is."""
    service = ImageService(image_settings(tmp_path))
    service.start()
    service.stop()
    (service.output_dir / "a.png").touch()

    assert ["output/a.png"] == bench_image.left_in(tmp_path / "image")
