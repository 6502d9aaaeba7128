"""How many lanes a machine holds and what each may use, for machines that we do not have."""

from __future__ import annotations

from pathlib import Path

import pytest

from upscale_server import wish
from upscale_server.server_settings import Workers
from upscale_server.settings import Limits, Settings
from upscale_server.workers import needs
from upscale_server.workers.needs import PoolNeeds, lane_count, needs_of, threads_of_a_lane
from upscale_server.workers.pool import Pool

GIB = 1 << 30


@pytest.fixture
def big_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend 64 cores and 256 GiB."""
    monkeypatch.setattr(needs, "usable_cores", lambda: 64)
    monkeypatch.setattr(needs, "memory_bytes", lambda: 256 * GIB)


def smi(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a program named nvidia-smi on the path."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.usefixtures("big_machine")
def test_lanes_follow_the_cores_and_never_exceed_the_most() -> None:
    """Eight cores a lane; the settings' bounds win."""
    assert 8 == lane_count(PoolNeeds(), "openvino")
    assert 5 == lane_count(PoolNeeds(most_lanes=5), "openvino")
    assert 3 == lane_count(PoolNeeds(lanes=3), "openvino")
    assert 2 == lane_count(PoolNeeds(lanes=3, most_lanes=2), "openvino")


def test_small_machine_still_gets_one_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cores and little memory are no reason to do nothing."""
    monkeypatch.setattr(needs, "usable_cores", lambda: 2)
    monkeypatch.setattr(needs, "memory_bytes", lambda: GIB // 2)

    assert 1 == lane_count(PoolNeeds(), "openvino")


def test_settings_of_the_limits_reach_those_who_look_at_sources(tmp_path: Path) -> None:
    """Each of them."""
    given = Limits(max_source_side=100, max_pixels=1000, max_output_side=200, max_seconds=1.5, max_frames=9)

    assert wish.Limits(100, 1000, 200, 1.5, 9) == needs_of(Settings(state_dir=tmp_path, limits=given), {}).limits


def test_a_server_has_the_desks_that_are_asked_for(tmp_path: Path) -> None:
    """Two unless told otherwise: many GPUs want more audits at a time."""
    asked = Settings(state_dir=tmp_path, workers=Workers(desks=5))

    desks = [len(Pool(needs_of(one, {}))._desk.seats) for one in (asked, Settings(state_dir=tmp_path))]

    assert [5, 2] == desks


@pytest.mark.usefixtures("big_machine")
def test_memory_bounds_the_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lane has a gibibyte, however many cores there are."""
    monkeypatch.setattr(needs, "memory_bytes", lambda: 3 * GIB)

    assert 3 == lane_count(PoolNeeds(), "openvino")


@pytest.mark.usefixtures("big_machine")
@pytest.mark.parametrize(
    ("script", "lanes"),
    [
        ("echo 143000", 12),  # MiB free: memory for 69, cores for 16, the most are 12
        ("echo 8192", 4),
        ("echo 8192; echo 4096", 4),  # all lanes run on the first one
        ("echo 100", 1),
        ("echo '[Insufficient Permissions]'", 1),
        ("exit 9", 1),
    ],
)
def test_gpu_lanes_follow_its_free_memory(
    script: str, lanes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two gibibytes of GPU memory a lane; a driver that tells nothing gives one lane."""
    smi(tmp_path, monkeypatch, script)

    assert lanes == lane_count(PoolNeeds(), "cuda")


@pytest.mark.usefixtures("big_machine")
@pytest.mark.parametrize(("visible", "lanes"), [("", 1), ("1", 4), ("1,0", 4), ("2", 1), ("GPU-8932f937", 1)])
def test_gpus_that_are_hidden_hold_no_lanes(
    visible: str, lanes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver's program tells of all; a full GPU that CUDA does not see is no reason for fewer lanes."""
    smi(tmp_path, monkeypatch, "echo 100; echo 8192")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    assert lanes == lane_count(PoolNeeds(), "cuda")


@pytest.mark.usefixtures("big_machine")
def test_program_that_cannot_run_gives_one_gpu_lane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken driver must not leave a server without lanes, and without a word."""
    smi(tmp_path, monkeypatch, "")
    (tmp_path / "nvidia-smi").write_text("no program")

    assert 1 == lane_count(PoolNeeds(), "tensorrt")


def test_omp_num_threads_bounds_the_threads_of_a_lane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The documented variable lowers a lane's share of the cores and never raises it."""
    monkeypatch.setattr(needs, "usable_cores", lambda: 16)
    settings = Settings(state_dir=tmp_path)

    bounded = {text: needs_of(settings, {"OMP_NUM_THREADS": text}) for text in ("", "3", "3,2", "64", "many", "0")}

    assert [8, 3, 3, 8, 8, 8] == [threads_of_a_lane(one, lanes=2) for one in bounded.values()]


def test_the_patience_with_silent_sources_reaches_every_worker() -> None:
    """The setting is what the cages of lanes and desk are opened with."""
    asked = Settings(workers=Workers(source_silent_seconds=7.5))

    pool = Pool(needs_of(asked, {}))

    assert [7.5, 7.5] == [pool._setups(role, 1, 1)[0].source_silent_seconds for role in ("lane", "desk")]


def test_the_time_for_a_look_reaches_every_worker() -> None:
    """The setting is what the desk gives its cages."""
    pool = Pool(needs_of(Settings(workers=Workers(source_look_seconds=33)), {}))

    assert 33 == pool._setups("desk", 1, 1)[0].source_look_seconds


def test_tasks_have_no_lanes_before_there_are_any() -> None:
    """A pool that was not started promises nothing, and closing it twice does nothing."""
    pool = Pool(PoolNeeds())

    pool.close()
    pool.close()

    assert {"SD2HD": 0, "SD24K": 0, "HD24K": 0, "4K28K": 0} == pool.task_lanes()
    assert not pool.status().ready


@pytest.mark.parametrize(("lanes", "got"), [(1, (1, 1, 1, 1)), (9, (9, 8, 9, 8)), (40, (10, 8, 12, 8))])
def test_task_gets_its_documented_lanes_where_there_are_so_many(lanes: int, got: tuple[int, ...]) -> None:
    """min(documented, held), task by task."""
    pool = Pool(PoolNeeds())
    pool._lanes = needs_fake(lanes)

    assert got == tuple(pool.task_lanes().values())


def needs_fake(lanes: int) -> object:
    """Return lanes of which only the number is asked for."""

    class Counted:
        count = lanes

    return Counted()
