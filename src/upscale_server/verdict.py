"""What an audit's findings mean for a job: whose doing it is where the output is not what was promised.

A damaged source may show something else each time: what a decoder puts where bits are wrong depends on how many threads
it has, and on what its memory held before. It compares nothing with the output; that is `audit`'s.
"""

from __future__ import annotations

import zlib
from collections.abc import Generator
from contextlib import closing
from itertools import zip_longest
from pathlib import Path

from upscale_server.audit import Audit, is_squeezed
from upscale_server.errors import AuditFailed, OutputTooLarge, SourceCorrupt
from upscale_server.media.decode import decode_segment
from upscale_server.media.types import Segment, Tally, VideoInfo
from upscale_server.plan import Plan

_THREADS = (1, 4)
_WHOLE = Segment(0, None, None, None)


def judge(report: Audit, plan: Plan, path: Path) -> None:
    """Let a finished file pass, or say why not.

    Raises:
        OutputTooLarge: it keeps the limit and no longer shows the source.
        SourceCorrupt: what the source shows depends on how it is decoded, so nothing can be held against it.
        AuditFailed: the output breaks a hard rule; the file stays where it is.
    """
    if report.only_coarse and is_squeezed(plan, path):
        raise OutputTooLarge.no_smaller(path.stat().st_size, report.faults)
    if report.ok or (plan.profile == "preview" and report.only_coarse):  # it is for looking at, and shows it
        return
    if report.only_pictures and not decodes_alike(plan.source):
        raise SourceCorrupt(
            f"the source is damaged: it decodes to other pictures each time it is tried ({report.faults})",
            hint="copy it again from where it came from, or repair it",
        )
    raise AuditFailed(f"the output does not hold what was promised: {report.faults}", hint=f"it is kept at {path}")


def decodes_alike(info: VideoInfo) -> bool:
    """Tell whether one thread and several find the same pictures: of a whole file they do."""
    with closing(_sums(info, _THREADS[0])) as one, closing(_sums(info, _THREADS[1])) as other:
        return all(a == b for a, b in zip_longest(one, other))


def _sums(info: VideoInfo, threads: int) -> Generator[int, None, None]:
    for frame in decode_segment(info, _WHOLE, Tally(), threads=threads):
        total = 0
        for plane in frame.planes:
            total = zlib.crc32(plane.tobytes(), total)
        yield total
