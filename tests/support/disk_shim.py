"""A disk that is full for one write of a whole server and its children, whichever of them that is.

A small library (`disk_shim.c`) is compiled and preloaded. What a cage clears from the environment of its door is put
back by a module that Python loads at its start, so that the product needs no switch for it.
"""

from __future__ import annotations

import mmap
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Self

import pytest

from tests.support.everywhere import write_everywhere

_SOURCE = Path(__file__).with_name("disk_shim.c")
_NUMBERS = struct.Struct("qqq")
_KINDS = ("", "write", "sync", "name")
_NEVER = 1 << 60
_AGAIN = """
if "LD_PRELOAD" not in os.environ:
    os.execve(sys.executable, sys.orig_argv, {{**os.environ, **{variables!r}}})
"""


class FullDisk:
    """The Nth write under a folder fails; a context manager around the server's life.

    Args:
        folder: for what is compiled and counted.
        root: the folder whose writes count.
    """

    def __init__(self, folder: Path, root: Path) -> None:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            pytest.skip("no C compiler here, so that no single write can be made to fail")
        folder.mkdir()
        library, self._counter = folder / "disk_shim.so", folder / "counter"
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-w", "-o", library, _SOURCE, "-ldl"], check=True)
        self._counter.write_bytes(_NUMBERS.pack(_NEVER, 0, 0))
        variables = {"LD_PRELOAD": str(library), "FAULT_FILE": str(self._counter), "FAULT_ROOT": str(root)}
        modules = write_everywhere(folder / "modules", _AGAIN.format(variables=variables))
        self.environment = {**variables, **modules}

    def __enter__(self) -> Self:
        with self._counter.open("r+b") as file:
            self._numbers = mmap.mmap(file.fileno(), _NUMBERS.size)
        return self

    def __exit__(self, *_: object) -> None:
        self._numbers.close()

    def fail(self, number: int) -> None:
        """Let the write with this number fail, counted from now; 0 for none."""
        self._numbers[:] = _NUMBERS.pack(number or _NEVER, 0, 0)

    @property
    def failed(self) -> str:
        """Return what has failed: a `write`, a `sync`, a new `name`, or nothing yet."""
        return _KINDS[_NUMBERS.unpack(self._numbers[:])[2]]

    @property
    def writes(self) -> int:
        """Return how many writes there were since `fail`."""
        return int(_NUMBERS.unpack(self._numbers[:])[1])
