"""The one OpenVINO core of a process, made when it is first needed and never let go.

It compiles nothing by itself. The trap that it is here for: OpenVINO's CPU plugin gives the thread that makes it a
stack for signals (sigaltstack), and puts back what was there before when it goes. Two that go in the order in which
they came leave a stack that was unmapped, and the next Ctrl-C is a segmentation fault.
"""

from __future__ import annotations

from functools import lru_cache

import openvino as ov


@lru_cache(maxsize=1)
def core() -> ov.Core:
    """Return the core; safe to call from several threads."""
    return ov.Core()
