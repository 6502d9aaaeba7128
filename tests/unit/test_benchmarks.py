"""Benchmarks say plainly what they could not measure."""

from __future__ import annotations

import pytest

from benchmarks import bench_gpu
from benchmarks.machine import RESULTS


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
