"""A real Ray cluster on loopback: a head without work, and as many machines of one core as a test wants.

Where Ray is not installed the tests are skipped, and say how to get it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.killing import wait_until
from upscale_server.service.assembly import pool_of
from upscale_server.settings import load_settings
from upscale_server.workers.pool import Pool

HOW = "Ray is not installed here; pip install 'upscale-server[ray]'"
_LOOPBACK = {"node_ip_address": "127.0.0.1", "include_dashboard": False}
QUIET = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
"""Ray keeps to loopback and calls nobody; it reads this when it is imported."""
os.environ.update(QUIET)


@dataclass
class Machines:
    """A running cluster; `environment` is what its machines see."""

    cluster: Any  # Ray's classes have no types
    environment: Mapping[str, str]
    nodes: list[Any] = field(default_factory=list)

    @property
    def address(self) -> str:
        """Return the head's address."""
        return str(self.cluster.address)

    def add(self, count: int = 1) -> None:
        """Let machines join."""
        with _environment(self.environment):
            self.nodes += [self.cluster.add_node(num_cpus=1, **_LOOPBACK) for _ in range(count)]

    def kill(self) -> None:
        """Take the newest machine away, as a cut cable does."""
        self.cluster.remove_node(self.nodes.pop(), allow_graceful=False)

    def pid_of(self, node: Any) -> int:  # noqa: ANN401 - Ray's classes have no types
        """Return the process of a machine that all its others descend from."""
        return int(node.all_processes["raylet"][0].process.pid)

    def server_environment(self) -> dict[str, str]:
        """Return the settings of a server that works on this cluster."""
        return {**QUIET, **self.environment, "UPSCALE_EXECUTOR": "ray", "UPSCALE_RAY__ADDRESS": self.address}


@contextmanager
def running_machines(environment: Mapping[str, str]) -> Iterator[Machines]:
    """Start a head; end every process and remove Ray's files afterwards."""
    utils = pytest.importorskip("ray.cluster_utils", reason=HOW)
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    wanted = {**QUIET, **environment}
    with _environment(wanted):
        head = {"num_cpus": 0, "temp_dir": str(folder), **_LOOPBACK}
        machines = Machines(utils.Cluster(initialize_head=True, head_node_args=head), wanted)
    try:
        yield machines
    finally:
        machines.cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running_head(port: int) -> Iterator[str]:
    """Start a head as a person does, which machines can join by command; give its address.

    Ray that was told to keep to loopback lets no other process join, so this one was not told.
    """
    pytest.importorskip("ray", reason=HOW)
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    flags = ["--num-cpus=0", "--node-ip-address=127.0.0.1", "--include-dashboard=false", f"--temp-dir={folder}"]
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}", *flags]
    with (folder / "said").open("wb") as said:
        head = subprocess.Popen(command, stdout=said, stderr=said, env=joinable())
        try:
            wait_until(lambda: b"Ray runtime started" in (folder / "said").read_bytes() or head.poll() is not None)
            assert head.poll() is None, (folder / "said").read_text()
            yield f"127.0.0.1:{port}"
        finally:
            head.terminate()
            head.wait(60)
    shutil.rmtree(folder, ignore_errors=True)


def joinable() -> dict[str, str]:
    """Return the environment of processes that join a cluster by command."""
    return {name: value for name, value in os.environ.items() if name != "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"}


@contextmanager
def pool_on(machines: Machines, state: Path) -> Iterator[Pool]:
    """Give the workers of a server in this process that works on the cluster."""
    with _environment({**machines.server_environment(), "UPSCALE_STATE_DIR": str(state)}):
        pool = pool_of(load_settings())
    pool.start()
    try:
        yield pool
    finally:
        pool.close()


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
