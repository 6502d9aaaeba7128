"""The image client against real image servers, of which one is killed while it works."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import httpx
from PIL import Image

from tests.support.cli_runner import COMMAND, environment_for
from tests.support.image_served import running_images

LIMIT_SECONDS = 90
"""A wait must end; no expectation."""


def test_a_batch_outlives_a_killed_server_and_loses_nothing(tmp_path: Path) -> None:
    """Two servers, one of which is killed with `kill -9` under its pictures: every result is there, once and whole."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(24):
        Image.frombytes("RGB", (96, 64), os.urandom(96 * 64 * 3)).save(folder / f"{number:02}.png")
    (folder / "bad.png").write_bytes(b"no picture")
    (folder / "empty.png").write_bytes(b"")
    flags = ("--model", "lanczos")
    with running_images(tmp_path / "one", *flags) as one, running_images(tmp_path / "two", *flags) as two:
        ports = [url.rsplit(":", 1)[1] for url in (one.url, two.url)]
        victim = httpx.get(f"{one.url}/health", trust_env=False).json()["process"]
        command = [*COMMAND, "client", "image", "--batch", str(folder), "-o", str(tmp_path / "out"), "-u", "4"]
        with subprocess.Popen(
            [*command, "--port", ",".join(ports)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment_for(),
        ) as process:  # fmt: skip
            assert process.stdout is not None
            first = json.loads(process.stdout.readline())
            os.kill(victim, signal.SIGKILL)
            rest, said = process.communicate(timeout=LIMIT_SECONDS)

    records = [first, *map(json.loads, rest.splitlines())]
    assert 1 == process.returncode, said
    assert {"bad.png", "empty.png"} == {Path(record["source"]).name for record in records if "fault" in record}
    assert 26 == len(records)
    assert {f"{number:02}_upscaled.png" for number in range(24)} == {path.name for path in (tmp_path / "out").iterdir()}
    for path in (tmp_path / "out").iterdir():
        with Image.open(path) as image:
            image.load()
            assert (384, 256) == image.size


def test_the_client_and_the_server_agree_on_everything_that_can_be_asked(tmp_path: Path) -> None:
    """Factor, process size, format and depth reach the server; its control routes reach the reader."""
    Image.new("I;16", (20, 10), 12_345).save(tmp_path / "deep.png")
    with running_images(tmp_path / "state", "--model", "lanczos") as server:
        port = server.url.rsplit(":", 1)[1]

        def client(*arguments: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [*COMMAND, "client", "image", *arguments, "--port", port],
                capture_output=True, text=True, check=False, env=environment_for(), cwd=tmp_path,
            )  # fmt: skip

        deep = client("-i", "deep.png", "-u", "4", "-ps", "256", "--bits", "16", "-o", "deep_out.png")
        webp = client("-i", "deep.png", "-o", "out.webp")
        control = [json.loads(client(flag).stdout) for flag in ("--health", "--info", "--stats")]
        wrong = client("-i", "deep.png", "-u", "3")

    assert (0, 0, 1) == (deep.returncode, webp.returncode, wrong.returncode), deep.stderr + webp.stderr
    assert "lanczos" == json.loads(deep.stdout)["model"]
    with Image.open(tmp_path / "deep_out.png") as image:
        assert ((80, 40), "I;16") == (image.size, image.mode)
    with Image.open(tmp_path / "out.webp") as image:
        assert ((40, 20), "WEBP") == (image.size, image.format)
    assert ("ok", "TSD-SR Worker Server") == (control[0]["status"], control[1]["name"])
    assert "timestamp" in control[2]
    assert "upscale is 3; expected 2 or 4" in wrong.stderr
