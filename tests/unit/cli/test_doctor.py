"""`upscale doctor` on machines that lack something: each fault is planted, and found with a command that mends it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.support.served import settings_in
from upscale_server import cage
from upscale_server.cage.jail import Locks
from upscale_server.calibration import Calibration, Errors, Judged
from upscale_server.cli import check_codecs, check_disks, check_engines, check_servers, doctor
from upscale_server.cli.checks import Check, tried
from upscale_server.cli.main import run
from upscale_server.errors import MissingExtra, StorageError
from upscale_server.media import decoders, encoders
from upscale_server.models import device, extras, host_memory, select
from upscale_server.models.select import Measured
from upscale_server.server_settings import S3, Storage
from upscale_server.settings import Settings
from upscale_server.storage.links import load_or_make_secret
from upscale_server.storage.s3 import S3Store


def named(checks: Iterator[Check], name: str) -> Check:
    """Return the check of a name."""
    return next(one for one in checks if one.name == name)


def in_shell(command: str) -> None:
    """Do what a person does with a fix."""
    subprocess.run(command, shell=True, check=True, capture_output=True)  # noqa: S602 - that is what a fix is for


def with_s3(settings: Settings) -> Settings:
    """Return settings whose results go to a bucket."""
    s3 = S3(bucket="films", endpoint="http://127.0.0.1:9", access_key=SecretStr("a"), secret_key=SecretStr("b"))
    return settings.model_copy(update={"storage": Storage(kind="s3", s3=s3)})


# ---------------------------------------------------------------------------------------------------- the command


@pytest.mark.slow
def test_sound_machine_has_no_broken_check_and_each_warning_a_fix(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Codecs, engines, disks, ports, store and database are all asked after; nothing is left behind."""
    monkeypatch.setenv("UPSCALE_STATE_DIR", str(tmp_path / "state"))

    code = run(["doctor", "--json"])

    told = json.loads(capfd.readouterr().out)
    checks = {one["name"]: one for one in told["checks"]}
    assert (0, True) == (code, told["ok"])
    assert {"decoders", "encoders", "engine openvino f32", "memory", "permissions", "port 29115", "port 8090",
            "store of results", "jobs' database", "free disk for results"} <= set(checks)  # fmt: skip
    assert [] == [name for name, one in checks.items() if one["verdict"] != "ok" and not one["fix"]]
    assert [] == list(tmp_path.iterdir()), "what a server makes at its start is not made by looking"


@pytest.mark.slow
def test_people_are_told_one_command(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table says what is broken, a line after it what to type, and the exit code that something is."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("UPSCALE_STATE_DIR", str(tmp_path / "file" / "state"))

    code = run(["doctor"])

    said = capfd.readouterr()
    assert 4 == code
    assert any(line.split()[:3] == ["broken", "state", "folder"] for line in said.out.splitlines())
    assert '  fix: export UPSCALE_STATE_DIR="$HOME/upscale-server"' in said.err.splitlines()


def test_each_check_is_told_before_the_next_one_begins(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where one hangs or takes the process with it, what was found before is on the screen."""
    seen: list[str] = []

    def two_checks(_settings: Settings) -> Iterator[Check]:
        yield Check("first", "warning", "a finding", fix="a command")
        said = capfd.readouterr()
        seen.extend([said.out, said.err])
        yield Check("second", "ok", "")

    monkeypatch.setattr(doctor, "_checks", two_checks)

    run(["doctor"])

    assert ["warning", "first", "a", "finding"] == seen[0].split()
    assert "  fix: a command" in seen[1].splitlines()


def test_check_that_fails_itself_is_a_finding() -> None:
    """Whatever a broken machine does, the other checks are told of; an extra's own command counts more than ours."""

    def fails() -> Check:
        raise OSError("libfoo.so.1: cannot open shared object file")

    def lacks() -> Check:
        raise MissingExtra("it needs an extra", hint="pip install 'upscale-server[s3]'")

    one, other = tried("a library", fails, "pip install it"), tried("an extra", lacks)

    assert ("broken", "OSError: libfoo.so.1: cannot open shared object file", "pip install it") == (
        one.verdict, one.found, one.fix
    )  # fmt: skip
    assert ("broken", "pip install 'upscale-server[s3]'") == (other.verdict, other.fix)


@pytest.mark.parametrize(
    ("fault", "fix"),
    [
        (ImportError("no module"), "pip install --force-reinstall upscale-server"),
        (FileNotFoundError(2, "the working directory is gone"), ""),
        (StorageError("the database is away"), ""),
    ],
)
def test_what_an_installation_does_not_mend_is_not_told_to_be_installed(fault: Exception, fix: str) -> None:
    """A wrong command costs more than none: the machine is the same after it, and the hour is gone."""

    def fails() -> Check:
        raise fault

    assert ("broken", fix) == ((found := tried("anything", fails)).verdict, found.fix)


@pytest.mark.parametrize(("count", "off", "verdict"), [(10, 0.16, "warning"), (9, 3.0, "ok"), (50, 0.15, "ok")])
def test_estimates_that_are_far_off_are_found(
    count: int, off: float, verdict: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After ten jobs the median is within 15 %, or something is wrong with this machine's quiet."""
    errors = Errors(seconds=Judged(off, count), byte_count=Judged(None, 0))
    monkeypatch.setattr(Calibration, "errors", lambda _self: errors)

    assert verdict == doctor._estimates(tmp_path).verdict


# ----------------------------------------------------------------------------------------------- codecs and engines


@pytest.mark.slow
@pytest.mark.parametrize(("missing", "verdict"), [("hevc", "broken"), ("vc1", "warning")])
def test_missing_decoder_is_found(missing: str, verdict: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without H.264 or HEVC a server is none; without a rare one some sources are refused."""
    monkeypatch.setattr(decoders, "decoder_exists", lambda codec: codec != missing)

    found = named(check_codecs.codec_checks(), "decoders")

    assert (verdict, "pip install --force-reinstall av") == (found.verdict, found.fix)
    assert f"sources in {missing} will be refused" == found.advice


@pytest.mark.slow
def test_decoder_that_only_exists_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of names proves nothing: a picture must come out."""
    (tmp_path / "clip.mp4").write_bytes(b"no video")
    monkeypatch.setattr(check_codecs, "CLIP", tmp_path / "clip.mp4")

    assert "broken" == named(check_codecs.codec_checks(), "decoders").verdict


@pytest.mark.slow
@pytest.mark.parametrize(
    ("working", "verdict"), [((), "broken"), (("libx264", "libx265"), "warning"), (encoders.DEFAULTS, "ok")]
)
def test_missing_encoder_is_found(working: tuple[str, ...], verdict: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of graphics cards may be missing; ours come with the package."""
    monkeypatch.setattr(encoders, "encoder_opens", lambda name: name in working)

    found = named(check_codecs.codec_checks(), "encoders")

    assert (verdict, verdict != "ok") == (found.verdict, bool(found.fix))


class _Opened:
    """A cage with these locks, in which this is possible."""

    def __init__(self, locks: Locks, possible: str = "") -> None:
        self.locks = locks
        self._possible = possible

    def call(self, *_: object, **__: object) -> str:
        """Return what is possible inside."""
        return self._possible

    def close(self) -> None:
        """End it."""


@pytest.mark.slow
def test_a_cage_is_tried_and_found_locked() -> None:
    """A real one: the locks that the kernel grants hold."""
    found = named(check_codecs.codec_checks(), "cage")

    assert found.verdict in {"ok", "warning"}
    assert "a bound on memory" in found.found


@pytest.mark.parametrize(
    ("locks", "meaning"),
    [
        (Locks(own_network=True, calls_refused=False, files_closed=True), "could connect to others"),
        (Locks(own_network=False, calls_refused=True, files_closed=True), "only the refused calls keep it"),
        (Locks(own_network=True, calls_refused=True, files_closed=False), "could read whatever this user may read"),
    ],
)
def test_a_lock_that_is_not_granted_is_a_warning_with_its_meaning(
    locks: Locks, meaning: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One lock less does not stop a server; its operator should know what now rests on the others."""
    monkeypatch.setattr(cage, "Cage", lambda: _Opened(locks))

    found = check_codecs.cage_check()

    assert "warning" == found.verdict
    assert meaning in found.advice
    assert "sysctl" in found.fix


def test_a_cage_that_does_not_hold_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the locks say: what is possible inside counts."""
    locks = Locks(own_network=True, calls_refused=True, files_closed=True)
    monkeypatch.setattr(cage, "Cage", lambda: _Opened(locks, "a connection"))

    found = check_codecs.cage_check()

    assert ("broken", "a connection is possible inside") == (found.verdict, found.found)


def test_little_memory_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs would fail one after the other; fewer lanes need less."""
    monkeypatch.setattr(host_memory, "free_bytes", lambda: 2**30 - 1)

    found = named(check_engines.engine_checks(), "memory")

    assert ("warning", "export UPSCALE_WORKERS__LANES=1") == (found.verdict, found.fix)


def test_gpu_that_nothing_computes_on_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU without an engine for it is paid for and idle."""
    monkeypatch.setattr(device, "nvidia_gpus", lambda: ("a GPU",))
    monkeypatch.setattr(extras, "installed", lambda _engine: False)

    found = check_engines.onnxruntime_check()

    assert ("warning", "pip install 'upscale-server[cuda]'") == (found.verdict, found.fix)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("measured", "verdict"),
    [
        (Measured("cuda", "f32", fault="the GPU did not do the work"), "warning"),
        (Measured("openvino", "bf16", "CPU", 0.1, 1000, 20.0, "20.0 dB from f32; expected at least 45"), "ok"),
        (Measured("openvino", "f32", "CPU", 0.1, 1000, 120.0), "ok"),
    ],
)
def test_engine_that_does_not_work_is_found(measured: Measured, verdict: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each engine is run on its device; one that is only not exact enough needs no mending."""
    monkeypatch.setattr(select, "measure", lambda *_: (measured,))

    found = named(check_engines.engine_checks(), f"engine {measured.engine} {measured.precision}")

    assert (verdict, verdict != "ok") == (found.verdict, bool(found.fix))


# ---------------------------------------------------------------------------------------------------------- folders


def test_full_disk_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each folder is asked for by its own setting, also one that is not made yet."""
    usage = namedtuple("usage", "total used free")  # noqa: PYI024 - the standard library's own kind
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: usage(10**12, 10**12, 4 * 10**9))

    checks = {one.name: one for one in check_disks.disk_checks(settings_in(tmp_path / "state"))}

    low = {
        name: one.advice.removeprefix("long videos may not fit; ")
        for name, one in checks.items()
        if (one.verdict, one.fix) == ("warning", "df -h")
    }
    assert {"free disk for unfinished work": "set UPSCALE_TEMP_DIR to a folder on a larger disk",
            "free disk for results": "set UPSCALE_OUTPUT_DIR to a folder on a larger disk",
            "free disk here": "begin in a folder on a larger disk"} == low  # fmt: skip


@pytest.mark.parametrize(
    ("setting", "name"),
    [("state_dir", "state folder"), ("temp_dir", "unfinished work"), ("output_dir", "store of results")],
)
def test_folder_that_cannot_be_written_is_found(setting: str, name: str, tmp_path: Path) -> None:
    """A file in the way of any of the three; the setting that names it is the way out."""
    (tmp_path / "file").write_text("")
    settings = settings_in(tmp_path / "state").model_copy(update={setting: tmp_path / "file" / "folder"})
    checks = [*check_disks.disk_checks(settings), check_servers.store_check(settings)]

    found = named(iter(checks), name)

    assert ("broken", True) == (found.verdict, "is not writable: not a directory" in found.found)
    assert found.fix.startswith(f"export UPSCALE_{setting.upper()}=")


def test_folder_of_secrets_that_others_can_read_is_found_and_closed(tmp_path: Path) -> None:
    """Who reads the key of links signs links; the command given closes what is open."""
    state = tmp_path / "a state"
    (state / "video").mkdir(parents=True, mode=0o700)
    load_or_make_secret(state / "video" / "links.key")
    before = check_disks.permissions_check(state)
    (state / "video").chmod(0o755)
    (state / "video" / "links.key").chmod(0o644)

    found = check_disks.permissions_check(state)
    in_shell(found.fix)

    assert ("ok", "warning", "ok") == (before.verdict, found.verdict, check_disks.permissions_check(state).verdict)
    assert "video, video/links.key" in found.found


def test_folder_of_another_user_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that was run once by root leaves a folder in which no other can start."""
    (tmp_path / "video").mkdir()
    monkeypatch.setattr("os.geteuid", lambda: 54_321)

    found = check_disks.permissions_check(tmp_path)

    assert ("broken", f"sudo chown -R 54321 {tmp_path}") == (found.verdict, found.fix)


# ---------------------------------------------------------------------------------------------------------- servers


@pytest.mark.slow
@pytest.mark.parametrize(
    ("detail", "hint", "fix"),
    [
        (
            "the store answered NoSuchBucket",
            "create the bucket",
            "aws s3 mb s3://films --endpoint-url http://127.0.0.1:9",
        ),
        (
            "the store answered 403",
            "look at UPSCALE_STORAGE__S3__REGION: it",
            "aws s3api get-bucket-location --bucket films --endpoint-url http://127.0.0.1:9",
        ),
        ("the store answered RequestTimeTooSkewed", "set them by NTP", "sudo timedatectl set-ntp true"),
        ("no valid certificate", "set AWS_CA_BUNDLE to it", "export AWS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt"),
        ("it does not give back what was written", None, "aws s3 ls s3://films --endpoint-url http://127.0.0.1:9"),
    ],
)
def test_store_that_refuses_is_found(
    detail: str, hint: str | None, fix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each refusal has one cause that is likeliest, and the command is for that."""
    pytest.importorskip("boto3", reason="the extra [s3] is not installed here")

    def refuses(_store: S3Store) -> None:
        raise StorageError(detail, hint=hint)

    monkeypatch.setattr(S3Store, "check", refuses)

    found = check_servers.store_check(with_s3(settings_in(tmp_path)))

    assert ("broken", detail, fix) == (found.verdict, found.found, found.fix)


@pytest.mark.slow
def test_store_that_is_away_is_found(tmp_path: Path) -> None:
    """Nobody listens at its address."""
    pytest.importorskip("boto3", reason="the extra [s3] is not installed here")

    found = check_servers.store_check(with_s3(settings_in(tmp_path)))

    assert ("broken", "aws s3 ls s3://films --endpoint-url http://127.0.0.1:9") == (found.verdict, found.fix)
    assert "cannot be reached" in found.found
