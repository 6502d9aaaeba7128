"""Which paths a caller may name: existing files under the shared folder, and new ones beside them.

It opens nothing; a path that leaves the folder, by dots or by a link, is refused with the reason.
"""

from __future__ import annotations

import os
from pathlib import Path

from upscale_server.errors import BadRequest

LONGEST_NAME = 255
"""Bytes that a file's name has at most on every system of files we know."""


def input_under(root: Path | None, text: str) -> Path:
    """Return the real path of a source.

    Raises:
        BadRequest: no paths are taken, or this one is not an existing file under the folder.
    """
    path = _inside(root, text)
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError) as err:
        raise BadRequest(f"path {text[:200]!r} does not exist") from err
    if not _is_under(real, root):
        raise BadRequest(f"path {text[:200]!r} leads out of the shared folder")
    if not real.is_file():
        raise BadRequest(f"path {text[:200]!r} is not a file")
    return real


def output_under(root: Path | None, text: str) -> Path:
    """Return the real path of a result, which is not there yet and whose folder is.

    Raises:
        BadRequest: no paths are taken, the file exists, or its folder does not or lies outside.
    """
    path = _inside(root, text)
    try:
        folder = path.parent.resolve(strict=True)
    except (OSError, RuntimeError) as err:
        raise BadRequest(f"the folder of path {text[:200]!r} does not exist") from err
    if not _is_under(folder, root) or not folder.is_dir():
        raise BadRequest(f"path {text[:200]!r} leads out of the shared folder")
    real = folder / path.name
    if real.is_symlink() or real.exists():
        raise BadRequest(f"path {text[:200]!r} exists already; a result replaces nothing")
    return real


def _inside(root: Path | None, text: str) -> Path:
    """Return a path whose text alone stays under the folder."""
    if root is None:
        raise BadRequest(
            "paths are not taken here, only addresses", hint="set UPSCALE_SUBNET__SHARED_ROOT to a folder to share"
        )
    if not text or not text.isprintable() or len(text) > 4096:
        raise BadRequest("a path is empty, too long or holds control characters")
    path = Path(text)
    if len(os.fsencode(path.name)) > LONGEST_NAME:
        raise BadRequest(f"the file's name in path {text[:200]!r} has more than {LONGEST_NAME} bytes")
    if ".." in path.parts:
        raise BadRequest(f"path {text[:200]!r} holds '..'; expected a path under the shared folder")
    whole = path if path.is_absolute() else root / path
    if not (whole.is_relative_to(root.absolute()) or whole.is_relative_to(root.resolve())):
        raise BadRequest(f"path {text[:200]!r} is not under the shared folder {root}")
    return whole


def _is_under(path: Path, root: Path | None) -> bool:
    return root is not None and path.is_relative_to(root.resolve())
