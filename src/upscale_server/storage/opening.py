"""Opens the store that the settings name, so that only this place knows which there are.

It keeps nothing itself.
"""

from __future__ import annotations

from pathlib import Path

from upscale_server.settings import Settings
from upscale_server.storage.base import ObjectStore
from upscale_server.storage.local import LocalStore
from upscale_server.storage.s3 import S3Store

KEY_FILE = "links.key"


def open_store(settings: Settings, output_dir: Path, state_dir: Path) -> ObjectStore:
    """Return the store for results.

    Args:
        settings: which store, and how it is reached.
        output_dir: the folder of the local store.
        state_dir: where the secret of signed links is kept.

    Raises:
        StorageError, DiskFull: the local store's folder cannot be made, or its secret is not safe.
        MissingExtra: S3 is asked for and boto3 is not installed.
    """
    if settings.storage.kind == "s3":
        return S3Store(settings.storage)
    return LocalStore(output_dir, state_dir / KEY_FILE)
