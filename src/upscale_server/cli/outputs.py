"""Where results go: what each input's output is called, that nothing is overwritten, and that no half file is left.

It reads no media; it knows names, folders and the moment at which a finished file takes its place.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from upscale_server.errors import BadRequest, SourceNotFound, StorageError

MARK = "_upscaled"
"""Added to a source's name where no output is named."""


@dataclass(frozen=True, slots=True)
class Job:
    """One source and the file that will hold its result."""

    source: Path
    output: Path


@dataclass(frozen=True, slots=True)
class Suffixes:
    """The file suffixes of a kind of media: those that a folder is searched for, and what each is written as.

    `written_as` maps a source's suffix to that of its default output; any other source gets `otherwise`.
    """

    found: Collection[str]
    written_as: dict[str, str]
    otherwise: str

    def output_suffix(self, source: Path) -> str:
        """Return the suffix of the default output."""
        return self.written_as.get(source.suffix.lower(), self.otherwise)


def jobs_of(inputs: Sequence[Path], output: Path | None, suffixes: Suffixes) -> list[Job]:
    """Pair every source with its output.

    One file: `output` is a file, or a folder that exists. Several files, or a folder: `output` is a folder.

    Raises:
        BadRequest: an empty folder, an output that is a file where a folder is needed, or two sources with one output.
    """
    batch = len(inputs) > 1 or inputs[0].is_dir()
    if not batch:
        return [Job(inputs[0], _single(inputs[0], output, suffixes))]
    if output is not None and output.exists() and not output.is_dir():
        raise BadRequest(f"output {output} is a file; for several inputs it must be a folder")
    sources = [source for one in inputs for source in _sources_of(one, suffixes)]
    jobs = [Job(source, _marked(source, output or source.parent, suffixes)) for source in sources]
    refuse_twins(jobs)
    return jobs


def check(job: Job, *, overwrite: bool) -> None:
    """Refuse an output that cannot or must not be written, before any work.

    Raises:
        BadRequest: the output is the source, or exists and may not be replaced.
        StorageError: its folder is missing or may not be written to.
    """
    if not job.source.exists():
        address = re.match(r"[a-z][a-z0-9+.-]+:/", str(job.source))
        hint = "addresses are not fetched; give a file" if address else None
        raise SourceNotFound(f"source {job.source} does not exist", hint=hint)
    if job.source.is_dir():
        raise SourceNotFound(f"folder {job.source} holds nothing to upscale")
    if _same(job.source, job.output):
        raise BadRequest(f"output {job.output} is the source itself", hint="name another file with -o")
    if job.output.is_dir():
        raise BadRequest(f"output {job.output} is a folder; expected a file name")
    if os.path.lexists(job.output) and not overwrite:  # a link to nowhere is something, too
        raise BadRequest(f"output {job.output} exists", hint="give -y to replace it, or another name with -o")
    folder = job.output.parent
    if not folder.is_dir():
        raise StorageError(f"folder {folder} does not exist, so {job.output.name} cannot be written there")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StorageError(f"folder {folder} is not writable, so {job.output.name} cannot be written there")


@contextmanager
def publishing(output: Path) -> Iterator[Path]:
    """Give a path to write to; the file takes its name when the block ends without an error, else it is removed.

    Raises:
        DiskFull, StorageError: the file cannot be written or renamed.
    """
    from upscale_server.disk import naming_write_faults

    with naming_write_faults(output):
        part = _new_part(output)
    try:
        with naming_write_faults(output):
            yield part
            part.replace(output)
    finally:
        part.unlink(missing_ok=True)


def _new_part(output: Path) -> Path:
    """Make a file to write to that was not there before: downloads in progress are called `.part`, too."""
    for number in itertools.count():
        part = output.with_name(f"{output.name}{f'.{number}' if number else ''}.part")
        with suppress(FileExistsError):
            os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            return part
    raise AssertionError  # count() does not end


def move_into_place(finished: Path, output: Path) -> None:
    """Publish a finished file, also from another disk: there it is copied first and renamed then."""
    with publishing(output) as part:
        shutil.move(finished, part)
        descriptor = os.open(part, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make the folder of a batch's results.

    Raises:
        StorageError: it cannot be made.
    """
    from upscale_server.disk import naming_write_faults

    with naming_write_faults(folder):
        folder.mkdir(parents=True, exist_ok=True)


def _single(source: Path, output: Path | None, suffixes: Suffixes) -> Path:
    if output is None:
        return _marked(source, source.parent, suffixes)
    return _marked(source, output, suffixes) if output.is_dir() else output


def _marked(source: Path, folder: Path, suffixes: Suffixes) -> Path:
    return folder / f"{source.stem}{MARK}{suffixes.output_suffix(source)}"


def _sources_of(one: Path, suffixes: Suffixes) -> list[Path]:
    """Return a file itself, or a folder's media without what an earlier run of ours left there."""
    if not one.is_dir():
        return [one]
    found = sorted(path for path in one.iterdir() if path.is_file() and path.suffix.lower() in suffixes.found)
    stems = {path.stem for path in found}
    kept = [path for path in found if not (path.stem.endswith(MARK) and path.stem.removesuffix(MARK) in stems)]
    return kept or [one]  # the folder itself, which fails in its turn and does not stop the others


def refuse_twins(jobs: Sequence[Job]) -> None:
    """Refuse a batch in which a result would be written over another one, or over a source.

    Raises:
        BadRequest: with both names.
    """
    taken: dict[Path, Path] = {}
    sources = {job.source.resolve(): job.source for job in jobs}
    for job in jobs:
        other = sources.get(job.output.resolve())
        if other is not None and other != job.source:
            raise BadRequest(f"{job.source} would be written over {other}, which is another input")
        if job.output in taken:
            raise BadRequest(f"{taken[job.output]} and {job.source} would both be written to {job.output}")
        taken[job.output] = job.source


def _same(source: Path, output: Path) -> bool:
    try:
        return source.samefile(output)
    except OSError:
        return source.absolute() == output.absolute()
