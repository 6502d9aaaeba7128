"""Sends one large file in parts, so that a break costs a part and a dead process's upload is gone on with or aborted.

It tries once; trying again is the business of the store. The trap: an upload that is neither finished nor aborted
keeps its bytes in the store for ever, unseen in listings, so its id is remembered before it has any.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upscale_server.storage.base import UploadMemory
from upscale_server.storage.s3_faults import code_of
from upscale_server.storage.windows import Window

MOST_PARTS = 10_000
SMALLEST_PART = 8 << 20
"""Above S3's own 5 MiB; a break costs this much, and a part has its own request."""

Client = Any
"""A boto3 client: its methods are made at run time from a description, so there is no type to name."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a file goes, and what is said of it (boto3's names)."""

    bucket: str
    key: str
    headers: dict[str, str]

    @property
    def place(self) -> dict[str, str]:
        """Return bucket and key as boto3's arguments."""
        return {"Bucket": self.bucket, "Key": self.key}


def part_size_of(byte_count: int) -> int:
    """Return the size of parts: whole MiB, the same on every try, so that parts of an earlier one fit."""
    least = -(-byte_count // MOST_PARTS)
    return max(SMALLEST_PART, -(-least // (1 << 20)) * (1 << 20))


class Multipart:
    """One file's upload; `upload_id` changes when a fresh one is begun."""

    def __init__(self, client: Client, path: Path, target: Target, upload_id: str | None) -> None:
        self.upload_id = upload_id
        self._client = client
        self._path = path
        self._target = target
        self._byte_count = path.stat().st_size
        self._part_size = part_size_of(self._byte_count)
        self._md5s: dict[int, bytes] = {}

    def send(self, upload: UploadMemory) -> None:
        """Send what is missing and put the object in its place.

        Args:
            upload: told the upload's id before the first part is sent, and asked before each part; what it raises
                comes out.
        """
        there = self._parts_there()
        if self.upload_id is None:
            created = self._client.create_multipart_upload(**self._target.place, **self._target.headers)
            self.upload_id = str(created["UploadId"])
        # Before every try, not only the first: it may say that the job is no longer ours.
        upload.remember(self.upload_id)
        count = max(1, -(-self._byte_count // self._part_size))
        parts = []
        for number in range(1, count + 1):
            upload.check()
            parts.append({"PartNumber": number, "ETag": self._part(number, there)})
        self._client.complete_multipart_upload(
            **self._target.place, UploadId=self.upload_id, MultipartUpload={"Parts": parts}
        )

    def abort(self) -> None:
        """Give the upload up; nothing of it stays in the store."""
        if self.upload_id is None:
            return
        try:
            self._client.abort_multipart_upload(**self._target.place, UploadId=self.upload_id)
        except Exception as err:
            if code_of(err) != "NoSuchUpload":
                raise
        self.upload_id = None

    def expected_etag(self) -> str:
        """Return the ETag that the finished object has where the store computes it as S3 does.

        Source: the MD5 of the parts' MD5s, and their number (S3 user guide, "Checking object integrity").
        """
        count = max(1, -(-self._byte_count // self._part_size))
        joined = b"".join(self._md5_of(number) for number in range(1, count + 1))
        return f"{hashlib.md5(joined, usedforsecurity=False).hexdigest()}-{count}"

    def _parts_there(self) -> dict[int, tuple[str, int]]:
        """Return the parts that an earlier try has sent; a forgotten upload is begun anew."""
        if self.upload_id is None:
            return {}
        pages = self._client.get_paginator("list_parts").paginate(**self._target.place, UploadId=self.upload_id)
        try:
            return {
                part["PartNumber"]: (part["ETag"].strip('"'), part["Size"])
                for page in pages
                for part in page.get("Parts", [])
            }
        except Exception as err:
            if code_of(err) != "NoSuchUpload":
                raise
            self.upload_id = None
            return {}

    def _part(self, number: int, there: dict[int, tuple[str, int]]) -> str:
        """Return the ETag of a part; send it unless the very same bytes are there."""
        with self._window(number) as window:
            md5 = self._md5_of(number)
            if there.get(number) == (md5.hex(), len(window)):
                return md5.hex()
            sent = self._client.upload_part(
                **self._target.place,
                UploadId=self.upload_id,
                PartNumber=number,
                Body=window,
                ContentLength=len(window),
                ContentMD5=base64.b64encode(md5).decode(),
            )
        return str(sent["ETag"]).strip('"')

    def _md5_of(self, number: int) -> bytes:
        if number not in self._md5s:
            with self._window(number) as window:
                self._md5s[number] = window.md5()
        return self._md5s[number]

    def _window(self, number: int) -> Window:
        start = (number - 1) * self._part_size
        return Window(self._path, start, min(self._part_size, self._byte_count - start))
