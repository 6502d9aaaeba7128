"""Checks of what a server needs besides this machine: its ports, the store of results, the jobs' database.

A server of ours that runs is asked how it is; nothing is started, and what is stored to try the store is removed.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from upscale_server.cli.check_database import database_check
from upscale_server.cli.check_disks import writable
from upscale_server.cli.check_ports import PORTS, port_check
from upscale_server.cli.checks import Check, tried
from upscale_server.errors import StorageError
from upscale_server.settings import Settings


def server_checks(settings: Settings) -> Iterator[Check]:
    """Try what a server would use."""
    for face, port in PORTS.items():
        yield tried(f"port {port}", lambda face=face, port=port: port_check(face, port))  # type: ignore[misc]
    yield tried("store of results", lambda: store_check(settings))
    yield tried("jobs' database", lambda: database_check(settings))


def store_check(settings: Settings) -> Check:
    """Write, read and remove a small object; of a bucket, try a signed link to it, too."""
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
    where = f"bucket {s3.bucket} at {s3.endpoint or 'AWS'}"
    return Check(name, "ok", f"{where}: written, read and removed; a signed link is not refused")


def _mended(settings: Settings, error: StorageError) -> str:
    """Return the command for what a store answered; where a setting is wrong, one that shows what it should be."""
    hint, s3 = error.hint or "", settings.storage.s3
    bucket, at = shlex.quote(s3.bucket), f" --endpoint-url {shlex.quote(s3.endpoint)}" if s3.endpoint else ""
    if "NoSuchBucket" in error.detail:
        return f"aws s3 mb s3://{bucket}{at}"
    if "NTP" in hint:
        return "sudo timedatectl set-ntp true"
    if "AWS_CA_BUNDLE" in hint:
        return "export AWS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt"
    if "UPSCALE_STORAGE__S3__REGION" in hint:
        return f"aws s3api get-bucket-location --bucket {bucket}{at}"
    return f"aws s3 ls s3://{bucket}{at}"
