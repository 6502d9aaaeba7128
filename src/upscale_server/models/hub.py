"""A model hub as we need it: what is in a repository, and one file of it on the disk.

The one address of `huggingface_hub`. Which files are wanted, and whether they are right, is the caller's business; the
licence of what is fetched, the user's.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from upscale_server.errors import BadRequest, DiskFull, Forbidden, MissingExtra, ModelMissing, UpscaleError

_ANSWER_SECONDS = 30.0
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_SPARE_BYTES = 256 << 20
"""Left free beside what is fetched: a disk that is filled to the last byte stops more than a download."""


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository: its bytes, and its SHA-256 where the hub keeps one (it does for large files)."""

    bytes: int
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository at one commit."""

    name: str
    commit: str
    files: Mapping[str, HubFile]


class Hub:
    """Talks to a model hub.

    Args:
        mirror: address of another hub; empty is the library's own, which HF_ENDPOINT changes.
        with_token: send the user's token (HF_TOKEN, or what `hf auth login` kept). Not to a mirror: it is not theirs.
    """

    def __init__(self, mirror: str = "", *, with_token: bool = True) -> None:
        if mirror and not _is_safe(mirror):
            raise BadRequest(f"mirror {mirror!r} is none", hint="give an https address")
        self._endpoint = mirror.rstrip("/") or None
        self._token: bool | None = None if with_token else False  # None: where there is one

    def look(self, repository: str, revision: str = "") -> Repository:
        """Return what is in a repository.

        Raises:
            ModelMissing: there is no such repository, or nobody answers.
            Forbidden: it is gated, and the hub does not know that the user has accepted its terms.
        """
        from huggingface_hub import HfApi  # noqa: PLC0415 - an extra

        with _named(repository):
            info = HfApi(self._endpoint, token=self._token).model_info(
                repository, revision=revision or None, files_metadata=True, timeout=_ANSWER_SECONDS
            )
            files = {one.rfilename: HubFile(one.size or 0, _sha256_of(one.lfs)) for one in info.siblings or ()}
        return Repository(repository, info.sha or revision or "main", files)

    def fetch(self, source: Repository, name: str, folder: Path) -> Path:
        """Bring a file to `folder/name`, which appears there when it is whole; a broken download goes on.

        Raises:
            ModelMissing, Forbidden: as `look`.
        """
        from huggingface_hub import hf_hub_download  # noqa: PLC0415 - an extra
        from huggingface_hub.utils import disable_progress_bars  # noqa: PLC0415 - an extra

        if not sys.stderr.isatty():
            disable_progress_bars()
        with _named(source.name):
            path = hf_hub_download(
                source.name,
                name,
                revision=source.commit,
                local_dir=folder,
                endpoint=self._endpoint,
                token=self._token,
                etag_timeout=_ANSWER_SECONDS,
            )
        return Path(path)


def require_library() -> None:
    """Demand the library.

    Raises:
        MissingExtra: it is not installed.
    """
    if find_spec("huggingface_hub") is None:
        raise MissingExtra(
            "fetching from a model hub needs the extra [tsdsr], which is not installed",
            hint="pip install 'upscale-server[tsdsr]', or give folders with --from, --sd3 and --lora",
        )


def forget_traces(folder: Path) -> None:
    """Remove what the library keeps beside the files for going on with a broken download."""
    shutil.rmtree(folder / ".cache", ignore_errors=True)


def _is_safe(mirror: str) -> bool:
    """Tell whether an address has TLS or is on this machine: names that only begin like loopback are others'."""
    try:
        parts = urlsplit(mirror)
    except ValueError:
        return False
    return bool(parts.hostname) and (
        parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    )


def _sha256_of(lfs: Any) -> str:  # noqa: ANN401 - a dictionary or an object, as the library's release has it
    if not lfs:
        return ""
    return str(lfs["sha256"] if isinstance(lfs, Mapping) else lfs.sha256)


def check_room(folder: Path, needed: int) -> None:
    """Refuse a download of so many bytes that the folder's disk does not hold.

    Raises:
        DiskFull: with both numbers.
    """
    place = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(place).free
    if free < needed + _SPARE_BYTES:
        raise DiskFull(f"{needed} bytes are to be fetched to {folder}; {free} are free", hint="name another with --to")


@contextmanager
def _named(repository: str) -> Iterator[None]:
    """Turn what the library raises into ours; it changes its HTTP client, and so their classes, between releases."""
    try:
        yield
    except UpscaleError:
        raise
    except Exception as err:
        kinds = {kind.__name__ for kind in type(err).__mro__}
        for name, answer in _ANSWERS.items():
            if name in kinds:
                raise answer(repository, err) from err
        raise


def _gated(repository: str, err: Exception) -> UpscaleError:
    del err
    return Forbidden(
        f"the hub does not hand out {repository} without your consent to its terms",
        hint="accept them on the model's page with your account, then set HF_TOKEN or run `hf auth login`; "
        "or give a folder with --from or --sd3",
    )


def _missing(repository: str, err: Exception) -> UpscaleError:
    return ModelMissing(
        f"the hub has no {repository}, or not for you: {_first_line(err)}",
        hint="check the name; a private or gated one needs HF_TOKEN",
    )


def _silent(repository: str, err: Exception) -> UpscaleError:
    return ModelMissing(
        f"{repository} cannot be fetched: {_first_line(err)}",
        hint="check the connection; HF_ENDPOINT or --mirror name another hub; --from takes a folder",
    )


def _first_line(err: Exception) -> str:
    lines = [line.strip() for line in str(err).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(err).__name__


_ANSWERS: Mapping[str, Callable[[str, Exception], UpscaleError]] = {  # the narrow ones first
    "GatedRepoError": _gated,
    "RepositoryNotFoundError": _missing,
    "RevisionNotFoundError": _missing,
    "RemoteEntryNotFoundError": _missing,
    "HFValidationError": _missing,
    "HfHubHTTPError": _silent,
    "HTTPError": _silent,  # of the HTTP client: nobody answers
    "RequestException": _silent,
    "LocalEntryNotFoundError": _silent,
    "OSError": _silent,
}
