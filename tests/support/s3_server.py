"""Starts a real S3 server for tests, where there is an interpreter that can run one.

It lives in a virtual environment of its own, `.venv-swift`, because its packages (swift, pyeclib, eventlet) patch the
interpreter that they run in. Without it the tests are skipped, and say how to get it.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from upscale_server.server_settings import S3, Storage

REPOSITORY = Path(__file__).parents[2]
INTERPRETER = REPOSITORY / ".venv-swift" / "bin" / "python"
HOW = "python3 -m venv .venv-swift && .venv-swift/bin/pip install -c constraints.txt swift pyeclib"
BUCKET = "films"
ACCESS_KEY, SECRET_KEY = "test:tester", "testing"


@dataclass(frozen=True)
class Swift:
    """A running server; `client` sees what is really there, past the code under test."""

    port: int
    client: Any = field(repr=False)  # a boto3 client has no type

    def settings(self, port: int | None = None, **changes: object) -> Storage:
        """Return settings that reach the server, through another port where one is given."""
        s3 = {
            "endpoint": f"http://127.0.0.1:{port or self.port}",
            "bucket": BUCKET,
            "access_key": SecretStr(ACCESS_KEY),
            "secret_key": SecretStr(SECRET_KEY),
        }
        group = {"kind": "s3", "large_bytes": 5 << 20, "retry_seconds": 60.0}
        group |= {name: value for name, value in changes.items() if name in Storage.model_fields}
        s3 |= {name: value for name, value in changes.items() if name in S3.model_fields}
        return Storage.model_validate({**group, "s3": S3.model_validate(s3)})

    def environment(self, port: int | None = None) -> dict[str, str]:
        """Return a server's variables that say the same, through another port where one is given."""
        s3 = {
            "ENDPOINT": f"http://127.0.0.1:{port or self.port}", "BUCKET": BUCKET,
            "ACCESS_KEY": ACCESS_KEY, "SECRET_KEY": SECRET_KEY,
        }  # fmt: skip
        return {"UPSCALE_STORAGE__KIND": "s3", **{f"UPSCALE_STORAGE__S3__{name}": text for name, text in s3.items()}}

    def version(self, key: str) -> tuple[str, float, str]:
        """Return what tells whether an object was stored again: its ETag, its time, the SHA-256 of its bytes."""
        found = self.client.get_object(Bucket=BUCKET, Key=key)
        digest = hashlib.sha256(found["Body"].read()).hexdigest()
        return found["ETag"], found["LastModified"].timestamp(), digest

    def uploads(self) -> list[str]:
        """Return the ids of uploads that are neither finished nor aborted."""
        found = self.client.list_multipart_uploads(Bucket=BUCKET)
        return [upload["UploadId"] for upload in found.get("Uploads", [])]

    def keys(self) -> list[str]:
        """Return the keys of all objects."""
        return [found["Key"] for found in self.client.list_objects_v2(Bucket=BUCKET).get("Contents", [])]

    def body(self, key: str) -> bytes:
        """Return an object's bytes."""
        return bytes(self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read())

    def empty(self) -> None:
        """Remove everything that a test left."""
        for upload in self.client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []):
            self.client.abort_multipart_upload(Bucket=BUCKET, Key=upload["Key"], UploadId=upload["UploadId"])
        for key in self.keys():
            self.client.delete_object(Bucket=BUCKET, Key=key)


@contextmanager
def running_swift(folder: Path) -> Iterator[Swift]:
    """Run a server with an empty bucket; skip the test where that is not possible here."""
    boto3 = pytest.importorskip("boto3", reason="boto3 is not installed: pip install 'upscale-server[s3]'")
    if not INTERPRETER.exists():
        pytest.skip(f"no S3 server to test against; make one with: {HOW}")
    command = [INTERPRETER, Path(__file__).with_name("swift_server.py"), folder]
    with (folder / "swift.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert process.stdout is not None
        said = process.stdout.readline().strip()
        if not said:
            raise RuntimeError(f"the S3 server did not start: {(folder / 'swift.log').read_text()[-2000:]}")
        yield Swift(int(said), _client(boto3, int(said)))
    finally:
        process.kill()
        process.communicate()  # closes its pipe, too


def _client(boto3: Any, port: int) -> Any:  # noqa: ANN401 - an optional package without types
    client = boto3.session.Session().client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
    )
    client.create_bucket(Bucket=BUCKET)
    return client
