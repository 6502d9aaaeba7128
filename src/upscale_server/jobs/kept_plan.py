"""The plan of an earlier attempt, as long as it still holds: the same source, the same versions.

It decides nothing; a plan that does not hold is made anew by the caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from upscale_server.errors import UpscaleError
from upscale_server.logs import get_logger
from upscale_server.plan import Plan
from upscale_server.stored_plan import plan_from


def kept_plan(record: Mapping[str, Any] | None, source: Path) -> Plan | None:  # JSON values
    """Return the stored plan, or None where there is none that fits the source and these versions."""
    if record is None:
        return None
    try:
        plan = plan_from(record)
    except UpscaleError as err:
        get_logger().warning("plan_made_anew", reason=err.detail)
        return None
    if not _is_of(plan, source):
        get_logger().info("plan_made_anew", reason="the source is another")
        return None
    if not _same_versions(plan):
        # Segments of two encoder versions would be joined into one file, and the bytes would depend on the restart.
        get_logger().info("plan_made_anew", reason="the versions are others")
        return None
    return plan


def _is_of(plan: Plan, source: Path) -> bool:
    try:
        facts = source.stat()
    except OSError:
        return False
    planned = (plan.source.path, plan.source.byte_count, plan.source.modified_ns)
    return planned == (str(source), facts.st_size, facts.st_mtime_ns)


def _same_versions(plan: Plan) -> bool:
    try:
        return all(version(name) == made_with for name, made_with in plan.made_with.items())
    except PackageNotFoundError:
        return False
