"""Keeps results in an object store that speaks S3, and outlasts its restarts.

boto3 is an extra and is imported when a store is opened. A finished file is streamed from the disk; nothing here
holds more of it than a read buffer. Uploads of other programs in the same bucket are never touched: only keys under
`results/` and `work/` are ours.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from upscale_server.errors import Canceled, Conflict, DatabaseAway, MissingExtra, StorageError
from upscale_server.server_settings import S3, Storage
from upscale_server.storage.base import About, Stored, Unfinished, UploadMemory, go_on
from upscale_server.storage.coming import Coming
from upscale_server.storage.links import clamp
from upscale_server.storage.local import check_key
from upscale_server.storage.multipart import Client, Multipart, Target
from upscale_server.storage.names import disposition
from upscale_server.storage.retrying import Patience
from upscale_server.storage.s3_check import CHECK_KEY, CHECKED, CHECKS_AT_ONCE, read_back
from upscale_server.storage.s3_faults import code_of, is_missing, may_pass, named
from upscale_server.storage.windows import Window

T = TypeVar("T")

OWN_PREFIXES = ("results/", "work/")
CONNECT_SECONDS = 5.0
READ_SECONDS = 60.0
"""A store that is silent for so long in the middle of a request is away; parts are tried again, and links are not."""


class S3Store:
    """An `ObjectStore` in a bucket."""

    def __init__(self, settings: Storage, patience: Patience | None = None) -> None:
        self._bucket = settings.s3.bucket
        self._large_bytes = settings.large_bytes
        self._patience = patience or Patience(settings.retry_seconds)
        self._quick = Patience(min(5.0, settings.retry_seconds), self._patience.first_pause_seconds)
        self._endpoint = _address(settings.s3.endpoint)
        self._client = _client(settings.s3, self._endpoint)
        public = _address(settings.s3.public_endpoint)
        self._signing_client = _client(settings.s3, public) if public else self._client

    def put(self, path: Path, key: str, about: About, upload: UploadMemory) -> Stored:
        """Store a file; an outage is sat out for `retry_seconds`, a refusal comes out at once.

        `upload.remember` is called before every try, `upload.check` more often; what they raise ends the upload.
        Nothing of it stays in the store, unless that was a Conflict, then whoever lost the job gives the upload up, or
        Canceled or DatabaseAway, then a later attempt goes on with it: to forget it could take as long as storing.
        """
        headers = {"ContentType": about.content_type, "ContentDisposition": disposition(about.file_name)}
        target = Target(self._bucket, check_key(key), headers)
        if path.stat().st_size < self._large_bytes:
            self._put_whole(path, target, upload)
        else:
            self._put_parts(path, target, upload)
        stored = self._do(f"asking for {key}", partial(self._head, key), self._patience, upload.check)
        if stored is None or stored.byte_count != path.stat().st_size:
            raise StorageError(f"{key} was stored in {self._shown} and is not there in full", hint="try the job again")
        return stored

    def head(self, key: str) -> Stored | None:
        """Return what is known of an object, or None where there is none."""
        return self._do(f"asking for {key}", partial(self._head, check_key(key)), self._quick)

    def get(self, key: str, path: Path, check: Callable[[], None] = go_on) -> None:
        """Write an object to a file; an outage is sat out for `retry_seconds`, a refusal comes out at once."""
        coming = Coming(self._client, {"Bucket": self._bucket, "Key": check_key(key)}, path)
        with coming:
            self._do(f"reading {key}", partial(coming.go_on, check), self._patience, check)

    def link(self, key: str, about: About, seconds: int) -> str:
        """Return a presigned address, good for `seconds`, clamped; nothing is asked of the store."""
        parameters = {
            "Bucket": self._bucket,
            "Key": check_key(key),
            "ResponseContentType": about.content_type,
            "ResponseContentDisposition": disposition(about.file_name),
        }
        sign = partial(self._signing_client.generate_presigned_url, "get_object", parameters, clamp(seconds))
        return self._do(f"signing a link to {key}", lambda: str(sign()), Patience(0))

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens where there is none."""

        def step() -> None:
            try:
                self._client.delete_object(Bucket=self._bucket, Key=check_key(key))
            except Exception as err:
                if not is_missing(err):
                    raise

        self._do(f"removing {key}", step, self._quick)

    def abort(self, key: str, upload_id: str) -> None:
        """Give up a multipart upload that an attempt left, so that its parts cost nothing any more."""
        self._do("aborting an upload", partial(self._abort, check_key(key), upload_id), self._quick)

    def listed(self, prefix: str = "") -> Iterator[Stored]:
        """Yield the objects whose keys begin with `prefix`, page by page."""
        asked = {"Bucket": self._bucket, "Prefix": prefix}
        for page in self._pages("list_objects_v2", asked):
            for found in page.get("Contents", []):
                modified = found["LastModified"].timestamp()
                yield Stored(found["Key"], found["Size"], modified, found["ETag"].strip('"'))

    def uploads(self, prefix: str) -> Iterator[Unfinished]:
        """Yield the uploads whose keys begin with `prefix`, page by page; some stores overlook what was asked."""
        for page in self._pages("list_multipart_uploads", {"Bucket": self._bucket, "Prefix": prefix}):
            for found in page.get("Uploads", []):
                if found["Key"].startswith(prefix):
                    yield Unfinished(found["Key"], found["UploadId"], found["Initiated"].timestamp())

    def sweep(self, older_than_seconds: float) -> int:
        """Abort uploads of ours that were begun so long ago; return how many."""
        before = time.time() - older_than_seconds
        stale = [one for prefix in OWN_PREFIXES for one in self.uploads(prefix) if one.began <= before]
        for one in stale:
            abort = partial(self._abort, one.key, one.upload_id)
            self._do("aborting an old upload", abort, self._quick)
        return len(stale)

    def check(self) -> None:
        """Write, read and remove a small object; one try, so that a wrong setting is known at once.

        It has the same name each time: a store that lets nobody remove anything is left with one and not with many.

        Raises:
            StorageError: with what the store answered and which setting is likely wrong; it names what stays there.
        """
        place = {"Bucket": self._bucket, "Key": CHECK_KEY}
        found, left = None, CHECKS_AT_ONCE
        while found is None and left:
            found, left = self._written_and_read(place), left - 1
        self._take_back(place)
        if found != CHECKED:
            raise StorageError(f"{self._shown} does not give back what was written to it")

    def _written_and_read(self, place: dict[str, str]) -> bytes | None:
        self._do("checking the store", lambda: self._client.put_object(**place, Body=CHECKED), Patience(0))
        try:
            return self._do("checking the store", lambda: read_back(self._client, place, self._shown), Patience(0))
        except BaseException:
            with suppress(StorageError):  # the first fault is the one to be told
                self._take_back(place)
            raise

    def _take_back(self, place: dict[str, str]) -> None:
        try:
            self._do("checking the store", lambda: self._client.delete_object(**place), Patience(0))
        except StorageError as err:
            raise StorageError(
                f"{err.detail}; the object {CHECK_KEY} was written and stays there", hint=err.hint
            ) from err

    @property
    def _shown(self) -> str:
        return f"{self._endpoint or 'AWS'}/{self._bucket}"

    def _head(self, key: str) -> Stored | None:
        try:
            found = self._client.head_object(Bucket=self._bucket, Key=key)
        except Exception as err:
            if is_missing(err):
                return None
            raise
        return Stored(key, found["ContentLength"], found["LastModified"].timestamp(), found["ETag"].strip('"'))

    def _put_whole(self, path: Path, target: Target, upload: UploadMemory) -> None:
        """Store a small file by one request; an upload in parts that was begun for it is no longer needed."""
        left = upload.upload_id

        def step() -> None:
            if left is not None:
                self._abort(target.key, left)
            upload.remember(None)
            with Window(path, 0, path.stat().st_size) as window:
                checked = {"ContentMD5": base64.b64encode(window.md5()).decode(), "ContentLength": len(window)}
                self._client.put_object(**target.place, **target.headers, **checked, Body=window)

        self._do(f"storing {target.key}", step, self._patience, upload.check)

    def _put_parts(self, path: Path, target: Target, upload: UploadMemory) -> None:
        sending = Multipart(self._client, path, target, upload.upload_id)

        def step() -> None:
            upload.remember(sending.upload_id)  # before anything is asked: a store that is away may not be wanted now
            try:
                sending.send(upload)
            except Exception as err:
                if code_of(err) != "NoSuchUpload":
                    raise
                sending.upload_id = None
                # The answer to the last request may have been lost, not the request.
                stored = self._head(target.key)
                if stored is None or stored.etag != sending.expected_etag():
                    sending.send(upload)

        try:
            self._do(f"storing {target.key}", step, self._patience, upload.check)
        except (Conflict, Canceled, DatabaseAway):
            raise  # it is given up outside, or a later attempt goes on with it; else `sweep` finds it
        except Exception:
            self._give_up(sending, upload)
            raise
        upload.remember(None)

    def _give_up(self, sending: Multipart, upload: UploadMemory) -> None:
        """Leave nothing in the store, where it can be reached; else its id stays remembered, and `sweep` finds it."""
        with suppress(Exception):  # whatever goes wrong now, the first fault is the one to be told
            sending.abort()
            upload.remember(None)

    def _abort(self, key: str, upload_id: str) -> None:
        try:
            self._client.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload_id)
        except Exception as err:
            if code_of(err) != "NoSuchUpload":
                raise

    def _pages(self, operation: str, asked: dict[str, str]) -> Iterator[dict[str, Any]]:  # Any: boto3's own replies
        pages = iter(self._client.get_paginator(operation).paginate(**asked))
        end: dict[str, Any] = {}
        while (page := self._do("listing", lambda: next(pages, end), Patience(0))) is not end:
            yield page

    def _do(self, doing: str, step: Callable[[], T], patience: Patience, look: Callable[[], None] | None = None) -> T:
        """Do something with the store; whatever botocore raises gets a name of ours."""
        try:
            return patience.keep_trying(step, may_pass, look)
        except Exception as err:
            if code_of(err) or type(err).__module__.startswith(("botocore", "boto3")):
                raise named(err, doing, self._shown) from err
            raise


def _address(text: str) -> str:
    """Return an endpoint with its scheme; a bare name means https, as the setting says."""
    return text if not text or "://" in text else f"https://{text}"


def _client(settings: S3, endpoint: str) -> Client:
    """Return a boto3 client for an address.

    Raises:
        MissingExtra: boto3 is not installed.
        StorageError: a setting that boto3 does not take.
    """
    try:
        import boto3  # noqa: PLC0415 - an extra, imported on use
        from botocore.config import Config  # noqa: PLC0415 - as above
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - as above
    except ImportError as err:
        raise MissingExtra("S3 storage needs boto3", hint="pip install 'upscale-server[s3]'") from err
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": "path" if settings.path_style else "virtual"},
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": 1},  # trying again is the business of `Patience`
        # Newer checksums than MD5 are refused by many stores that are not AWS.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    try:
        return boto3.session.Session().client(
            "s3",
            endpoint_url=endpoint or None,
            region_name=settings.region,
            aws_access_key_id=settings.access_key.get_secret_value() or None,
            aws_secret_access_key=settings.secret_key.get_secret_value() or None,
            config=config,
        )
    except (BotoCoreError, ValueError) as err:
        raise StorageError(
            f"the S3 settings do not fit together: {err}", hint="look at UPSCALE_STORAGE__S3__ENDPOINT and …REGION"
        ) from err
