"""From settings to a cluster's parts, so that only this place knows which transports there are.

It starts nothing.
"""

from __future__ import annotations

from upscale_server.cluster.transport import FolderTransport, StoreTransport, Transport
from upscale_server.errors import BadRequest
from upscale_server.settings import Settings
from upscale_server.storage.s3 import S3Store


def transport_of(settings: Settings) -> Transport:
    """Return how pictures travel between a server and its nodes.

    Raises:
        BadRequest: neither a shared folder nor an object store is set.
        MissingExtra, StorageError: as `S3Store`.
    """
    if settings.ray.folder is not None:
        return FolderTransport(settings.ray.folder)
    if settings.storage.kind == "s3":
        return StoreTransport(S3Store(settings.storage))
    raise BadRequest(
        "a cluster's machines have no way to pass pictures on; expected UPSCALE_STORAGE__KIND=s3, or "
        "UPSCALE_RAY__FOLDER, a folder that all of them see at the same path"
    )
