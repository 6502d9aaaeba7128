"""Each door that stops a start does so with one clear error, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.cli_runner import run_apart, run_here
from upscale_server.cli import doors
from upscale_server.errors import BadRequest
from upscale_server.settings import known_names


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.7", "::ffff:192.0.2.7"])  # noqa: S104 - refused here
def test_an_open_bind_without_a_key_is_refused(host: str) -> None:
    """Strangers are not let in by accident; the hint says both ways out."""
    with pytest.raises(BadRequest, match="no API key is set") as caught:
        doors.check_open(host, has_keys=False, allowed=False)

    assert "--api-key-file" in str(caught.value.hint)
    assert "--allow-open" in str(caught.value.hint)
    assert 2 == caught.value.exit_code


@pytest.mark.parametrize(
    ("host", "has_keys", "allowed"),
    [
        ("127.0.0.1", False, False),
        ("127.9.9.9", False, False),
        ("localhost", False, False),
        ("::1", False, False),
        ("0.0.0.0", True, False),  # noqa: S104 - allowed with a key
        ("0.0.0.0", False, True),  # noqa: S104 - allowed on request
    ],
)
def test_loopback_a_key_or_the_flag_opens_the_door(host: str, *, has_keys: bool, allowed: bool) -> None:
    """The three ways that are meant raise nothing."""
    doors.check_open(host, has_keys=has_keys, allowed=allowed)


def test_keys_are_read_one_a_line(tmp_path: Path) -> None:
    """Comments and empty lines count for nothing."""
    path = tmp_path / "keys"
    path.write_text("# ours\none\n\n  two  \nsha256:abc\n")

    assert "one,two,sha256:abc" == doors.keys_in(path)


@pytest.mark.parametrize("content", [None, b"", b"# nothing\n", b"a,b\n", b"\xff\xfe"])
def test_a_key_file_that_opens_nothing_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """A missing, empty or garbled key file must not become a server without keys."""
    path = tmp_path / "keys"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(BadRequest, match="key"):
        doors.keys_in(path)


def test_a_port_in_use_is_named() -> None:
    """The error says which port on which host, and how to choose another."""
    with doors.listening("127.0.0.1", 0) as first:
        port = first.getsockname()[1]

        with pytest.raises(BadRequest, match=f"port {port} on 127.0.0.1 is in use") as caught:
            doors.listening("127.0.0.1", port)

    assert "--port" in str(caught.value.hint)


@pytest.mark.parametrize("host", ["192.0.2.7", "no-such-host.invalid"])
def test_a_host_that_is_not_this_machine_is_refused(host: str) -> None:
    """An address of another machine and an unknown name are the user's mistake, not ours."""
    with pytest.raises(BadRequest, match=host):
        doors.listening(host, 0)


def test_a_second_server_of_a_kind_is_refused_and_told_who_is_there(tmp_path: Path) -> None:
    """The lock holds as long as the first lives, and a server of another kind has its own."""
    with doors.only_one(tmp_path / "video"):
        with pytest.raises(BadRequest, match=f"is running already .process {os.getpid()}."):
            doors.only_one(tmp_path / "video").__enter__()
        with doors.only_one(tmp_path / "image"):
            pass

    with doors.only_one(tmp_path / "video"):
        pass


def test_a_killed_servers_lock_is_free(tmp_path: Path) -> None:
    """The system gives the lock back with the process, however it ended."""
    program = (
        "import pathlib, sys, time; from upscale_server.cli import doors\n"
        "with doors.only_one(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"
    )
    holder = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "video")], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert b"held\n" == holder.stdout.readline()
        with pytest.raises(BadRequest):
            doors.only_one(tmp_path / "video").__enter__()
    finally:
        holder.kill()
        holder.communicate()

    with doors.only_one(tmp_path / "video"):
        pass


def test_flags_count_more_than_the_environment_and_that_more_than_constants(monkeypatch: pytest.MonkeyPatch) -> None:
    """The documented precedence, from the lowest up: default, constant of the script, variable, flag."""
    from upscale_server.cli import named, serving  # noqa: PLC0415 - the command line imports them when they run, too
    from upscale_server.settings import load_settings  # noqa: PLC0415 - as above

    for name in [*known_names(), "MAX_WORKERS", "MODEL_PATH", "TEMP_DIR", "OUTPUT_DIR"]:
        monkeypatch.delenv(name, raising=False)
    said = {"MODEL_PATH": "from-environment.onnx"}
    named.fill_in({"MAX_WORKERS": 7, "MODEL_PATH": "constant.onnx", "TEMP_DIR": "/constant", "OUTPUT_DIR": ""}, said)
    for name, value in said.items():
        monkeypatch.setenv(name, value)

    settings = serving.with_flags(load_settings(), temp_dir=Path("/flag"), output_dir=None, api_keys="k")

    assert 7 == settings.max_workers
    assert "from-environment.onnx" == settings.model_path
    assert Path("/flag") == settings.temp_dir
    assert None is settings.output_dir
    assert "k" == settings.api_keys.get_secret_value()


def test_a_miner_that_would_answer_everyone_is_refused() -> None:
    """Without a subnet or a hotkey nothing says who may ask; that must be said to be meant."""
    ran = run_here("serve", "miner")

    assert 2 == ran.exit_code
    assert "--netuid" in ran.stderr


@pytest.mark.slow
def test_a_miner_without_its_server_does_not_start() -> None:
    """It could answer nobody: exit code 4 names the address that does not answer."""
    ran = run_apart("serve", "miner", "--allow-open", "--server-url", "http://127.0.0.1:9")

    assert 4 == ran.exit_code
    assert "http://127.0.0.1:9 does not answer" in ran.stderr
