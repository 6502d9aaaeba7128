"""The documented scripts by their names, the flags, and how a server starts, refuses to start and ends."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.compat.conftest import LONG_SECONDS, Sources
from tests.support.cli_runner import COMMAND, Ran, environment_for
from tests.support.killing import wait_until
from tests.support.server import Server, running, starting, url_of

ROOT = Path(__file__).parents[2]


def script(name: str, *arguments: str | Path, **environment: str) -> Ran:
    """Run one of the scripts at the project's root to its end."""
    python = [] if name.endswith(".sh") else [sys.executable]
    command = [*python, str(ROOT / name), *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment_for(environment), timeout=LONG_SECONDS
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def serve(state: Path, *flags: str | Path, **environment: str) -> Ran:
    """Run `upscale serve video` to its end, where it refuses to start."""
    variables = environment_for({"UPSCALE_STATE_DIR": str(state), **environment})
    command = [*COMMAND, "serve", "video", *map(str, flags)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables, timeout=LONG_SECONDS)
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Give a server started by the documented start script, with the built-in network."""
    state = tmp_path_factory.mktemp("started")
    environment = {"PYTHON": sys.executable}
    with starting(state, command=[str(ROOT / "start_vsr_server.sh")], environment=environment) as server:
        server.url = url_of(server)
        server.line("ready at http")
        yield server


@pytest.mark.timeout(600)  # four real upscales up to 8K on a machine that may be busy
def test_the_start_script_starts_a_server_that_the_test_script_finds_well(started: Server) -> None:
    """`./start_vsr_server.sh` and then `python test_vsr_server.py`, as the document says, with the real network."""
    command = [sys.executable, str(ROOT / "test_vsr_server.py"), "--url", started.url]

    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment_for(), timeout=590)

    assert 0 == done.returncode, done.stdout + done.stderr
    assert "6 of 6 checks passed" == done.stdout.splitlines()[-1]
    for name in ("health", "stats", "SD2HD", "SD24K", "HD24K", "4K28K"):
        assert re.search(rf"^ok   {name}: ", done.stdout, re.MULTILINE)


def test_the_start_script_says_what_it_found(started: Server) -> None:
    """The documented environment with its defaults, the GPU or its absence, the model and the folders."""
    assert started.line(r"CUDA_VISIBLE_DEVICES=0 OMP_NUM_THREADS=4|CUDA_VISIBLE_DEVICES=\S* OMP_NUM_THREADS=\d+")
    assert started.line(r"GPU|, \d+ MiB")
    assert started.line(r"^model .*fast")
    assert started.line(rf"^unfinished work +{started.state}")
    assert (started.state / "video" / "output").is_dir()


def test_the_start_script_runs_the_server_once(tmp_path: Path) -> None:
    """A second run of the program only to look around would cost seconds before the port is open."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/runs\n')
    python.chmod(0o755)

    ran = script("start_vsr_server.sh", "--port", "0", PYTHON=str(python))

    assert 0 == ran.exit_code, ran.stderr
    assert ["vidaio_vsr_server.py --show --port 0"] == (tmp_path / "runs").read_text().splitlines()


def test_the_lanes_that_are_named_first_are_those_there_will_be(started: Server) -> None:
    """Not the documented number: what this machine holds."""
    assert started.line(r"^lanes +(\d+)")[1] == started.line(r"(\d+) lanes loaded")[1]


def test_the_log_is_in_the_state_folder_too(started: Server) -> None:
    """`tail -f server.log` shows what stderr showed."""
    log = started.state / "server.log"
    wait_until(lambda: "event=server_ready" in log.read_text())  # a thread writes it
    logged = log.read_text()

    assert re.search(r"event=worker_ready .*role=lane", logged)


def test_a_server_that_may_not_fetch_from_loopback_is_told_apart(tmp_path: Path) -> None:
    """The smoke client says which setting lets it serve its own clip."""
    environment = {"MODEL_PATH": "lanczos", "UPSCALE_FETCH__ALLOWED_NETWORKS": "[]"}
    with running(tmp_path / "state", environment=environment) as server:
        ran = script("test_vsr_server.py", "--url", server.url)

    assert 1 == ran.exit_code
    assert "ok   health" in ran.stdout
    assert "FAIL SD2HD: source_forbidden" in ran.stdout
    assert """UPSCALE_FETCH__ALLOWED_NETWORKS='["127.0.0.0/8"]'""" in ran.stdout


def test_the_test_script_fails_where_no_server_is() -> None:
    """Exit code 1 and a line for each check."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        ran = script("test_vsr_server.py", "--url", f"http://127.0.0.1:{taken.getsockname()[1]}")

    assert 1 == ran.exit_code
    assert "0 of 6 checks passed" in ran.stdout
    assert "does not answer" in ran.stdout


def test_constants_variables_and_flags_count_in_this_order(tmp_path: Path) -> None:
    """The document says: edit the constants; the environment counts more, and flags count most."""
    edited = tmp_path / "vidaio_vsr_server.py"
    text = (ROOT / "vidaio_vsr_server.py").read_text()
    changed = text.replace("MAX_WORKERS = 12", "MAX_WORKERS = 3").replace('MODEL_PATH = ""', 'MODEL_PATH = "fast"')
    changed = changed.replace('TEMP_DIR = ""', f'TEMP_DIR = "{tmp_path}/constant"')
    changed = changed.replace('OUTPUT_DIR = ""', f'OUTPUT_DIR = "{tmp_path}/constant"')
    assert 4 == sum(before != after for before, after in zip(text.splitlines(), changed.splitlines(), strict=True))
    edited.write_text(changed)
    environment = {"MODEL_PATH": "lanczos", "OUTPUT_DIR": f"{tmp_path}/variable"}
    flags = ("--output-dir", tmp_path / "flag")

    with starting(tmp_path / "state", *flags, environment=environment, command=[sys.executable, str(edited)]) as server:
        url = url_of(server)
        server.line("ready at http")
        stats = httpx.get(f"{url}/stats", trust_env=False).json()

    assert (3, "lanczos") == (stats["max_workers"], stats["model"])
    assert (tmp_path / "constant").is_dir()  # TEMP_DIR, where nothing counted more
    assert (tmp_path / "flag").is_dir()
    assert not (tmp_path / "variable").exists()


def test_the_constants_stand_at_the_top_of_the_script() -> None:
    """Names and defaults of the document; the paths' defaults are the user's own folders."""
    text = (ROOT / "vidaio_vsr_server.py").read_text()

    assert ["MAX_WORKERS", "MODEL_PATH", "TEMP_DIR", "OUTPUT_DIR"] == re.findall(r"^([A-Z_]+) = ", text, re.MULTILINE)
    assert re.search(r"^MAX_WORKERS = 12\b", text, re.MULTILINE)


def test_an_open_bind_without_a_key_stops_the_start(tmp_path: Path) -> None:
    """Exit code 2, one line and a hint, and nothing was made."""
    ran = serve(tmp_path / "state", "--host", "0.0.0.0", "--port", "0")  # noqa: S104 - refused here

    assert 2 == ran.exit_code
    assert ran.stderr.startswith("upscale: bad_request: host 0.0.0.0 can be reached")
    assert "--allow-open" in ran.stderr
    assert not (tmp_path / "state").exists()


def test_an_open_bind_starts_where_that_is_said_to_be_meant(tmp_path: Path) -> None:
    """`--allow-open` lets everyone in without a key."""
    flags = ("--host", "0.0.0.0", "--allow-open")  # noqa: S104 - what is tested
    with running(tmp_path / "state", *flags, environment={"MODEL_PATH": "lanczos"}) as server:
        assert 200 == httpx.get(server.url.replace("0.0.0.0", "127.0.0.1") + "/stats", trust_env=False).status_code  # noqa: S104


def test_a_port_in_use_is_one_line_and_nothing_is_made(tmp_path: Path) -> None:
    """Exit code 2; not even the state folder appears."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = serve(tmp_path / "state", "--port", str(port))

    assert 2 == ran.exit_code
    assert f"upscale: bad_request: port {port} on 127.0.0.1 is in use" == ran.stderr.splitlines()[0]
    assert not (tmp_path / "state").exists()


def test_a_second_server_on_one_state_folder_is_refused_with_one_line(server: Server) -> None:
    """The first one goes on."""
    ran = serve(server.state, "--port", "0", MODEL_PATH="lanczos")

    assert 2 == ran.exit_code
    assert f"is running already (process {server.process.pid})" in ran.stderr.splitlines()[0]
    assert 200 == httpx.get(f"{server.url}/health", trust_env=False).status_code


@pytest.mark.parametrize("flag", ["--model-path", "MODEL_PATH"])
def test_a_model_that_is_missing_stops_the_start(tmp_path: Path, flag: str) -> None:
    """Exit code 4 with its name, before anything is made."""
    flags = ("--port", "0") + (("--model-path", "gone.onnx") if flag.startswith("--") else ())

    ran = serve(tmp_path / "state", *flags, **({} if flag.startswith("--") else {flag: "gone.onnx"}))

    assert 4 == ran.exit_code
    assert "gone.onnx" in ran.stderr.splitlines()[0]
    assert not (tmp_path / "state").exists()


def test_a_model_that_is_none_stops_the_start(tmp_path: Path) -> None:
    """The lanes cannot load it: the server says why and ends instead of listening for nothing."""
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no network")

    ran = serve(tmp_path / "state", "--port", "0", "--model-path", broken)

    assert 4 == ran.exit_code, ran.stderr
    assert "broken.onnx" in ran.stderr
    assert "ready at" not in ran.stderr


def test_an_unknown_setting_stops_the_start(tmp_path: Path) -> None:
    """A misspelt variable never passes in silence."""
    ran = serve(tmp_path / "state", "--port", "0", UPSCALE_FETCH__ALLOWED_NETWORK="[]")

    assert 2 == ran.exit_code
    assert "did you mean UPSCALE_FETCH__ALLOWED_NETWORKS?" in ran.stderr


def test_a_server_that_is_told_to_stop_drains_and_ends_with_zero(tmp_path: Path, sources: Sources) -> None:
    """SIGTERM under work: the job is parked, not lost, and goes on in the next server to its end."""
    environment = {"MODEL_PATH": "lanczos"}
    with running(tmp_path / "state", environment=environment) as first:
        asked = {"payload_url": sources.address("long.mp4"), "task_type": "SD2HD"}
        job = httpx.post(f"{first.url}/v1/jobs", json=asked, trust_env=False).json()["id"]
        first.line("event=job_planned")
        assert 0 == first.stop()

    with (
        running(tmp_path / "state", environment=environment) as second,
        httpx.stream("GET", f"{second.url}/v1/jobs/{job}/events", timeout=LONG_SECONDS, trust_env=False) as events,
    ):
        text = "".join(events.iter_text())

    assert '"state":"succeeded"' in text.replace(" ", "")


def test_a_server_is_not_ready_before_its_lanes_are_loaded(tmp_path: Path) -> None:
    """While loading, health is 503 with the reason; the line that says ready comes only then."""
    with starting(tmp_path / "state", environment={"MODEL_PATH": "fast"}) as server:
        url = url_of(server)
        early = httpx.get(f"{url}/health", timeout=LONG_SECONDS, trust_env=False)
        server.line("ready at http")
        late = httpx.get(f"{url}/health", trust_env=False)

    assert 200 == late.status_code
    if early.status_code != 200:  # a very fast machine may have loaded them by then
        assert (503, "models_not_loaded") == (early.status_code, early.json()["code"])
        assert "Models not loaded" in early.json()["detail"]


def test_scripts_say_what_to_do_where_the_package_is_missing(tmp_path: Path) -> None:
    """A Python without the package gets one line, not a traceback."""
    for name in ("vidaio_vsr_server.py", "test_vsr_server.py"):
        shutil.copy(ROOT / name, tmp_path / name)
        # -S -E: no site-packages and no PYTHONPATH, as in a Python where nothing was installed
        done = subprocess.run(
            [sys.executable, "-S", "-E", str(tmp_path / name)], capture_output=True, text=True, check=False
        )

        assert 1 == done.returncode
        assert 1 == len(done.stderr.splitlines())
        assert "make install" in done.stderr
