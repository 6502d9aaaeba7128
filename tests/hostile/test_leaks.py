"""Many jobs, a third of them bad, leave a server as it was; a leak that is planted in the same server is found.

Each server is a real one in processes of its own. What is counted is in `tests.support.holdings`; at rest, since what
runs holds something.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from tests.support.clip_spec import Clip, Picture
from tests.support.clip_writer import write_clip
from tests.support.holdings import Holdings, at_rest, handles_of, more_than, who_holds
from tests.support.hostile import Amount
from tests.support.image_served import running_images
from tests.support.leaky_work import Pictures, Videos, Work
from tests.support.planted import KINDS, plant
from tests.support.server import Server, running, serving

pytestmark = pytest.mark.timeout(14_400)
"""A thousand videos take an hour on two slow cores; what hangs is ended by the limits of each wait."""

Report = Callable[[str, dict[str, object]], None]

_AT_ONCE = 4
_JOBS_OF_A_LEAK = 4
"""A planted leak leaks with each order, 8 MiB where it is memory, and every job has at least one."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A server that is at rest before and after its work: where it is, what it is given, and which leak is open."""

    server: Server
    folders: tuple[Path, ...]
    work: Work
    switch: Path

    def at_rest(self) -> Holdings:
        """Look at it when it has come to rest; before, after and with a leak it is the same look."""
        return at_rest(self.server.process.pid, self.folders)

    def do(self, count: int, first: int = 0) -> Counter[str]:
        """Do so many jobs, a third of them bad, and return how often each ended how."""
        with ThreadPoolExecutor(_AT_ONCE) as callers:
            ended = Counter(callers.map(self.work.one, range(first, first + count)))
        self.work.close_connections()
        return ended


@pytest.fixture(scope="module", params=["video", "image"])
def watched(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Give a server with plants in which no leak is open."""
    folder = tmp_path_factory.mktemp(request.param)
    names = ("state", "temp", "output", "plant", "served")
    state, temp, output, planted, served = (folder / name for name in names)
    for one in (state, temp, output, planted, served):
        one.mkdir()
    environment, switch = plant(planted)
    environment |= {"TMPDIR": str(temp), "UPSCALE_LIMITS__MAX_SOURCE_SIDE": "256", "UPSCALE_WORKERS__LANES": "1"}
    if request.param == "image":
        environment |= {"UPSCALE_IMAGE__MODEL": "lanczos"}
        with running_images(state, "--workers", "1", environment=environment) as server:
            yield Watched(server, (state, temp), Pictures(server.url), switch)
        return
    flags = ("--model-path", "lanczos", "--output-dir", output, "--temp-dir", temp)
    with serving(served) as source, running(state, *flags, environment=environment) as server:
        clip = write_clip(Clip(pictures=(Picture(width=64, height=48, frame_count=4),)), served / "good.mp4")
        long = write_clip(Clip(pictures=(Picture(width=128, height=96, frame_count=250),)), served / "long.mp4")
        large = write_clip(Clip(pictures=(Picture(width=512, height=32, frame_count=2),)), served / "large.mp4")
        yield Watched(server, (state, temp, output), Videos(server.url, source, clip, long, large), switch)


def test_jobs_leave_nothing_and_planted_leaks_are_found(watched: Watched, amount: Amount, report: Report) -> None:
    """A server at rest after its jobs holds what it held before; with each leak open the same look says so."""
    name, count = type(watched.work).__name__.lower(), amount(18, 300, 1000)
    watched.work.crowd()
    warm = watched.do(amount(9, 60, 100))
    before, handles = watched.at_rest(), handles_of(watched.server.process.pid)
    ended = watched.do(count, first=sum(warm.values()))
    after = watched.at_rest()
    report(f"leaks_{name}", _figures(ended, before, after))

    new = handles_of(watched.server.process.pid) - handles
    assert {} == more_than(before, after), "\n".join([str(new), *who_holds(watched.server.process.pid)])
    assert count == sum(ended.values())
    assert {"succeeded", *watched.work.bad_ends} == set(ended), ended  # enough jobs for each bad kind, in any length
    assert count * 2 // 3 - 1 <= ended["succeeded"] <= count * 2 // 3 + 1

    found = _found_leaks(watched, after)
    report(f"leaks_{name}_planted", {kind: sorted(names) for kind, names in found.items()})
    assert all(kind in names for kind, names in found.items()), found


def _found_leaks(watched: Watched, before: Holdings) -> dict[str, set[str]]:
    """Open one leak after the other for a few jobs, and return what is more after each than before it."""
    found = {}
    for kind in KINDS:
        watched.switch.write_text(kind)
        watched.do(_JOBS_OF_A_LEAK)
        watched.switch.write_text("")
        after = watched.at_rest()
        found[kind], before = set(more_than(before, after)), after
    return found


def _figures(ended: Counter[str], before: Holdings, after: Holdings) -> dict[str, object]:
    return {
        "jobs": sum(ended.values()),
        "ended": dict(sorted(ended.items())),
        "before": asdict(before),
        "after": asdict(after),
        "memory_growth_mb": round((after.memory_bytes - before.memory_bytes) / 1e6, 1),
    }
