"""Leaks and crashes planted into a server under test, from outside: the product knows nothing of them.

    environment, switch = plant(folder)   # a server is started with that environment
    switch.write_text("handles")

A `sitecustomize` in a folder on the path is run by every Python that starts; it waits for one module of ours to be
imported and wraps what that does for each piece of work. Which leak is open stands in a file, so that one server shows
that it has none, and then that each would be found. Doors get another plant: a source that ends with `CRASHES` kills
the process that opens it.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

CRASHES = b"\0\0\0\x10freecrash-me"
"""An MP4 box without meaning: the file stays a good one for everybody else."""

KINDS = ("memory_bytes", "handles", "threads", "processes", "files")
"""As `holdings.Holdings` calls them."""

_SWITCH = "PLANTED_SWITCH"
_MEMORY_BYTES = 8 << 20
_THREADS = 50
"""More than the threads that wait for the next request when a look begins and have ended when it is over."""
_kept: list[object] = []


def plant(folder: Path) -> tuple[dict[str, str], Path]:
    """Return the environment of a server with plants, and the file in which the open leak's name stands."""
    switch = folder / "switch"
    switch.write_text("")
    (folder / "sitecustomize.py").write_text("from tests.support.planted import grow\n\ngrow()\n")
    root = Path(__file__).parents[2]
    path = os.pathsep.join(map(str, (folder, root / "src", root)))
    return {"PYTHONPATH": path, _SWITCH: str(switch)}, switch


def grow() -> None:
    """Be planted in the process that has just started."""
    if any("cage.door" in argument for argument in sys.orig_argv):
        _after("upscale_server.media.source", _crash_on_some)
        _after("upscale_server.media.image", _crash_on_some_pictures)
    elif _SWITCH in os.environ:
        _after("upscale_server.workers.worker", lambda module: _wrap(module.Bench, "do", _leak))
        _after("upscale_server.service.picture_cages", lambda module: _wrap(module.PictureCages, "read", _leak))


def _wrap(owner: Any, name: str, first: Callable[..., None]) -> None:  # noqa: ANN401 - a module or a class
    inner = getattr(owner, name)

    def wrapped(*arguments: Any, **more: Any) -> Any:  # noqa: ANN401 - what the wrapped one takes
        first(*arguments)
        return inner(*arguments, **more)

    setattr(owner, name, wrapped)


def _crash_on_some(module: ModuleType) -> None:
    _wrap(module, "_is_readable", lambda path: _crash_if(path.read_bytes() if path.is_file() else b""))


def _crash_on_some_pictures(module: ModuleType) -> None:
    _wrap(module, "load_bytes", lambda content, *_: _crash_if(content))


def _crash_if(content: bytes) -> None:
    if content.endswith(CRASHES):
        os.kill(os.getpid(), signal.SIGSEGV)


def _leak(*_: object) -> None:
    kind = Path(os.environ[_SWITCH]).read_text(encoding="utf-8")
    if kind:
        _kept.append(_LEAKS[kind]())


def _file() -> str:
    handle, path = tempfile.mkstemp()
    os.close(handle)
    return path


def _threads() -> list[threading.Thread]:
    threads = [threading.Thread(target=threading.Event().wait, daemon=True) for _ in range(_THREADS)]
    for one in threads:
        one.start()
    return threads


def _process() -> subprocess.Popen[bytes]:
    """Start one that ends with the process that holds its pipe, and holds nothing of that itself."""
    nothing = subprocess.DEVNULL
    return subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, stdout=nothing, stderr=nothing)


_LEAKS: dict[str, Callable[[], object]] = {
    "memory_bytes": lambda: b"x" * _MEMORY_BYTES,
    "handles": lambda: os.open(os.devnull, os.O_RDONLY),
    "threads": _threads,
    "processes": _process,
    "files": _file,
}


class _After(MetaPathFinder, Loader):
    """Loads one module as usual, then gives it to a function."""

    def __init__(self, name: str, then: Callable[[ModuleType], None]) -> None:
        self._name = name
        self._then = then
        self._inner: Loader | None = None

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Stand between the module and its loader."""
        del path, target
        if name != self._name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None
        self._inner, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Have it made as usual."""
        return self._inner.create_module(spec) if self._inner else None

    def exec_module(self, module: ModuleType) -> None:
        """Have it run as usual, then change it."""
        assert self._inner is not None
        self._inner.exec_module(module)
        self._then(module)


def _after(name: str, then: Callable[[ModuleType], None]) -> None:
    sys.meta_path.insert(0, _After(name, then))
