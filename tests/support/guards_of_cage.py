"""The guards around a caged process: what it may touch, and what it may say.

Each attack runs in a cage of its own, as a file's code would that has taken over its reader.
"""

from __future__ import annotations

import os
import resource
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

from tests.support import inmates, intruders
from tests.support.clip_spec import Clip, Picture
from tests.support.clip_writer import write_clip
from tests.support.guard_cases import Guard, attempted, caged, in_the_door, refused, without
from tests.support.killing import wait_until
from tests.support.processes import descendants, is_alive, kill, parent_of
from upscale_server import errors, records
from upscale_server.audit import Audit
from upscale_server.cage import Cage, InmateDied, door_keeper, talk
from upscale_server.cage import cage as cage_module
from upscale_server.errors import OutOfMemory, UpscaleError
from upscale_server.events import ignore
from upscale_server.media.look import look_at
from upscale_server.pipeline import Finished
from upscale_server.plan import make_plan
from upscale_server.wish import Wish
from upscale_server.workers import caged as orders
from upscale_server.workers.messages import FinishVideo, ProbeSource

_ENDED_SECONDS = 3.0
"""For a signal of the kernel's to end a process: it comes at once, on a busy machine a moment later."""
_FILES = "import upscale_server.cage.files as f; f.leave = lambda *_, **__: True"
_PROCESSES = "import upscale_server.cage.jail as j; j.refuse_processes = lambda *_: True"
_RIGHTS = "import upscale_server.cage.jail as j; j._give_up_capabilities = lambda *_: None"
_NETWORK = "import upscale_server.cage.jail as j; j._own_network = lambda _: True"
_BOND = "import upscale_server.cage.door as d; d.bind_to_parent = lambda _: None"
_SWEEP = "import upscale_server.cage.door as d; d._sweep = lambda: None"


def _allowing(*calls: str) -> str:
    return f"import upscale_server.cage.seccomp as s; s._NEVER = tuple(set(s._NEVER) - set({calls!r}))"


def _unbounded(kind: int) -> str:
    return (
        "import resource as r; import types; import upscale_server.cage.jail as j; "
        "j.resource = types.SimpleNamespace(**vars(r)); "
        f"j.resource.setrlimit = lambda kind, most: None if kind == {kind} else r.setrlimit(kind, most)"
    )


def _secret(folder: Path) -> str:
    path = folder / "server.env"
    path.write_text("canary")
    return str(path)


def _reads(folder: Path) -> bool:
    return attempted("read", _secret(folder))


def _removes(folder: Path) -> bool:
    return attempted("remove", _secret(folder))


def _changes_rights(folder: Path) -> bool:
    return attempted("chmod", _secret(folder))


def _reads_the_servers_secrets(_folder: Path) -> bool:
    return attempted("read", f"/proc/{os.getpid()}/environ")


def _makes_sockets(_folder: Path) -> bool:
    return str(int(socket.AF_UNIX)) in caged(intruders.makes_sockets).split()


def _signals(_folder: Path) -> bool:
    return attempted("signal", str(os.getpid()))


def _writes(folder: Path) -> bool:
    return bool("" == caged(inmates.kind_of_fault, "write", str(folder / "new"), writes=(folder,)))


def _takes_memory(_folder: Path) -> bool:
    return not refused(lambda: caged(intruders.takes, 2 << 30, memory_bytes=1 << 30), errors.SourceTooLarge)


def _takes_handles(_folder: Path) -> bool:
    return bool("" == caged(inmates.kind_of_fault, "handles"))


def _knows_secrets(_folder: Path) -> bool:
    os.environ["UPSCALE_CANARY"] = "canary"
    try:
        return "canary" in caged(inmates.environment)
    finally:
        del os.environ["UPSCALE_CANARY"]


def _holds_capabilities(_folder: Path) -> bool:
    return bool("00" * 24 != caged(intruders.rights))


def _shrinks_the_block(_folder: Path) -> bool:
    with closing(Cage((intruders.__name__,))) as cage:
        try:
            kept, _ = cage.fill(intruders.shrinks_unread, kind=str, most_bytes=1 << 16)
        except UpscaleError as err:
            return "greater than file size" in err.detail  # so small that not even the inmate can map it any more
    return bool(kept == "")


def _leaves_somebody(folder: Path) -> bool:
    with closing(Cage((intruders.__name__,))) as cage:
        left = int(cage.call(intruders.leaves_somebody, folder, kind=str, bounds=_programs()))
        stays = is_alive(left)
    kill(left)
    return stays


def _shares_the_network(_folder: Path) -> bool:
    return bool(caged(inmates.network) == inmates.network())


def _outlives_the_door(_folder: Path) -> bool:
    """Tell whether an inmate is still there when its door was killed, and those who asked were told so."""
    with closing(Cage((inmates.__name__,), silent_seconds=4.0)) as cage, ThreadPoolExecutor(1) as caller:
        cage.open()
        before = set(descendants(os.getpid()))
        told = caller.submit(cage.call, inmates.hangs, "busy", kind=str)
        wait_until(lambda: len(set(descendants(os.getpid())) - before) > 0)
        inmate = next(iter(set(descendants(os.getpid())) - before))
        kill(parent_of(inmate))
        assert isinstance(told.exception(), InmateDied)
    until = time.monotonic() + _ENDED_SECONDS
    while is_alive(inmate) and time.monotonic() < until:
        time.sleep(0.01)
    stays = is_alive(inmate)
    kill(inmate)
    return stays


def _programs() -> cage_module.Bounds:
    return cage_module.Bounds(programs=True)


def _blames_the_server(_folder: Path) -> bool:
    made = talk.fault_from({"fault": "OutOfMemory", "detail": "d", "hint": None, "extras": {}})
    return isinstance(made, OutOfMemory)


def _floods_the_log(_folder: Path) -> bool:
    return len(talk.words_from("x" * 1_000_000)) > 100_000


def _speaks_to_a_terminal(_folder: Path) -> bool:
    fault = talk.fault_from({"fault": "SourceCorrupt", "detail": "\x1b]0;owned\x07", "hint": None, "extras": {}})
    return "\x1b" in fault.detail


def _says_a_huge_number(_folder: Path) -> bool:
    return not refused(lambda: records.value_of(Fraction, "1e4000"), *records.UNREADABLE)


def _says_a_text_for_a_number(_folder: Path) -> bool:
    return not refused(lambda: records.value_of(int, "many"), *records.UNREADABLE)


class _Says:
    """A cage whose inmate says what it is told to."""

    def __init__(self, value: object) -> None:
        self._value = value

    def call(self, *_: object, **__: object) -> Any:  # noqa: ANN401 - as a cage's
        """Say it."""
        return self._value


def _clip(folder: Path) -> Path:
    return write_clip(Clip(pictures=(Picture(frame_count=2),)), folder / "clip.mp4")


def _names_another_source(folder: Path) -> bool:
    clip = _clip(folder)
    looked = look_at(clip)
    lie = replace(looked, info=replace(looked.info, path="/of-somebody-else"))
    return not refused(lambda: orders.do_caged(ProbeSource(clip), cast("Cage", _Says(lie)), ignore), InmateDied)


def _names_another_result(folder: Path) -> bool:
    plan = make_plan(_clip(folder), Wish(scale=2, model="lanczos"))
    says = cast("Cage", _Says(Finished(Path(_secret(folder)), Audit(()))))
    return not refused(lambda: orders.do_caged(FinishVideo(plan, (), folder), says, ignore), InmateDied)


def _whole_environment() -> dict[str, str]:
    """Return all of the environment, and where the door finds these tests."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


CAGE = (
    Guard("files out of reach: reading", in_the_door(_FILES), _reads),
    Guard("files out of reach: removing", in_the_door(_FILES), _removes),
    Guard("rights of files", in_the_door(_allowing("chmod", "fchmodat", "fchmodat2")), _changes_rights),
    Guard("the server's environment in /proc", in_the_door(f"{_FILES}; {_RIGHTS}"), _reads_the_servers_secrets),
    Guard("sockets", in_the_door(_allowing("socket")), _makes_sockets),
    Guard("other processes: starting", in_the_door(_PROCESSES), lambda _: attempted("fork")),
    Guard("other processes: signals", in_the_door(f"{_PROCESSES}; {_FILES}"), _signals),
    Guard("shared memory of the machine", in_the_door(_allowing("shmget")), lambda _: attempted("shared memory")),
    Guard("size of files", in_the_door(_unbounded(resource.RLIMIT_FSIZE)), _writes),
    Guard("memory", in_the_door(_unbounded(resource.RLIMIT_AS)), _takes_memory),
    Guard("handles", in_the_door(_unbounded(resource.RLIMIT_NOFILE)), _takes_handles),
    Guard("environment", without(door_keeper, "clean_environment", _whole_environment), _knows_secrets),
    Guard("capabilities", in_the_door(_RIGHTS), _holds_capabilities),
    Guard("sealed block", without(cage_module.fcntl, "fcntl", lambda *_: 0), _shrinks_the_block),
    Guard("a network of its own", in_the_door(_NETWORK), _shares_the_network),
    Guard("an end with the door", in_the_door(_BOND), _outlives_the_door),
    Guard("nobody left behind", in_the_door(_SWEEP), _leaves_somebody),
    Guard("faults that speak of the source", without(talk, "_SAYABLE", (UpscaleError,)), _blames_the_server),
    Guard("length of words", without(talk, "_MOST_WORDS", 1 << 30), _floods_the_log),
    Guard("printable words", without(talk, "words_from", str), _speaks_to_a_terminal),
    Guard("fractions without exponent", without(records, "_fraction", Fraction), _says_a_huge_number),
    Guard("types of what is said", without(records, "_PLAIN", {}), _says_a_text_for_a_number),
    Guard("facts of the source that was asked for", without(orders, "_is_of", lambda *_: None), _names_another_source),
    Guard("a result in its place", without(orders, "_in_its_place", lambda found, *_: found), _names_another_result),
)
