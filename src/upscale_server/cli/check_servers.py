"""Checks of what a server needs besides this machine: its ports, the store of results, the jobs' database.

A server of ours that runs is asked how it is; nothing is started, and what is stored to try the store is removed.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

from upscale_server.cli import doors
from upscale_server.cli.check_database import database_check
from upscale_server.cli.check_disks import writable
from upscale_server.cli.checks import Check, tried
from upscale_server.errors import BadRequest, Draining, ModelsNotLoaded, StorageError, UpscaleError
from upscale_server.settings import Settings

if TYPE_CHECKING:
    from upscale_server.client import Client

PORTS = {"video": 29115, "image": 8090}
_VARIABLE = re.compile(r"UPSCALE_STORAGE__[A-Z0-9_]+")


def server_checks(settings: Settings) -> Iterator[Check]:
    """Try what a server would use."""
    for face, port in PORTS.items():
        yield tried(f"port {port}", lambda face=face, port=port: port_check(face, port, settings))  # type: ignore[misc]
    yield tried("store of results", lambda: store_check(settings))
    yield tried("jobs' database", lambda: database_check(settings))


def port_check(face: str, port: int, settings: Settings) -> Check:
    """Tell whether a port is free, or who answers there."""
    name = f"port {port}"
    try:
        doors.listening("127.0.0.1", port).close()
    except BadRequest as err:
        running = _running(name, port, settings)
        if running is not None:
            return running
        advice = f"no server of ours answers there; the {face} server can have another port"
        return Check(name, "warning", err.detail, advice, f"upscale serve {face} --port {_free_port()}")
    return Check(name, "ok", f"free for the {face} server")


def _running(name: str, port: int, settings: Settings) -> Check | None:
    """Return how our server at a port is; None where what answers there is not ours, or nothing does."""
    from upscale_server.client import Client

    url = f"http://127.0.0.1:{port}"
    keys = [one.strip() for one in settings.api_keys.get_secret_value().split(",")]
    with Client(url, next((one for one in keys if one and not one.startswith("sha256:")), None)) as client:
        try:
            client.health()
        except (ModelsNotLoaded, Draining, StorageError) as err:
            return Check(
                name, "warning", f"{_version(client)} answers: {err.detail}", err.hint or "", f"curl {url}/health"
            )
        except UpscaleError:
            return None
        return Check(name, "ok", f"{_version(client)} answers and is ready")


def _version(client: Client) -> str:
    """Return the name and version of a server; it hides them from callers without a key."""
    try:
        about = client.about()
    except UpscaleError:
        return "a server of ours, whose version needs its key,"
    return f"{about.get('title', 'a server')} {about.get('version', '')}".strip()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as door:
        return int(door.getsockname()[1])


def store_check(settings: Settings) -> Check:
    """Write, read and remove a small object; of a bucket, fetch it by a signed link, too."""
    name = "store of results"
    from upscale_server.service import folders_of

    if settings.storage.kind == "local":
        folder = folders_of(settings).output
        return writable(name, folder, "UPSCALE_OUTPUT_DIR")
    from upscale_server.storage.s3 import S3Store

    s3 = settings.storage.s3
    try:
        S3Store(settings.storage).check()
    except StorageError as err:
        return Check(name, "broken", err.detail, err.hint or "", _mended(settings, err))
    return Check(
        name, "ok", f"bucket {s3.bucket} at {s3.endpoint or 'AWS'}: written, fetched by a signed link, removed"
    )


def _mended(settings: Settings, error: StorageError) -> str:
    """Return the command for what a store answered; most often it is a setting that the hint names."""
    hint, s3 = error.hint or "", settings.storage.s3
    if "NoSuchBucket" in error.detail:
        at = f" --endpoint-url {s3.endpoint}" if s3.endpoint else ""
        return f"aws s3 mb s3://{s3.bucket}{at}"
    if "NTP" in hint:
        return "sudo timedatectl set-ntp true"
    if "AWS_CA_BUNDLE" in hint:
        return "export AWS_CA_BUNDLE=/etc/ssl/certs/your-authority.pem"
    named = _VARIABLE.search(hint)
    return f"export {named[0] if named else 'UPSCALE_STORAGE__S3__ENDPOINT'}=..."
