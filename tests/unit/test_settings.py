"""Settings: read once, nothing unknown accepted, each with its reason."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from upscale_server.errors import BadRequest
from upscale_server.logs import configure, get_logger
from upscale_server.settings import Limits, Settings, default_state_dir, known_names, load_settings


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in known_names():
        monkeypatch.delenv(name, raising=False)


def test_defaults_stand_when_nothing_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without variables the documented limits hold and state lies in the user's own folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    settings = load_settings({})

    assert 35_389_440 == settings.limits.max_pixels == 8192 * 4320
    assert 16_384 == settings.limits.max_source_side
    assert tmp_path / "upscale-server" == settings.state_dir


def test_a_nested_variable_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """UPSCALE_GROUP__NAME reaches the nested setting."""
    monkeypatch.setenv("UPSCALE_LIMITS__MAX_PIXELS", "1000000")

    assert 1_000_000 == load_settings().limits.max_pixels


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("UPSCALE_LIMIT__MAX_PIXELS", "UPSCALE_LIMITS__MAX_PIXELS"),
        ("UPSCALE_STATEDIR", "UPSCALE_STATE_DIR"),
        ("upscale_log_leval", "UPSCALE_LOG_LEVEL"),
    ],
)
def test_an_unknown_variable_is_an_error_that_names_the_nearest(name: str, nearest: str) -> None:
    """A misspelt setting never passes in silence."""
    with pytest.raises(BadRequest, match=name) as caught:
        load_settings({name: "1"})

    assert f"did you mean {nearest}?" == caught.value.hint
    assert 2 == caught.value.exit_code


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("UPSCALE_IMAGE", "upscale-server:1", "begin with UPSCALE_IMAGE__"),
        ("UPSCALE_ALLOWED_HOSTS", "images.test", "for example"),
        ("UPSCALE_FETCH__ALLOWED_HOSTS", "*.images.test", "for example"),
    ],
)
def test_a_value_that_should_be_json_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, advice: str
) -> None:
    """A group's name taken for something else, or a list written plainly, is the caller's mistake and no defect."""
    monkeypatch.setenv("UPSCALE_FETCH__MAX_BYTES", "many")
    monkeypatch.setenv(name, value)

    with pytest.raises(BadRequest, match=f"setting {name} is ") as caught:
        load_settings()

    assert advice in str(caught.value.hint)


@pytest.mark.parametrize(
    ("name", "value"),
    [("UPSCALE_LIMITS__MAX_PIXELS", "many"), ("UPSCALE_LIMITS__MAX_PIXELS", "1"), ("UPSCALE_LOG_LEVEL", "loud")],
)
def test_a_wrong_value_names_its_variable_and_what_was_given(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value outside its type or range says which variable, which value and what is allowed."""
    monkeypatch.setenv(name, value)

    with pytest.raises(BadRequest, match=f"{name} is '{value}'"):
        load_settings()


def test_other_programs_variables_are_left_alone() -> None:
    """Only our own prefix is looked at."""
    assert isinstance(load_settings({"UPSCAYL_HOME": "/x", "PATH": "/bin"}), Settings)


def test_every_setting_says_what_it_is_for() -> None:
    """Each field has a description, which is where its unit and reason stand."""
    for model in (Settings, Limits):
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name} has no description"


def test_json_log_lines_are_objects_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """A collector gets one object a line with the event, its facts and a time; stdout stays empty."""
    configure("info", "json")

    get_logger(job="a1").info("segment_done", frames=12)

    captured = capsys.readouterr()
    found = json.loads(captured.err)
    assert captured.out == ""
    assert {"event": "segment_done", "frames": 12, "job": "a1", "level": "info"}.items() <= found.items()
    assert "timestamp" in found


def test_console_log_lines_are_key_value_and_obey_the_level(capsys: pytest.CaptureFixture[str]) -> None:
    """People get key=value; what is below the level is not shown."""
    configure("warning", "console")

    get_logger().info("quiet")
    get_logger().warning("disk_low", free_bytes=5)

    captured = capsys.readouterr().err
    assert "event=disk_low free_bytes=5" in captured
    assert "quiet" not in captured
    assert sys.stdout is not sys.stderr


def test_the_servers_documented_names_are_not_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment prepared for the servers does not stop the command line."""
    monkeypatch.setenv("UPSCALE_PUBLIC_URL", "https://example.org")
    monkeypatch.setenv("UPSCALE_STORAGE__S3__BUCKET", "films")

    assert load_settings().log_level == "warning"


@pytest.mark.parametrize("name", ["MAX_WORKERS", "UPSCALE_MAX_WORKERS"])
def test_a_wrong_value_under_a_documented_name_is_told_by_that_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting with two names is reported by the one that was used."""
    monkeypatch.setenv(name, "99")

    with pytest.raises(BadRequest, match=f"^setting {name} is '99'"):
        load_settings()


def test_an_empty_folder_is_the_default_and_not_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """`TEMP_DIR=` in a start script must not fill the folder that the server happens to be started in."""
    monkeypatch.setenv("TEMP_DIR", "")
    monkeypatch.setenv("UPSCALE_OUTPUT_DIR", "")
    monkeypatch.setenv("UPSCALE_STATE_DIR", "")

    assert (None, None) == (load_settings().temp_dir, load_settings().output_dir)
    assert default_state_dir() == load_settings().state_dir
