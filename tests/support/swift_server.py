"""A real S3 server in one process, run by an interpreter that has `swift` and `pyeclib`: `python swift_server.py DIR`.

OpenStack Swift with its s3api checks signatures and expiry and keeps multipart uploads, which mocks do not. It prints
its port when it listens, and ends with the process that started it. It is run as a program and imported by nothing.
"""

from __future__ import annotations

import eventlet

eventlet.monkey_patch()  # before anything that opens a socket

import ctypes  # noqa: E402 - after the patch, as all below
import logging  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
from collections.abc import Callable, Iterable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import swift.common.utils as swift_utils  # noqa: E402
from eventlet import wsgi  # noqa: E402
from swift.common.http_protocol import SwiftHttpProtocol  # noqa: E402
from swift.common.ring import RingBuilder  # noqa: E402
from swift.common.storage_policy import reload_storage_policies  # noqa: E402
from swift.common.wsgi import loadapp  # noqa: E402

KINDS = ("account", "container", "object")
MIDDLEWARE = {
    "catch_errors": "",
    "gatekeeper": "",
    "listing_formats": "",
    "bulk": "",
    "s3api": "location = us-east-1\ns3_acl = no\ncheck_bucket_owner = no",
    "tempauth": "user_test_tester = testing .admin",
    "slo": "",
    "dlo": "",
}
SWIFT_CONF = """[swift-hash]
swift_hash_path_prefix = test
swift_hash_path_suffix = test
[storage-policy:0]
name = gold
default = yes
[swift-constraints]
max_file_size = 5368709122
"""


class Cache(dict[str, Any]):
    """What memcached holds for a Swift of several processes."""

    def set(self, key: str, value: object, **_: object) -> None:
        """Keep a value."""
        self[key] = value

    def incr(self, key: str, delta: int = 1, **_: object) -> int:
        """Count."""
        self[key] = int(self.get(key, 0)) + delta
        return int(self[key])

    def delete(self, key: str, **_: object) -> None:
        """Forget a value."""
        self.pop(key, None)

    def get(self, key: str, default: object = None, **_: object) -> Any:  # noqa: ANN401 - as memcached
        """Return a value."""
        return super().get(key, default)


def write_configuration(folder: Path, ports: dict[str, int]) -> None:
    """Write what each server reads: one replica on one folder."""
    (folder / "srv" / "d1").mkdir(parents=True, exist_ok=True)
    for kind, port in ports.items():
        ring = RingBuilder(2, 1, 0)
        place = {"region": 1, "zone": 1, "weight": 1, "ip": "127.0.0.1", "port": port, "device": "d1"}
        ring.add_dev({"id": 0, **place, "replication_ip": "127.0.0.1", "replication_port": port})
        ring.rebalance()
        ring.get_ring().save(str(folder / f"{kind}.ring.gz"))
        pipeline = f"[pipeline:main]\npipeline = {kind}-server\n[app:{kind}-server]\nuse = egg:swift#{kind}\n"
        (folder / f"{kind}-server.conf").write_text(_common(folder) + pipeline)
    filters = "".join(f"[filter:{name}]\nuse = egg:swift#{name}\n{lines}\n" for name, lines in MIDDLEWARE.items())
    pipeline = f"[pipeline:main]\npipeline = {' '.join(MIDDLEWARE)} proxy-server\n"
    app = "[app:proxy-server]\nuse = egg:swift#proxy\naccount_autocreate = true\nallow_account_management = true\n"
    (folder / "proxy-server.conf").write_text(_common(folder) + pipeline + app + filters)


def _common(folder: Path) -> str:
    return (
        f"[DEFAULT]\nswift_dir = {folder}\ndevices = {folder / 'srv'}\nmount_check = false\n"
        "log_level = ERROR\nworkers = 0\nfallocate_reserve = 0\n"
    )


def use_configuration(folder: Path) -> None:
    """Make Swift read its hash and policies from our folder, where it knows only /etc/swift."""
    conf = folder / "swift.conf"
    conf.write_text(SWIFT_CONF)
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith("swift") and hasattr(module, "SWIFT_CONF_FILE"):
            module.SWIFT_CONF_FILE = str(conf)  # type: ignore[attr-defined]
    swift_utils.HASH_PATH_PREFIX, swift_utils.HASH_PATH_SUFFIX = b"test", b"test"
    reload_storage_policies()


def serve(folder: Path, kind: str, listener: Any) -> None:  # noqa: ANN401 - eventlet's socket has no public type
    """Answer for ever on a socket."""
    app = loadapp(str(folder / f"{kind}-server.conf"), global_conf={"log_name": kind})
    cache = Cache()

    def with_cache(environment: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        environment["swift.cache"] = cache
        return app(environment, start_response)  # type: ignore[no-any-return]

    wsgi.server(
        listener,
        with_cache,
        log=logging.getLogger("quiet"),
        log_output=False,
        protocol=SwiftHttpProtocol,
        capitalize_response_headers=False,
    )


def main(folder: Path) -> None:
    """Start the three storage servers and the proxy; say the proxy's port; serve."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: a killed test run leaves no server behind
    folder.mkdir(parents=True, exist_ok=True)
    listeners = {kind: eventlet.listen(("127.0.0.1", 0)) for kind in (*KINDS, "proxy")}
    ports = {kind: listeners[kind].getsockname()[1] for kind in KINDS}
    use_configuration(folder)
    write_configuration(folder, ports)
    for kind in KINDS:
        eventlet.spawn(serve, folder, kind, listeners[kind])
    sys.stdout.write(f"{listeners['proxy'].getsockname()[1]}\n")
    sys.stdout.flush()
    serve(folder, "proxy", listeners["proxy"])


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
