"""An interrupt after several networks is an interrupt: OpenVINO leaves no unmapped stack for signals behind."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.cli_runner import environment_for

_PROGRAM = """
import os, signal, sys
from upscale_server.models import catalogue
from upscale_server.models.load import load

card = catalogue.family(None)[2]
first = load(card, engine="openvino")
second = load(card, engine="openvino")
first.close()
del first
second.close()
del second
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts things in the background ignores it
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    sys.exit(7)
"""


@pytest.mark.slow
def test_an_interrupt_after_two_networks_is_no_crash() -> None:
    """Networks that are let go in the order in which they came leave the process able to take a signal."""
    command = [sys.executable, "-c", _PROGRAM]

    done = subprocess.run(command, env=environment_for(), capture_output=True, text=True, check=False, timeout=120)

    assert 7 == done.returncode, done.stderr
