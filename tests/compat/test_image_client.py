"""`python tsdsr_client.py` with each documented example, flag and message, and what its readers do with stdout."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.support.cli_runner import Ran, environment_for
from tests.support.image_server import StandIn, standing_in

ROOT = Path(__file__).parents[2]
LIMIT_SECONDS = 60
"""A wait must end; no expectation."""


def script(folder: Path, *arguments: str | Path) -> Ran:
    """Run the script as the document does, in a folder."""
    command = [sys.executable, str(ROOT / "tsdsr_client.py"), *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment_for(), cwd=folder, timeout=LIMIT_SECONDS
    )
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def server() -> Iterator[StandIn]:
    """Give a server that keeps the contract."""
    with standing_in() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder with `input.png` and `images/`."""
    (tmp_path / "images").mkdir()
    Image.new("RGB", (10, 6), (9, 9, 9)).save(tmp_path / "input.png")
    Image.new("RGB", (10, 6), (9, 9, 9)).save(tmp_path / "images" / "one.png")
    Image.new("RGB", (10, 6), (9, 9, 9)).save(tmp_path / "images" / "two.jpg")
    return tmp_path


@pytest.mark.parametrize(
    ("flags", "output", "size"),
    [
        ("-i input.png -o output.png", "output.png", (20, 12)),
        ("-i input.png -o output.png -u 4", "output.png", (40, 24)),
        ("-i input.png -u 4", "input_upscaled.png", (40, 24)),
        ("-i input.png -ps 256", "input_upscaled.png", (20, 12)),
        ("-i input.png --host 127.0.0.1", "input_upscaled.png", (20, 12)),
        ("-i input.png --verbose", "input_upscaled.png", (20, 12)),
        ("--batch ./images --output ./upscaled", "upscaled/one_upscaled.png", (20, 12)),
        ("--batch ./images --output ./upscaled -u 4", "upscaled/one_upscaled.png", (40, 24)),
        ("--batch ./images --pattern *.jpg", "images/two_upscaled.png", (20, 12)),
    ],
)
def test_each_documented_example(folder: Path, server: StandIn, flags: str, output: str, size: tuple[int, int]) -> None:
    """With the port of the server that runs here in place of 8090."""
    ran = script(folder, *flags.split(), "--port", str(server.port))

    assert 0 == ran.exit_code, ran.stderr
    with Image.open(folder / output) as image:
        assert ("PNG", size) == (image.format, image.size)


def test_the_documented_defaults(folder: Path, server: StandIn) -> None:
    """Factor and process size are the server's own; the port is 8090 on this machine."""
    script(folder, "-i", "input.png", "--port", server.port)
    shown = script(folder, "--help").stdout

    assert [{}] == server.asked
    assert "8090" in shown
    assert "127.0.0.1" in shown
    assert "*.png" in shown


@pytest.mark.parametrize("flag", ["--health", "--info", "--stats"])
def test_monitoring_prints_json_and_nothing_else(folder: Path, server: StandIn, flag: str) -> None:
    """`--stats | jq …` works because stdout is one JSON object."""
    ran = script(folder, flag, "--port", server.port)

    assert 0 == ran.exit_code
    assert isinstance(json.loads(ran.stdout), dict)


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed here")
def test_the_documented_pipe_into_jq(folder: Path, server: StandIn) -> None:
    """`python tsdsr_client.py --stats | jq ".gpu_memory_allocated_gb"`."""
    command = f"{sys.executable} {ROOT}/tsdsr_client.py --stats --port {server.port} | jq .gpu_memory_allocated_gb"

    done = subprocess.run(
        ["/bin/sh", "-c", command], capture_output=True, text=True, check=False, env=environment_for(), cwd=folder
    )

    assert (0, "null\n") == (done.returncode, done.stdout)


def test_a_server_that_does_not_respond(folder: Path) -> None:
    """The documented "Connection refused", exit code 1, and no file."""
    with standing_in() as gone:
        pass

    ran = script(folder, "-i", "input.png", "-o", "output.png", "--port", gone.port)

    assert 1 == ran.exit_code
    assert "connection refused" in ran.stderr
    assert not (folder / "output.png").exists()


def test_the_streaming_loop(folder: Path, server: StandIn) -> None:
    """`--watch DIR` is the documented loop: what arrives is done and moved; SIGTERM ends it."""
    command = [sys.executable, str(ROOT / "tsdsr_client.py"), "--watch", "images", "--port", str(server.port)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment_for(), cwd=folder
    ) as process:
        assert process.stdout is not None
        record = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=LIMIT_SECONDS)

    assert "images/processed/one.png" == record["moved_to"]
    assert 130 == process.returncode
    assert "watching images for *.png" in said
    assert (folder / "images" / "upscaled" / "one_upscaled.png").is_file()
    assert not (folder / "images" / "one.png").exists()
    assert (folder / "images" / "two.jpg").exists()


def test_the_script_says_what_to_do_where_the_package_is_missing(tmp_path: Path) -> None:
    """A Python without the package gets one line, not a traceback."""
    shutil.copy(ROOT / "tsdsr_client.py", tmp_path)

    # -S -E: no site-packages and no PYTHONPATH, as in a Python where nothing was installed
    done = subprocess.run(
        [sys.executable, "-S", "-E", str(tmp_path / "tsdsr_client.py")], capture_output=True, text=True, check=False
    )

    assert 1 == done.returncode
    assert "make install" in done.stderr
    assert 1 == len(done.stderr.splitlines())


def test_help_answers_at_once(folder: Path) -> None:
    """Nothing heavy is imported to show the flags."""
    code = (
        "import sys, runpy; sys.argv = ['tsdsr_client.py', '--help']\n"
        f"try: runpy.run_path({str(ROOT / 'tsdsr_client.py')!r}, run_name='__main__')\n"
        "except SystemExit: pass\n"
        "sys.exit(' '.join(n for n in ('numpy', 'av', 'openvino', 'PIL', 'torch') if n in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment_for(), cwd=folder
    )

    assert "" == done.stderr.strip()
