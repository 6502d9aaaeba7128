"""Stores one file in S3 as a program of its own, so that a test can kill it: `python -m tests.support.s3_upload …`.

It remembers the upload's id in a file, as the jobs' database does.
"""

from __future__ import annotations

import sys
from pathlib import Path

from upscale_server.server_settings import Storage
from upscale_server.storage.base import About, UploadMemory
from upscale_server.storage.s3 import S3Store


def memory_in(path: Path) -> UploadMemory:
    """Return a memory that is a file."""
    left = path.read_text() if path.exists() else ""
    return UploadMemory(left or None, lambda upload: (path.write_text(upload or ""), None)[1])


def main(settings: str, source: str, key: str, memory: str) -> None:
    """Store a file; `settings` is JSON with its secrets in the open, as only a test's are."""
    store = S3Store(Storage.model_validate_json(settings))
    store.put(Path(source), key, About(), memory_in(Path(memory)))


if __name__ == "__main__":
    main(*sys.argv[1:5])
