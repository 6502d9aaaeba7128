"""This machine as a member of a Ray cluster: with what it has, or with nothing, only to hand out work.

It runs Ray's own command and looks after that process; what runs on the machine then is `ray`'s business.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from upscale_server.errors import BadRequest, MissingExtra, StorageError

START_SECONDS = 60.0
"""How long a machine may take to become a member; it takes a few seconds."""
_END_SECONDS = 15.0
OUTLAST_THE_HEAD = {"RAY_gcs_rpc_server_reconnect_timeout_s": str(10 * 365 * 86_400)}
"""Ray ends what has lost its head for longer, a minute by itself; here it may have work in hand."""
_STARTED = "Ray runtime started"
"""What Ray says when a machine is a member."""

# Ends with us, however we end; the signal lets Ray end what it has started.
_HELD = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 15); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)


def check_address(address: str) -> None:
    """Refuse what is no address of a cluster's head.

    Raises:
        BadRequest: with what is expected.
    """
    host, _, port = address.rpartition(":")
    if address != "auto" and not (host and port.isdecimal() and 0 < int(port) < 1 << 16 and "/" not in host):
        raise BadRequest(f"the cluster's address is {address!r}; expected HOST:PORT of its head, such as 10.0.0.5:6379")


class Membership:
    """This machine's part in a cluster; a context manager that leaves it.

    Args:
        address: of the cluster's head.
        cpus: cores that the cluster may use; None means all of them.
        gpus: the same of GPUs.

    Raises:
        BadRequest: the address is none.
        MissingExtra: Ray is not installed.
    """

    def __init__(self, address: str, cpus: int | None = None, gpus: int | None = None) -> None:
        check_address(address)
        if importlib.util.find_spec("ray") is None:
            raise MissingExtra("a cluster needs Ray", hint="pip install 'upscale-server[ray]'")
        self._address = address
        given = {"num-cpus": cpus, "num-gpus": gpus}
        flags = [f"--{name}={count}" for name, count in given.items() if count is not None]
        self._command = ["-m", "ray.scripts.scripts", "start", f"--address={address}", "--block",
                         "--disable-usage-stats", "--include-log-monitor=false", *flags]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name="ray-start", daemon=True)
        self._said = ""
        self._started = threading.Event()

    def join(self) -> None:
        """Become a member.

        Raises:
            StorageError: the head does not answer, or refuses us; with what Ray said.
        """
        self._thread.start()
        if not self._started.wait(START_SECONDS) or self._process is None or self._process.poll() is not None:
            self.leave()
            raise StorageError(
                f"this machine could not join the cluster at {self._address}: {self._said or 'it takes too long'}",
                hint="is its head running, and is the port open? `ray start --head` starts one",
            )

    def wait(self) -> int:
        """Wait until the membership ends, and return the exit code."""
        return self._process.wait() if self._process is not None else 0

    def leave(self) -> None:
        """Leave the cluster. Safe to call twice."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _run(self) -> None:
        """Start Ray, and read what it says until it ends; a full pipe would stop it.

        Both here: what a thread starts ends with that thread, and this one lasts as long as Ray does.
        """
        own = {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONUNBUFFERED": "1", **OUTLAST_THE_HEAD}
        process = self._process = subprocess.Popen(  # noqa: S603 - a fixed command; the address was checked
            [sys.executable, "-c", _HELD, *self._command],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, **own},
        )  # fmt: skip
        assert process.stdout is not None  # noqa: S101 - it was asked for as a pipe
        for line in process.stdout:
            text = line.decode(errors="replace").strip()
            if not self._started.is_set() and text:
                self._said = text[:300]
            if _STARTED in text:
                self._started.set()
        self._started.set()


def is_member(address: str) -> bool:
    """Tell whether a Ray node of this cluster, or of any for `auto`, runs on this machine."""
    wanted = "" if address == "auto" else _as_ray_writes(address)
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = cmdline.read_bytes().split(b"\0")
            if words[0].endswith(b"/raylet") and any(
                word.startswith(b"--gcs-address=") and word.decode().endswith(wanted) for word in words
            ):
                return True
    return False


def _as_ray_writes(address: str) -> str:
    """Return how the address of a head ends in Ray's own words: with the host's number, but not a loopback's."""
    host, _, port = address.rpartition(":")
    try:
        number = socket.gethostbyname(host)
    except OSError:
        return address
    return f":{port}" if number.startswith("127.") else f"{number}:{port}"
