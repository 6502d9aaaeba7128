"""Thousands of nasty files through the whole servers: each ends as it should, and nothing of any is left.

Real HTTP, a real download from loopback, real workers and cages; Lanczos enlarges, since networks never see a
stranger's bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import av
import pytest

from tests.support.attacks_by_file import Attack, End, Ends, ImageDoor, VideoDoor, attack, children_of, files_in
from tests.support.corpus import corpus
from tests.support.corpus.entry import UNWRITTEN, Entry
from tests.support.hostile import Amount
from tests.support.image_served import running_images
from tests.support.killing import wait_until
from tests.support.server import Server, running, serving

pytestmark = pytest.mark.timeout(0)  # each file has a limit of its own, and how many there are is asked for

Report = Callable[[str, dict[str, object]], None]

_AT_ONCE = 4
_SEED = 8
_VIDEOS, _PICTURES = 513, 325
"""The whole corpus: 838 files."""
_DEATHS = re.compile(r"worker_died|worker_ended|picture_process_died|order_failed|Traceback")
_KEPT = re.compile(
    r"server\.log(\.\d+)?|calibration\.json(\.lock)?|choices\.json|image/.*\.key|"
    r"(video/)?((links|seal)\.key|owner\.id|lock|jobs\.db(-shm|-wal)?|output/results/[0-9a-f]{32}\.mp4)"
)
"""What a server has when no job is left: its own books and the results."""
_ENVIRONMENT = {
    "UPSCALE_WORKERS__LANES": "2",
    "MODEL_PATH": "lanczos",
    "UPSCALE_JOBS__PROXIES": "false",
    "UPSCALE_JOBS__KEPT_BYTES": "0",  # nobody tries a failed job again
}


def test_every_video_ends_as_it_should(amount: Amount, report: Report, tmp_path: Path) -> None:
    """No crash, no hang, no fault of the server's, no file and no process left; what is whole comes through."""
    few = amount(36, 0, 0)
    entries = corpus.few_videos(few) if few else corpus.videos()
    assert (few or _VIDEOS) == len(entries), UNWRITTEN
    mutated = list(corpus.mutations(entries, amount(24, 500, 5000), _SEED))
    shelf, state, scratch = (_made(tmp_path / name) for name in ("shelf", "state", "scratch"))

    environment = _ENVIRONMENT | {"TMPDIR": str(scratch)}
    with serving(shelf) as shelf_url, running(state, environment=environment) as server:
        door = VideoDoor(server.url, shelf, shelf_url, {"scale": 2, "codec": "h264"})
        ends = _attacked(server, [*entries, *mutated], door.one)
        ends.leftovers += _left_at_last(state, scratch)
        results = sum(end.status == 200 for end in ends.ends)
        kept = _count(state, "output/results/*.mp4")

    report("media_videos", _about("v_", entries, mutated) | ends.figures)
    _check(ends, len(entries) + len(mutated))
    assert results == kept


def test_every_picture_ends_as_it_should(amount: Amount, report: Report, tmp_path: Path) -> None:
    """The same for the image server, which answers at once and keeps nothing."""
    few = amount(26, 0, 0)
    entries = corpus.few_pictures(few) if few else corpus.pictures()
    assert (few or _PICTURES) == len(entries), UNWRITTEN
    mutated = list(corpus.mutations(entries, amount(26, 500, 5000), _SEED))
    state, scratch = _made(tmp_path / "state"), _made(tmp_path / "scratch")

    with running_images(state, "--model", "lanczos", environment={"TMPDIR": str(scratch)}) as server:
        ends = _attacked(server, [*entries, *mutated], ImageDoor(server.url).one)
        ends.leftovers += _left_at_last(state, scratch)

    report("media_pictures", _about("i_", entries, mutated) | ends.figures)
    _check(ends, len(entries) + len(mutated))


def _attacked(server: Server, entries: Sequence[Entry], one: Callable[[Attack], End]) -> Ends:
    """Hand all files in; note which processes of the server died of one, and which were not there before."""
    before = set(children_of(server))
    ends = attack((Attack(entry.path, entry.content, entry.expect) for entry in entries), one, _AT_ONCE)
    with suppress(TimeoutError):
        wait_until(lambda: set(children_of(server)) == before)
    after = set(children_of(server))
    ends.crashes += [line for line in server.lines if _DEATHS.search(line)]
    ends.crashes += [f"process {pid} is gone" for pid in before - after]
    ends.leftovers += [f"process {pid}" for pid in after - before]
    return ends


def _check(ends: Ends, count: int) -> None:
    """Require an end for each file, the one that was expected, and nothing dead or left."""
    assert count == len(ends.ends)
    assert [] == ends.unmet, ends.figures
    assert [] == ends.crashes
    assert [] == ends.leftovers


def _about(groups: str, entries: Sequence[Entry], mutated: Sequence[Entry]) -> dict[str, object]:
    """Return what was handed in, and with what it was written; `groups` is how the names of its groups begin."""
    unwritten = [name for name in UNWRITTEN if name.startswith(groups)]
    return {"corpus": len(entries), "unwritten": unwritten, "mutations": len(mutated), "pyav": av.__version__}


def _left_at_last(state: Path, scratch: Path) -> list[str]:
    """Return what is left when there was time enough to remove it."""
    with suppress(TimeoutError):
        wait_until(lambda: _left_in(state, scratch) == [])
    return _left_in(state, scratch)


def _left_in(state: Path, scratch: Path) -> list[str]:
    """Return the files that nobody needs any more."""
    kept = [str(path.relative_to(state)) for path in files_in([state])]
    return [name for name in kept if not _KEPT.fullmatch(name)] + [str(path) for path in files_in([scratch])]


def _count(state: Path, pattern: str) -> int:
    return len(list((state / "video").glob(pattern)))


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
