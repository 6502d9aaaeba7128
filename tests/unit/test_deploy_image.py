"""The Dockerfile takes what it needs of the checkout, installs extras that exist, and ends as a user of its own.

No image is built here: there is no container runtime where the tests run. hadolint reads the file in tests/integration.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.support.deployed import DEPLOY

ROOT = DEPLOY.parent
LINES = [
    line.strip()
    for line in re.sub(r"\\\n", "", (DEPLOY / "Dockerfile").read_text(encoding="utf-8")).splitlines()
    if line.strip() and not line.startswith("#")
]
STAGES = {
    lines[0].rpartition(" AS ")[2]: lines
    for text in re.split(r"\n(?=FROM )", "\n".join(LINES))
    if (lines := text.splitlines())[0].startswith("FROM ")
}


def said(word: str) -> list[str]:
    """Return what follows an instruction's word, in order."""
    return [line.removeprefix(f"{word} ") for line in LINES if line.startswith(f"{word} ")]


@contextmanager
def answering(status: int) -> Iterator[int]:
    """Run a server that answers /livez with a status and all else with 404; give its port."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/livez" else 404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's own name
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def health_check(port: int) -> int:
    """Run the image's health check with this interpreter; return its exit code."""
    (check,) = said("HEALTHCHECK")
    program, *arguments = json.loads(check.partition(" CMD ")[2])
    assert "python" == program
    environment = os.environ | {"LIVE_PORT": str(port), "http_proxy": "http://127.0.0.1:9"}
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, check=False)
    return done.returncode


def test_both_targets_end_as_a_user_with_a_number() -> None:
    """Kubernetes can tell that a number is not root; nothing comes after it that could be root's again."""
    for target in ("cpu", "cuda"):
        assert STAGES[target][0] == f"FROM bare AS {target}"
        assert "USER 10001:10001" == STAGES[target][-1]
    assert "cpu" == list(STAGES)[-1]
    assert any("--uid 10001" in line and "-o 10001" in line and "/state" in line for line in STAGES["bare"])
    assert ["/state"] == said("VOLUME")


def test_the_base_has_a_version_and_every_stage_comes_from_it() -> None:
    """`latest` would be another image each month."""
    (base,) = (line.removeprefix("BASE=") for line in said("ARG") if line.startswith("BASE="))

    assert re.fullmatch(r"python:3\.\d+-slim-\w+", base)
    assert {"${BASE}", "wheel", "bare"} == {stage[0].split()[1] for stage in STAGES.values()}


def test_the_extras_exist_and_are_what_a_fleet_needs() -> None:
    """Both targets have the same; `cuda` comes with the one for GPUs, and with the libraries that it asks for."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    named = [line.removeprefix("EXTRAS=").split(",") for line in said("ARG") if line.startswith("EXTRAS=")]

    assert [["postgres", "s3", "ray"]] * 2 == named
    assert set() == {name for one in named for name in one} - set(extras)
    assert any(
        "[${EXTRAS},cuda]" in line and "onnxruntime-gpu[cuda,cudnn]" in line for line in STAGES["installed-cuda"]
    )
    assert any("[${EXTRAS}]" in line for line in STAGES["installed-cpu"])
    assert any("--constraint constraints.txt" in line for line in STAGES["installed-cpu"])


def test_what_is_copied_is_there_and_is_all_that_the_builder_gets() -> None:
    """No history, no secrets and no results go to the builder."""
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    copied = {name.removeprefix("./") for line in said("COPY") if "--from" not in line for name in line.split()[:-1]}

    assert "*" == next(line for line in ignored if not line.startswith("#"))
    assert copied == allowed
    assert set() == {name for name in copied if not (ROOT / name).exists()}


@pytest.mark.slow
@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_the_health_check_asks_livez_past_any_proxy(status: int, code: int) -> None:
    """It ends with 0 where the server answers, and not where it answers with a fault."""
    with answering(status) as port:
        assert code == health_check(port)


def test_the_health_check_fails_where_nobody_answers() -> None:
    """Port 9 of loopback has nobody."""
    assert 0 != health_check(9)


def test_the_start_listens_for_other_containers_and_says_nothing_of_keys() -> None:
    """Without a key such a server does not start, so none can be forgotten; none is in the image either."""
    (command,) = said("CMD")

    assert ["upscale", "serve", "video", "--host", "0.0.0.0"] == json.loads(command)  # noqa: S104 - see above
    assert [] == [line for line in LINES if re.search("KEY|SECRET|PASSWORD", line)]
