"""A plan read back from the record that was stored with its job, so that a job once begun is never decided again.

It is the exact inverse of `Plan.as_record`; it decides and checks nothing about the job itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from upscale_server.errors import UpscaleError
from upscale_server.plan import Plan
from upscale_server.records import UNREADABLE, value_of


def plan_from(record: Mapping[str, Any]) -> Plan:  # JSON values of many types
    """Return the plan of which `as_record` gave `record`; its digest is the same.

    A field that the record lacks, because an older release wrote it, has its default.

    Raises:
        UpscaleError: the record is not one of a plan.
    """
    try:
        return cast("Plan", value_of(Plan, record))
    except UNREADABLE as err:
        raise UpscaleError(
            f"the stored plan cannot be read: {err}", hint="another release wrote it; submit the job again"
        ) from err
