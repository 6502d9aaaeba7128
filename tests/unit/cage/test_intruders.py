"""A process that was taken over harms neither files, nor other processes, nor who listens to it."""

from __future__ import annotations

import os
import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support import inmates, intruders
from tests.support.killing import wait_until
from tests.support.processes import descendants, is_alive
from upscale_server.cage import Bounds, Cage, InmateDied, door_keeper
from upscale_server.errors import Canceled, Draining, UpscaleError

MODULES = (inmates.__name__, intruders.__name__)
FULL = Bounds(file_bytes=1 << 20)
"""Not kept from writing by the size of files: what is refused is refused by where they lie."""


@pytest.fixture(scope="module")
def cage() -> Iterator[Cage]:
    """Give a cage whose inmates know these attacks."""
    with closing(Cage(MODULES, silent_seconds=30.0)) as one:
        yield one


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """Give a file of the server's own."""
    path = tmp_path / "server.env"
    path.write_text("UPSCALE_S3__SECRET_KEY=canary")
    return path


def _door_of(cage: Cage) -> int:
    assert cage._door is not None
    return cage._door.process.pid


def _needs_landlock(cage: Cage) -> None:
    if not cage.locks.files_closed:
        pytest.skip("this kernel has no Landlock")


@pytest.mark.slow
@pytest.mark.parametrize("what", ["read", "overwrite", "truncate", "remove", "chmod", "times"])
def test_files_of_the_server_are_out_of_reach(cage: Cage, secret: Path, what: str) -> None:
    """It runs as the server's user, to whom they belong: secrets, database, other people's sources."""
    _needs_landlock(cage)

    assert "PermissionError" == cage.call(intruders.attempt, what, str(secret), kind=str, bounds=FULL)
    assert "UPSCALE_S3__SECRET_KEY=canary" == secret.read_text()


@pytest.mark.parametrize("path", ["/etc/passwd", "/proc/{server}/environ", "/proc/{server}/mem", "/proc/self/maps"])
def test_neither_the_machine_nor_the_server_is_read(cage: Cage, path: str) -> None:
    """What /proc tells of the server is its environment and its memory."""
    _needs_landlock(cage)
    found = cage.call(intruders.attempt, "read", path.format(server=os.getpid()), kind=str)

    assert "PermissionError" == found


@pytest.mark.parametrize("what", ["create", "list"])
def test_folders_are_closed(cage: Cage, tmp_path: Path, what: str) -> None:
    """Nothing is put where another process would find it, and nothing is found."""
    _needs_landlock(cage)
    place = tmp_path / "new" if what == "create" else tmp_path

    assert "PermissionError" == cage.call(intruders.attempt, what, str(place), kind=str, bounds=FULL)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("what", ["link", "symlink"])
def test_folder_that_may_be_written_gets_no_link_to_another_place(
    cage: Cage, secret: Path, tmp_path: Path, what: str
) -> None:
    """A result that is a link would be somebody else's file, stored for everybody."""
    _needs_landlock(cage)
    (tmp_path / "work").mkdir()
    bounds = Bounds(file_bytes=1 << 20, writes=(tmp_path / "work",))
    result = str(tmp_path / "work" / "result")

    assert cage.call(intruders.attempt, what, str(secret), result, kind=str, bounds=bounds) in (
        "PermissionError",
        "OSError",  # EXDEV, which is what Landlock answers to a link across folders
    )
    assert "" == cage.call(intruders.attempt, "create", result, kind=str, bounds=bounds)


@pytest.mark.parametrize("what", ["signal", "signal by handle", "signal by the kernel", "limits of others"])
def test_server_cannot_be_signalled_nor_limited(cage: Cage, what: str) -> None:
    """One who runs as its user could kill it, and all that it works on."""
    assert "PermissionError" == cage.call(intruders.attempt, what, str(os.getpid()), kind=str)


@pytest.mark.parametrize("what", ["fork", "run", "outlive the door", "shared memory"])
def test_nobody_else_is_started_and_nothing_stays(cage: Cage, what: str) -> None:
    """An order that needs a program is given the right to."""
    assert "PermissionError" == cage.call(intruders.attempt, what, kind=str)
    if what == "run":
        assert "" == cage.call(intruders.attempt, what, kind=str, bounds=Bounds(programs=True))


def test_terminal_of_who_started_the_server_is_not_there(cage: Cage) -> None:
    """Keys could be pressed in it."""
    assert "" != cage.call(intruders.attempt, "terminal", kind=str)


def test_root_is_root_in_name_only(cage: Cage) -> None:
    """No capability is held: neither the machine's nor those of an own user namespace."""
    assert "00" * 24 == cage.call(intruders.rights, kind=str)


def test_no_family_of_sockets_is_left(cage: Cage) -> None:
    """Not the network's and none of the machine's own services."""
    assert "" == cage.call(intruders.makes_sockets, kind=str)


def test_shared_block_cannot_be_made_smaller(cage: Cage) -> None:
    """Who reads behind its end is killed by SIGBUS: that would be the server."""
    kept, arrays = cage.fill(intruders.shrinks, kind=str, most_bytes=1 << 16)

    assert ("PermissionError", (1, 1)) == (kept, arrays[0].shape)


@pytest.mark.slow
@pytest.mark.parametrize("body", [b"\0\0\0\x20" + b"x" * 32, b"\0\0\0\x02{}"], ids=["half", "whole"])
def test_message_that_drips_is_as_good_as_silence(body: bytes) -> None:
    """Each byte is no sign of life, or a hundred megabytes would take for ever."""
    with closing(Cage(MODULES, silent_seconds=1.0)) as cage, pytest.raises(InmateDied):
        cage.call(intruders.says, body, 0.2, kind=None)


@pytest.mark.slow
@pytest.mark.parametrize("how", [intruders.beats_for_ever, intruders.says])
def test_one_that_talks_is_ended_when_nobody_wants_it_any_more(tmp_path: Path, how: object) -> None:
    """A canceled job is asked for between messages, and in the middle of one."""
    begun = tmp_path / "begun"

    def check() -> None:
        if begun.exists():
            raise Canceled("enough")

    arguments = () if how is intruders.beats_for_ever else (b"\0\0\x01\0" + b"x" * 256, 0.05)
    bounds = Bounds(file_bytes=100, writes=(tmp_path,))
    with closing(Cage(MODULES, check=check, bounds=bounds)) as cage, pytest.raises(Canceled, match="enough"):
        cage.call(how, *arguments, str(begun), kind=None)  # type: ignore[arg-type] # one of two functions


@pytest.mark.slow
def test_picture_has_no_longer_than_it_may_be_silent() -> None:
    """There are no packets by which a good one would show that it goes forward."""
    with closing(Cage(MODULES, silent_seconds=1.0)) as cage, pytest.raises(InmateDied, match="no packet further"):
        cage.fill(intruders.beats_for_ever, kind=str, most_bytes=100)


@pytest.mark.parametrize("number", [signal.SIGABRT, 35])
def test_every_signal_has_a_name_or_a_number(cage: Cage, number: int) -> None:
    """Those of real time have no name, and may be chosen by who dies."""
    with pytest.raises(InmateDied, match=f"signal {int(number)}"):
        cage.call(intruders.dies_by, number, kind=None)


def test_log_is_not_written_by_an_inmate(cage: Cage, capfd: pytest.CaptureFixture[str]) -> None:
    """A forged line looks like the server's own."""
    cage.call(intruders.writes_to_the_log, kind=None)

    assert "forged" not in capfd.readouterr().err


@pytest.mark.slow
def test_nobody_is_left_behind(tmp_path: Path) -> None:
    """Who may start a program may leave one, in a session of its own; the door ends it."""
    with closing(Cage(MODULES)) as cage:
        left = cage.call(intruders.leaves_somebody, tmp_path, kind=str, bounds=Bounds(programs=True))

        assert not is_alive(int(left))
        assert [] == descendants(_door_of(cage))


@pytest.mark.slow
def test_inmate_ends_with_a_door_that_is_killed(tmp_path: Path) -> None:
    """It does not go on in secret."""
    cage = Cage(MODULES, bounds=Bounds(file_bytes=100, writes=(tmp_path,)))
    thread = threading.Thread(target=lambda: _died(cage, tmp_path / "pid"))
    thread.start()
    wait_until((tmp_path / "pid").exists)
    (inmate,) = descendants(_door_of(cage))
    os.kill(_door_of(cage), signal.SIGKILL)
    thread.join()

    wait_until(lambda: not is_alive(inmate))
    cage.close()


def _died(cage: Cage, path: Path) -> None:
    with pytest.raises(InmateDied):
        cage.call(inmates.stays, path, kind=None)


@pytest.mark.slow
def test_frozen_door_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for it would wait for ever, and hold a lane."""
    monkeypatch.setattr(door_keeper, "_ANSWER_SECONDS", 0.5)
    with closing(Cage(MODULES, silent_seconds=1.0)) as cage:
        assert cage.locks.calls_refused
        door = _door_of(cage)
        os.kill(door, signal.SIGSTOP)

        with pytest.raises(InmateDied, match="no packet further"):
            cage.call(inmates.environment, kind=str)
        assert not is_alive(door)
        assert "PATH" in cage.call(inmates.environment, kind=str), "another door"


def test_closing_ends_who_waits(tmp_path: Path) -> None:
    """A server that stops waits for no picture, and starts nothing new for its second try."""
    cage = Cage(MODULES, bounds=Bounds(file_bytes=100, writes=(tmp_path,)))
    thread = threading.Thread(target=lambda: _died(cage, tmp_path / "pid"))
    thread.start()
    wait_until((tmp_path / "pid").exists)
    door = _door_of(cage)
    cage.close()
    thread.join()

    assert not is_alive(door)
    inmate = int((tmp_path / "pid").read_text())
    wait_until(lambda: not is_alive(inmate))  # the kernel ends it with its door, a moment later
    with pytest.raises(Draining):
        cage.call(inmates.environment, kind=str)


def test_request_that_cannot_be_sent_leaves_the_cage_in_order(cage: Cage) -> None:
    """The door answers once for each inmate: an answer too many would be taken for the next one's."""
    with pytest.raises((AttributeError, TypeError)):
        cage.call(threading.Lock(), kind=None)

    assert "PATH" in cage.call(inmates.environment, kind=str)
    with pytest.raises(InmateDied, match="signal 6"):
        cage.call(intruders.dies_by, int(signal.SIGABRT), kind=None)


@pytest.mark.slow
def test_handles_beyond_the_first_thousand_are_waited_for() -> None:
    """A server has a connection for each of its clients."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    handles = [os.open("/dev/null", os.O_RDONLY) for _ in range(1100)]
    try:
        with closing(Cage(MODULES)) as cage:
            assert "PATH" in cage.call(inmates.environment, kind=str)
    finally:
        for handle in handles:
            os.close(handle)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow
@pytest.mark.parametrize("module", ["upscale_server.workers.caged", "upscale_server.service.picture_cages"])
def test_door_has_one_thread(module: str) -> None:
    """A fork takes one thread with it and the locks of all: another one's would be held for ever."""
    with closing(Cage((module,))) as cage:
        assert cage.locks.calls_refused
        door = _door_of(cage)

        assert "Threads:\t1\n" in Path(f"/proc/{door}/status").read_text(encoding="utf-8")


def test_words_of_a_defect_are_words(cage: Cage) -> None:
    """What is said of a defect goes to the log."""
    said = b'{"defect": [1, 2]}'
    with pytest.raises(InmateDied, match="a list for a text"):
        cage.call(intruders.says, b"\0\0\0" + bytes([len(said)]) + said, 0.0, kind=None)
    assert issubclass(InmateDied, UpscaleError)
