"""A job on a real Ray cluster: the same bytes as here, whatever joins, dies or is away meanwhile."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.fault_proxy import FaultProxy
from tests.support.killing import wait_until
from tests.support.nginx import free_ports
from tests.support.processes import command_line, descendants, is_alive
from tests.support.ray_cluster import Machines, joinable, pool_on, running_head, running_machines
from tests.support.ray_driver import WISH
from tests.support.s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, running_swift
from upscale_server.errors import Canceled
from upscale_server.events import Event, FramesDone, Observer, SegmentDone, ignore
from upscale_server.models.load import load
from upscale_server.models.select import precision_named
from upscale_server.pipeline import Result, upscale_video
from upscale_server.plan import Plan, make_plan
from upscale_server.wish import Limits, Wish
from upscale_server.workers.in_process import InProcess
from upscale_server.workers.pool import Pool

pytestmark = pytest.mark.timeout(600)  # a cluster starts in half a minute where others work on the same cores

REPOSITORY = Path(__file__).parents[2]
IN_HAND = 2
"""Segments that a job of one lane has asked for at once."""
ONE_LANE = {"UPSCALE_WORKERS__LANES": "1", "UPSCALE_LOG_LEVEL": "info"}


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """Give a cluster of three machines that share a folder."""
    folder = tmp_path_factory.mktemp("cluster")
    environment = {
        **ONE_LANE, "UPSCALE_MODEL_PATH": "lanczos",
        "UPSCALE_RAY__FOLDER": str(folder / "shared"), "UPSCALE_STATE_DIR": str(folder / "nodes"),
    }  # fmt: skip
    with running_machines(environment) as started:
        started.add(3)
        yield started


@pytest.fixture(scope="module")
def plan(bundled_clip: Path) -> Plan:
    """Give a plan of a dozen segments."""
    return make_plan(bundled_clip, WISH)


@pytest.fixture(scope="module")
def digest(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give the digest of what is made here."""
    return made_here(plan, tmp_path_factory.mktemp("here"))


def made_here(plan: Plan, folder: Path) -> str:
    """Return the digest of a job's result without a cluster."""
    precision = precision_named(plan.precision if plan.passes[0].card.path else "auto")
    with InProcess(lambda _plan, one: load(one.card, engine=plan.engine, precision=precision)) as executor:
        return digest_of(upscale_video(plan, executor, folder, ignore))


def digest_of(result: Result) -> str:
    """Return the SHA-256 of a result."""
    return hashlib.sha256(result.path.read_bytes()).hexdigest()


def frames_upscaled(events: Sequence[Event]) -> int:
    """Return how many frames an observer was told of before all were joined."""
    upscaled = events[: next(place for place, event in enumerate(events) if getattr(event, "phase", "") == "join")]
    return sum(event.count for event in upscaled if isinstance(event, FramesDone))


def lanes(pool: Pool, count: int) -> None:
    """Wait until so many lanes are ready."""
    wait_until(lambda: count == sum(lane.state in ("ready", "busy") for lane in pool.status().lanes), 0.2)


def run(plan: Plan, pool: Pool, folder: Path, observer: Observer = ignore) -> Result:
    """Do a job on a cluster."""
    return upscale_video(plan, pool.executor(None, lambda: ""), folder, observer)


def test_three_machines_make_the_bytes_of_one(machines: Machines, plan: Plan, digest: str, tmp_path: Path) -> None:
    """Every frame is told of once, and nothing stays in the shared folder."""
    events: list[Event] = []

    with pool_on(machines, tmp_path / "state") as pool:
        lanes(pool, 3)
        result = run(plan, pool, tmp_path / "work", events.append)

    assert digest == digest_of(result)
    assert plan.frame_count == frames_upscaled(events)
    assert len(plan.segments) == sum(isinstance(event, SegmentDone) for event in events)
    assert [] == [path for path in Path(machines.environment["UPSCALE_RAY__FOLDER"]).rglob("*") if path.is_file()]


def test_a_network_makes_the_same_bytes_there(machines: Machines, bundled_clip: Path, tmp_path: Path) -> None:
    """A plan of the server's own, with the engine and the weights of the machines."""
    with pool_on(machines, tmp_path / "state") as pool:
        lanes(pool, 3)
        wish = Wish(scale=2, model="fast", engine="openvino", precision="f32", segment_seconds=2.0)
        plan = pool.plan(bundled_clip, wish, Limits(), lambda: "")
        result = run(plan, pool, tmp_path / "work")

    assert made_here(plan, tmp_path / "here") == digest_of(result)


def test_a_killed_machine_costs_what_it_ran(
    machines: Machines, plan: Plan, digest: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The job ends with the same bytes; the one segment of its lane is made again, and no frame is counted twice."""
    done: list[int] = []
    standing: list[int] = []
    events: list[Event] = []

    def watch(event: Event) -> None:
        events.append(event)
        if isinstance(event, SegmentDone):
            done.append(event.index)
            if 1 == len(done):  # it gets no further than with what it has or gets now
                standing.extend(work_of(machines, machines.nodes[-1]))
                signal_all(standing, signal.SIGSTOP)
            if 5 == len(done):
                machines.kill()
                signal_all(standing, signal.SIGCONT)

    with pool_on(machines, tmp_path / "state") as pool:
        lanes(pool, 3)
        capsys.readouterr()
        result = run(plan, pool, tmp_path / "work", watch)
        logged = "".join(capsys.readouterr())
    machines.add()  # for the tests that follow

    assert digest == digest_of(result)
    assert sorted(one.index for one in plan.segments) == sorted(done)
    assert 1 == logged.count("segment_begun_again")
    assert plan.frame_count == frames_upscaled(events)


def test_a_machine_that_joins_gets_work(machines: Machines, plan: Plan, digest: str, tmp_path: Path) -> None:
    """A job that began on one machine goes on at the one that came, while the first stands still in its work."""
    standing: list[int] = []
    meanwhile: list[int] = []

    def watch(event: Event) -> None:
        if not isinstance(event, SegmentDone):
            return
        if 1 == len(few.nodes):
            standing.extend(work_of(few, few.nodes[0]))
            signal_all(standing, signal.SIGSTOP)
            few.add()
        elif standing:
            meanwhile.append(event.index)
            if len(meanwhile) > IN_HAND + 1:  # those that had ended before, and one that had not
                assert all(is_alive(pid) for pid in standing)
                signal_all(standing, signal.SIGCONT)
                standing.clear()

    with running_machines(machines.environment | {"UPSCALE_STATE_DIR": str(tmp_path / "nodes")}) as few:
        few.add()
        with pool_on(few, tmp_path / "state") as pool:
            lanes(pool, 1)
            result = run(plan, pool, tmp_path / "work", watch)

    assert [] == standing
    assert digest == digest_of(result)


def work_of(machines: Machines, node: object) -> list[int]:
    """Return the processes of a machine that do segments; what is Ray's answers as before when these stand still."""
    return [pid for pid in descendants(machines.pid_of(node)) if b"spawn_main" in command_line(pid)]


def signal_all(pids: Sequence[int], number: signal.Signals) -> None:
    """Send a signal to processes."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def test_a_cancel_frees_every_machine(machines: Machines, plan: Plan, tmp_path: Path) -> None:
    """The next job finds them all."""
    reason = [""]

    def watch(event: Event) -> None:
        if isinstance(event, FramesDone):
            reason[0] = "canceled"

    with pool_on(machines, tmp_path / "state") as pool:
        lanes(pool, 3)
        with pytest.raises(Canceled, match="canceled"):
            upscale_video(plan, pool.executor(None, lambda: reason[0]), tmp_path / "work", watch)
        wait_until(lambda: 3 == sum(lane.state == "ready" for lane in pool.status().lanes), 0.2)


def test_a_killed_server_goes_on(
    machines: Machines, plan: Plan, digest: str, bundled_clip: Path, tmp_path: Path
) -> None:
    """What was recorded is not done again; its machines have their networks still loaded."""
    out = tmp_path / "out"
    environment = {**os.environ, **machines.server_environment(), "UPSCALE_STATE_DIR": str(tmp_path / "state")}
    command = [sys.executable, "-m", "tests.support.ray_driver", str(bundled_clip), str(tmp_path / "work"), str(out)]

    first = subprocess.Popen(command, env=environment, cwd=REPOSITORY)
    wait_until(lambda: out.exists() and 3 <= out.read_text().count("SegmentDone"), 0.05)
    first.kill()
    first.wait()
    before = out.read_text().count("SegmentDone")
    subprocess.run(command, env=environment, cwd=REPOSITORY, check=True, timeout=300)

    told = Counter(line.split()[0] for line in out.read_text().splitlines())
    assert before <= told["SegmentReused"]
    assert len(plan.segments) <= told["SegmentDone"] <= len(plan.segments) + 1
    assert digest == hashlib.sha256((tmp_path / "work" / "joined.mp4").read_bytes()).hexdigest()


def test_a_store_that_is_away_for_a_while_costs_nothing(plan: Plan, digest: str, tmp_path: Path) -> None:
    """Ten seconds without a connection, in the middle of a job whose pictures travel through a bucket."""
    (tmp_path / "swift").mkdir()
    with running_swift(tmp_path / "swift") as swift, FaultProxy(swift.port) as proxy:
        s3 = {
            "ENDPOINT": f"http://127.0.0.1:{proxy.port}", "BUCKET": BUCKET,
            "ACCESS_KEY": ACCESS_KEY, "SECRET_KEY": SECRET_KEY,
        }  # fmt: skip
        environment = {
            **ONE_LANE, "UPSCALE_MODEL_PATH": "lanczos", "UPSCALE_STORAGE__KIND": "s3",
            "UPSCALE_STATE_DIR": str(tmp_path / "nodes"),
            **{f"UPSCALE_STORAGE__S3__{name}": value for name, value in s3.items()},
        }  # fmt: skip
        away = threading.Event()

        def watch(event: Event) -> None:
            if isinstance(event, SegmentDone) and not away.is_set():
                away.set()
                proxy.down = True
                proxy.cut()
                threading.Timer(10, lambda: setattr(proxy, "down", False)).start()

        with running_machines(environment) as two:
            two.add(2)
            with pool_on(two, tmp_path / "state") as pool:
                lanes(pool, 2)
                result = run(plan, pool, tmp_path / "work", watch)
        assert digest == digest_of(result)
        assert proxy.refused > 0
        assert [] == swift.keys()


def test_a_machine_joins_with_one_command(digest: str, bundled_clip: Path, tmp_path: Path) -> None:
    """`upscale work` proves its device and works; a server that is no member becomes one without cores of its own."""
    settings = {
        **ONE_LANE, "UPSCALE_MODEL_PATH": "lanczos", "UPSCALE_RAY__FOLDER": str(tmp_path / "shared"),
    }  # fmt: skip
    with running_head(free_ports(1)[0]) as address:
        main = "from upscale_server.cli.main import main; main()"
        command = [sys.executable, "-c", main, "work", "--address", address, "--cpus", "1"]
        seen = joinable() | settings | {"UPSCALE_STATE_DIR": str(tmp_path / "node")}
        worker = subprocess.Popen(command, env=seen, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            driver = [sys.executable, "-m", "tests.support.ray_driver", str(bundled_clip)]
            server = settings | {"UPSCALE_EXECUTOR": "ray", "UPSCALE_RAY__ADDRESS": address}
            seen = joinable() | server | {"UPSCALE_STATE_DIR": str(tmp_path / "state")}
            files = [str(tmp_path / "work"), str(tmp_path / "out")]
            subprocess.run([*driver, *files], env=seen, cwd=REPOSITORY, check=True, timeout=300)
        finally:
            worker.terminate()
            said, told = worker.communicate(timeout=60)

    assert digest == hashlib.sha256((tmp_path / "work" / "joined.mp4").read_bytes()).hexdigest()
    assert "device: " in said
    assert "a frame of 854x480 in" in said
    assert "works for the cluster at" in told
    assert 0 == worker.returncode
