"""Every command, field, header, flag and message of the image server's document, against a started one."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import socket
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.compat.conftest import LONG_SECONDS
from tests.support.cli_runner import environment_for
from tests.support.image_served import opened, picture_file, running_images
from tests.support.server import Server
from upscale_server import __version__

ROOT = Path(__file__).parents[2]
SCRIPT = (sys.executable, str(ROOT / "tsdsr_worker_server.py"))
DOCUMENTED = "http://127.0.0.1:8090"

HEALTH = f"curl {DOCUMENTED}/health"
INFO = f"curl {DOCUMENTED}/info"
STATS = f"curl {DOCUMENTED}/stats"
UPSCALE = rf"""curl -X POST "{DOCUMENTED}/upscale?upscale=2&process_size=128" \
  -F "file=@input.png" \
  --output output.png"""

PYTHON = """
import requests
from pathlib import Path

# Upload and process
with open('input.png', 'rb') as f:
    response = requests.post(
        'http://127.0.0.1:8090/upscale',
        files={'file': f},
        params={'upscale': 2, 'process_size': 128}
    )

with open('output.png', 'wb') as f:
    f.write(response.content)
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Give the server that the documented command starts, with the built-in network."""
    state = tmp_path_factory.mktemp("image")
    with running_images(state, command=SCRIPT) as server:
        yield server


@pytest.fixture(scope="module")
def client(images: Server) -> Iterator[httpx.Client]:
    """Give a plain HTTP client that knows nothing of us."""
    with httpx.Client(base_url=images.url, timeout=LONG_SECONDS, trust_env=False) as one:
        yield one


def curl(command: str, server: Server, folder: Path) -> str:
    """Run a documented command in a folder, with this server's address in place of the documented one."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed here")
    words = shlex.split(command.replace("\\\n", " ").replace(DOCUMENTED, server.url))
    command_line = [*words, "--silent", "--noproxy", "*"]
    return subprocess.run(command_line, cwd=folder, capture_output=True, text=True, check=True).stdout


def answer(command: str, server: Server, folder: Path) -> dict[str, Any]:
    """Return what a documented command answers."""
    return dict(json.loads(curl(command, server, folder)))


def test_the_documented_upscale_command_writes_the_picture(images: Server, tmp_path: Path) -> None:
    """`curl … --output output.png` leaves an 8-bit PNG of exactly twice the size."""
    (tmp_path / "input.png").write_bytes(picture_file(96, 54))

    curl(UPSCALE, images, tmp_path)

    result = opened((tmp_path / "output.png").read_bytes())
    assert ("PNG", (192, 108), "RGB") == (result.format, result.size, result.mode)


def test_the_documented_python_program_runs_as_it_is(
    images: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own lines, with `requests` stood in for by httpx and this server's port in place of 8090."""
    (tmp_path / "input.png").write_bytes(picture_file(40, 30))
    monkeypatch.chdir(tmp_path)

    class Requests(types.ModuleType):
        """The one call of the library that the program makes."""

        @staticmethod
        def post(url: str, files: dict[str, Any], params: dict[str, int]) -> httpx.Response:
            """Send as that library does."""
            return httpx.post(
                url.replace(DOCUMENTED, images.url), files=files, params=params, timeout=LONG_SECONDS, trust_env=False
            )

    monkeypatch.setitem(sys.modules, "requests", Requests("requests"))
    exec(compile(PYTHON, "document", "exec"), {})  # noqa: S102 - the document's own program

    assert (80, 60) == opened((tmp_path / "output.png").read_bytes()).size


def test_upscale_answers_a_png_with_its_size_in_the_header(client: httpx.Client) -> None:
    """`X-Output-Size` in the documented form, and which model it was."""
    reply = client.post("/upscale", files={"file": ("a.jpg", picture_file(60, 40, "JPEG"))}, params={"upscale": 4})

    assert (200, "image/png") == (reply.status_code, reply.headers["content-type"])
    assert ("240x160", "fast-clean") == (reply.headers["x-output-size"], reply.headers["x-model"])
    assert (240, 160) == opened(reply.content).size


def test_without_parameters_the_documented_defaults_count(client: httpx.Client) -> None:
    """Twice the size."""
    reply = client.post("/upscale", files={"file": ("a.png", picture_file(30, 20))})

    assert "60x40" == reply.headers["x-output-size"]


def test_upscale_batch_answers_the_documented_fields(client: httpx.Client) -> None:
    """`filename, temp_path, output_size, file_size_mb`, `total`, `successful`; each true."""
    files = [("files", ("image1.png", picture_file(48, 27))), ("files", ("image2.png", b"broken"))]

    body = client.post("/upscale_batch", files=files, params={"upscale": 2, "process_size": 128}).json()

    good, bad = body["results"]
    assert ["results", "total", "successful"] == list(body)
    assert (2, 1) == (body["total"], body["successful"])
    assert ["filename", "temp_path", "output_size", "file_size_mb"] == list(good)[:4]
    assert ("image1.png", "96x54") == (good["filename"], good["output_size"])
    assert (96, 54) == opened(Path(good["temp_path"]).read_bytes()).size
    assert Path(good["temp_path"]).stat().st_size / 2**20 == good["file_size_mb"]
    assert Path(good["temp_path"]).read_bytes() == client.get(good["url"]).content
    assert ("image2.png", True) == (bad["filename"], "no picture that can be read" in bad["error"])


def test_health_answers_the_documented_fields(images: Server, tmp_path: Path) -> None:
    """On the built-in network transformer and vae are false, and the model is named."""
    body = answer(HEALTH, images, tmp_path)

    assert ("ok", "fast-clean") == (body["status"], body["model"])
    assert ["transformer", "vae", "device", "dtype"] == list(body["models_loaded"])
    loaded = body["models_loaded"]
    assert (False, False, "cpu") == (loaded["transformer"], loaded["vae"], loaded["device"])
    assert loaded["dtype"] in {"torch.float32", "torch.bfloat16", "torch.float16"}


def test_info_answers_the_documented_fields(images: Server, tmp_path: Path) -> None:
    """And says that process_size has no effect on this model."""
    body = answer(INFO, images, tmp_path)

    documented = [
        "name", "version", "description", "device", "cuda_available", "gpu", "gpu_memory_gb", "endpoints",
    ]  # fmt: skip
    assert documented == list(body)[: len(documented)]
    assert ("TSD-SR Worker Server", __version__, False) == (
        body["name"],
        body["version"],
        body["process_size_has_effect"],
    )
    assert {"upscale", "upscale_batch", "health", "info", "stats"} <= set(body["endpoints"])
    if not body["cuda_available"]:
        assert ("cpu", None, None) == (body["device"], body["gpu"], body["gpu_memory_gb"])


def test_stats_answers_the_documented_fields(images: Server, tmp_path: Path) -> None:
    """A time in the documented form; what is about a GPU is null where there is none."""
    body = answer(STATS, images, tmp_path)

    documented = [
        "timestamp", "device", "dtype", "gpu_name", "gpu_memory_total_gb", "gpu_memory_reserved_gb",
        "gpu_memory_allocated_gb", "gpu_memory_free_gb",
    ]  # fmt: skip
    assert documented == list(body)[: len(documented)]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", body["timestamp"])
    assert body["dtype"].startswith("torch.")
    if body["gpu_name"] is None:
        assert {None} == {body[name] for name in documented[4:]}


def test_stats_counts_what_was_done(client: httpx.Client) -> None:
    """One picture more, one failure more."""
    before = client.get("/stats").json()

    client.post("/upscale", files={"file": ("a.png", picture_file(10, 10))})
    client.post("/upscale", files={"file": ("a.png", b"no")})

    after = client.get("/stats").json()
    assert (before["done"] + 1, before["failed"] + 1) == (after["done"], after["failed"])


@pytest.mark.parametrize(
    ("words", "content", "status", "code"),
    [
        ({"upscale": 3}, picture_file(8, 8), 400, "bad_scale"),
        ({"process_size": 512}, picture_file(8, 8), 400, "bad_process_size"),
        ({}, b"no picture", 415, "not_media"),
        ({"upscale": 4}, picture_file(8000, 1), 413, "too_many_pixels"),
    ],
)
def test_failures_have_the_statuses_of_the_table(
    client: httpx.Client, words: dict[str, int], content: bytes, status: int, code: str
) -> None:
    """Never a 500, never a 200."""
    reply = client.post("/upscale", files={"file": ("a.png", content)}, params=words)

    assert (status, code) == (reply.status_code, reply.json()["code"])


def test_the_log_is_server_log_in_the_state_folder(images: Server, client: httpx.Client) -> None:
    """`tail -f server.log` shows the requests of the processes and the words of their parent."""
    client.post("/upscale", files={"file": ("a.png", picture_file(10, 10))})

    logged = (images.state / "server.log").read_text()
    assert "event=server_ready server=image" in logged
    assert "event=picture_done" in logged
    assert "path=/upscale status=200" in logged


def test_every_documented_flag_acts(tmp_path: Path) -> None:
    """--host, --port, --upscale, --process-size and --workers, each seen in what the server answers."""
    flags = ("--host", "localhost", "--upscale", "4", "--process-size", "256", "--workers", "2", "--model", "lanczos")
    with running_images(tmp_path / "state", *flags, command=SCRIPT) as server:
        assert server.url.startswith("http://localhost:")
        reply = httpx.post(
            f"{server.url}/upscale", files={"file": picture_file(9, 7)}, trust_env=False, timeout=LONG_SECONDS
        )
        info = httpx.get(f"{server.url}/info", trust_env=False).json()
        processes = set()
        while len(processes) < 2:  # two processes, one port; a new connection goes to either
            processes.add(httpx.get(f"{server.url}/health", trust_env=False).json()["process"])

    assert ("36x28", "lanczos") == (reply.headers["x-output-size"], reply.headers["x-model"])
    assert (4, 256, 2) == (info["upscale"], info["process_size"], info["workers"])
    assert server.process.pid not in processes


def test_variables_count_more_than_constants_and_flags_most(tmp_path: Path) -> None:
    """The script's lines may be edited; what the environment says counts more, and what the flags say most."""
    edited = tmp_path / "tsdsr_worker_server.py"
    text = (ROOT / "tsdsr_worker_server.py").read_text()
    changed = text.replace("UPSCALE = 2", "UPSCALE = 4").replace("PROCESS_SIZE = 128", "PROCESS_SIZE = 64")
    edited.write_text(changed.replace('MODEL = "auto"', 'MODEL = "fast"'))
    environment = {"UPSCALE_IMAGE__MODEL": "lanczos", "UPSCALE_IMAGE__PROCESS_SIZE": "192"}
    command = (sys.executable, str(edited))
    with running_images(
        tmp_path / "state", "--process-size", "256", environment=environment, command=command
    ) as server:
        info = httpx.get(f"{server.url}/info", trust_env=False).json()

    assert (4, 256, "lanczos") == (info["upscale"], info["process_size"], info["model"])


def test_the_documented_defaults_stand_in_the_script_and_in_the_help() -> None:
    """Port 8090, factor 2, size 128, one worker."""
    shown = subprocess.run(
        [*SCRIPT, "--help"], capture_output=True, text=True, check=True, env=environment_for()
    ).stdout
    text = (ROOT / "tsdsr_worker_server.py").read_text()

    for flag in ("--port", "--host", "--upscale", "--process-size", "--workers", "--model"):
        assert flag in shown
    assert "8090" in shown
    assert "127.0.0.1" in shown
    for line in ("UPSCALE = 2", "PROCESS_SIZE = 128", "WORKERS = 1"):
        assert re.search(rf"^{line}\b", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("flags", "code", "says"),
    [
        (("--upscale", "3"), 2, "bad_scale: --upscale is 3"),
        (("--process-size", "512"), 2, "bad_process_size: --process-size is 512"),
        (("--workers", "0"), 2, "--workers"),
        (("--model", "gone.onnx"), 4, "model_missing: there is no model file gone.onnx"),
        (("--model", "gone"), 4, "model_missing: "),
        (("--model", "tsdsr"), 4, "model_missing: TSD-SR's weights are not all there: UPSCALE_TSDSR__SD3_DIR"),
        (("--mode", "fast"), 2, "bad_request: --mode is 'fast'"),
        (("--latent-overlap", "64"), 2, "bad_request: latent overlap is 64"),
        (("--host", "0.0.0.0"), 2, "host 0.0.0.0 can be reached"),  # noqa: S104 - refused here
    ],
)
def test_a_wrong_start_is_one_line_and_makes_nothing(
    flags: tuple[str, ...], code: int, says: str, tmp_path: Path
) -> None:
    """Exit code 2 or 4, before a folder is made or a model is loaded."""
    command = [*SCRIPT, "--port", "0", *flags]
    variables = environment_for({"UPSCALE_STATE_DIR": str(tmp_path / "state")})
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables, timeout=LONG_SECONDS)

    assert code == done.returncode, done.stderr
    assert says in done.stderr.splitlines()[0]
    assert not (tmp_path / "state").exists()


def test_a_model_that_is_none_ends_the_start(tmp_path: Path) -> None:
    """The processes cannot load it: the server says why and ends instead of listening for nothing."""
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no network")
    variables = environment_for({"UPSCALE_STATE_DIR": str(tmp_path / "state")})
    command = [*SCRIPT, "--port", "0", "--model", str(broken)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables, timeout=LONG_SECONDS)

    assert 4 == done.returncode, done.stderr
    assert "broken.onnx" in done.stderr
    assert "ready at" not in done.stderr


def test_a_second_server_of_a_port_is_refused_with_one_line(images: Server) -> None:
    """Also with the same state folder, which servers of other ports share."""
    port = images.url.rpartition(":")[2]
    variables = environment_for({"UPSCALE_STATE_DIR": str(images.state)})
    done = subprocess.run(
        [*SCRIPT, "--port", port], capture_output=True, text=True, check=False, env=variables, timeout=LONG_SECONDS
    )

    assert 2 == done.returncode
    assert f"port {port} on 127.0.0.1" in done.stderr.splitlines()[0]
    assert not (images.state / "video").exists()


def test_servers_of_several_ports_share_a_state_folder(images: Server) -> None:
    """The documented terminals: each starts the script with a port of its own, and nothing else."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = environment_for({"UPSCALE_STATE_DIR": str(images.state)})
    with subprocess.Popen([*SCRIPT, "--port", str(port)], stderr=subprocess.PIPE, text=True, env=variables) as second:
        assert second.stderr is not None
        try:
            assert any("ready at" in line for line in second.stderr)
            sent = {"file": picture_file()}
            both = [httpx.post(f"{url}/upscale", files=sent, trust_env=False, timeout=LONG_SECONDS) for url in
                    (images.url, f"http://127.0.0.1:{port}")]  # fmt: skip
        finally:
            second.terminate()
            second.communicate()

    assert [200, 200] == [reply.status_code for reply in both]
    assert both[0].content == both[1].content
