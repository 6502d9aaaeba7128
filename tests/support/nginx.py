"""Runs a real nginx around a shipped configuration, in a folder of the test's own.

No file of the machine is touched.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

LIMIT_SECONDS = 60
"""A wait must end; no expectation."""
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def free_ports(count: int) -> list[int]:
    """Return ports that nobody has right now."""
    with ExitStack() as stack:
        doors = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [door.getsockname()[1] for door in doors]


def configuration(folder: Path, site: str) -> Path:
    """Write a whole configuration around the text of a site's; requests are noted in `access.log`."""
    (folder / "site.conf").write_text(site)
    places = "".join(
        f"    {name}_temp_path {folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;\n" if os.geteuid() == 0 else ""  # else its processes may not write to the test's folder
    (folder / "nginx.conf").write_text(
        f"{user}daemon off;\nworker_processes 2;\npid {folder}/nginx.pid;\nerror_log {folder}/error.log;\n"
        "events { worker_connections 256; }\n"
        f"http {{\n{places}    log_format visited '$upstream_addr';\n    access_log {folder}/access.log visited;\n"
        f"    include {folder}/site.conf;\n}}\n"
    )
    return folder / "nginx.conf"


@contextmanager
def nginx_running(file: Path, port: int) -> Iterator[None]:
    """Have nginx check a configuration and run with it, until the block ends."""
    assert NGINX is not None
    checked = subprocess.run([NGINX, "-t", "-c", str(file)], capture_output=True, text=True, check=False)
    assert 0 == checked.returncode, checked.stderr
    with subprocess.Popen([NGINX, "-c", str(file)], stderr=subprocess.DEVNULL) as nginx:
        try:
            until(lambda: listens(port))
            yield
        finally:
            nginx.send_signal(signal.SIGTERM)
            nginx.wait(LIMIT_SECONDS)


def listens(port: int) -> bool:
    """Tell whether somebody listens there."""
    with socket.socket() as door:
        return door.connect_ex(("127.0.0.1", port)) == 0


def until(fact: Callable[[], object]) -> None:
    """Wait for a fact."""
    end = time.monotonic() + LIMIT_SECONDS
    while not fact():
        assert time.monotonic() < end
        time.sleep(0.01)
