"""What of a machine each actor takes; the rest of this room needs a real cluster, see tests/integration/test_ray.py."""

from __future__ import annotations

import os

import pytest

from upscale_server.cluster.ray import _keep_to_share, shares_of
from upscale_server.cluster_settings import RaySettings

WHOLE, HALF, ODD, EIGHT = (
    RaySettings(),
    RaySettings(gpus_per_actor=0.5),
    RaySettings(gpus_per_actor=0.4),
    RaySettings(cpus_per_actor=8),
)


@pytest.mark.parametrize(
    ("resources", "settings", "expected"),
    [
        ({"CPU": 64.0, "GPU": 4.0}, WHOLE, [{"num_gpus": 1, "num_cpus": 16}] * 4),
        ({"CPU": 64.0, "GPU": 4.0}, HALF, [{"num_gpus": 0.5, "num_cpus": 8}] * 8),
        ({"CPU": 64.0, "GPU": 4.0}, ODD, [{"num_gpus": 0.4, "num_cpus": 8}] * 8),
        ({"GPU": 1.0}, WHOLE, [{"num_gpus": 1, "num_cpus": 0}]),
        ({"CPU": 4.0}, WHOLE, [{"num_gpus": 0, "num_cpus": 4}]),
        ({"CPU": 20.0}, EIGHT, [{"num_gpus": 0, "num_cpus": 8}] * 2),
        ({"CPU": 4.0}, EIGHT, []),
        ({"CPU": 0.0}, WHOLE, []),
        ({}, WHOLE, []),
    ],
)
def test_an_actor_takes_what_it_was_given(
    resources: dict[str, float], settings: RaySettings, expected: list[dict[str, float]]
) -> None:
    """As many as fit: two shares of 0.4 make a GPU, and half an actor is none."""
    assert expected == shares_of(resources, settings)


@pytest.mark.parametrize(
    ("slot", "each", "kept"), [(0, 1, [0]), (1, 1, [1]), (0, 2, [0, 1]), (1, 2, None), (0, 0, None)]
)
def test_it_keeps_to_the_cores_that_were_lent(
    slot: int, each: int, kept: list[int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`upscale work --cpus 1` on a machine of two leaves the other core alone; where there are too few, all share."""
    taken: list[object] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    monkeypatch.setattr(os, "sched_setaffinity", lambda _pid, cores: taken.append(list(cores)))

    _keep_to_share(slot, each)

    assert ([] if kept is None else [kept]) == taken
