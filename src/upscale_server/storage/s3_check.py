"""Whether a bucket gives back what was put there, to us and by a signed link: a wrong setting is known before a job is.

It writes and removes nothing itself; that is the store's business.
"""

from __future__ import annotations

import httpcore

from upscale_server.errors import StorageError
from upscale_server.storage.links import SHORTEST_SECONDS
from upscale_server.storage.multipart import Client
from upscale_server.storage.s3_faults import is_missing

CHECK_KEY = "results/check"
CHECKED = b"upscale-server"
CHECKS_AT_ONCE = 5
"""So often is written what another server's check removes before it is read: they share one object."""


def read_back(client: Client, place: dict[str, str], shown: str) -> bytes | None:
    """Return what lies in a place; None where somebody has removed it.

    Raises:
        StorageError: a signed link to it does not work; `shown` names the bucket there.
    """
    try:
        found = bytes(client.get_object(**place)["Body"].read())
    except Exception as err:
        if is_missing(err):
            return None
        raise
    _check_link(client, place, shown)
    return found


def _check_link(client: Client, place: dict[str, str], shown: str) -> None:
    """Follow a link: boto3 corrects a wrong region in its own requests, and signs links for it all the same."""
    link = client.generate_presigned_url("get_object", place, SHORTEST_SECONDS)
    try:
        status = httpcore.request("GET", link, extensions={"timeout": {"connect": 5.0, "read": 10.0}}).status
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError):
        return  # boto3 may know a proxy or a certificate that we do not; its own requests have just worked
    if status in (400, 401, 403):
        raise StorageError(
            f"{shown} gives an object to us, but not by a signed link (status {status})",
            hint="look at UPSCALE_STORAGE__S3__REGION: it must be the bucket's own",
        )
