"""`upscale models pull tsdsr`: consent first, then what is fetched from a hub on loopback and held to account."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli_runner import Ran, run_here
from tests.support.hub_server import COMMIT, StandInHub, hub
from tests.support.tiny_weights import embeddings, laid_out, lora, safetensors, sd3
from upscale_server.errors import (
    BadRequest,
    DiskFull,
    Forbidden,
    MissingExtra,
    ModelInvalid,
    ModelMissing,
)
from upscale_server.models.hub import Hub
from upscale_server.models.pull import SD3, Pull, Pulled, pull
from upscale_server.models.tsdsr import TsdsrOptions
from upscale_server.models.tsdsr.files import missing
from upscale_server.models.weights_check import check_embeddings, check_lora, check_sd3, read_pins, tensors_in

pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed here; it comes with the extra [tsdsr]")
FIXTURE = Path(__file__).parents[4] / "shared" / "fixtures" / "tsdsr"


@pytest.fixture(autouse=True)
def _no_token_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the token of the person who runs the tests where it is."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no token"))


@pytest.fixture
def served() -> Iterator[StandInHub]:
    """Give a hub with SD3 and a repository with the rest."""
    with hub(stabilityai__model=sd3(), me__tsdsr={**lora(), **embeddings()}) as running:
        running.files[SD3] = running.files.pop("stabilityai/model")
        yield running


def pulled(served: StandInHub, folder: Path, *, yes: bool = True, **asked: Any) -> Pulled:  # noqa: ANN401 - Pull's own
    """Pull everything from the hub."""
    return pull(Pull(folder, **{"lora": "me/tsdsr", **asked}), Hub(served.url, with_token=False), lambda _: yes)


@pytest.mark.slow
def test_everything_comes_from_the_hub_and_is_where_it_says(served: StandInHub, tmp_path: Path) -> None:
    """Three folders with the files that the model needs, and none of the text encoders' gigabytes."""
    found = pulled(served, tmp_path / "to")

    assert {part: tmp_path / "to" / part for part in ("sd3", "lora", "embeddings")} == found.folders
    for part, files in (("sd3", sd3()), ("lora", lora()), ("embeddings", embeddings())):
        for name, content in files.items():
            if not name.startswith("text_encoder"):
                assert content == (tmp_path / "to" / part / name).read_bytes()
    assert not [name for name in served.fetched if "text_encoder" in name]
    assert not list((tmp_path / "to").rglob(".cache"))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="sha256sum is not installed here")
def test_the_pins_are_what_sha256sum_checks(served: StandInHub, tmp_path: Path) -> None:
    """SHA256SUMS in the folder holds every file."""
    found = pulled(served, tmp_path / "to")
    command = ["sha256sum", "--check", "--strict", "SHA256SUMS"]

    done = subprocess.run(command, cwd=tmp_path / "to", capture_output=True, text=True, check=False)

    assert 0 == done.returncode, done.stdout
    assert len(found.files) == done.stdout.count(": OK")
    assert {name: sha256 for name, (_, sha256) in found.files.items()} == read_pins(tmp_path / "to" / "SHA256SUMS")


@pytest.mark.slow
def test_a_second_run_fetches_no_weights(served: StandInHub, tmp_path: Path) -> None:
    """What is there and right is left alone; what was damaged since is fetched again."""
    pulled(served, tmp_path / "to")
    served.fetched.clear()
    pulled(served, tmp_path / "to")
    assert [] == [name for name in served.fetched if not name.endswith("LICENSE.md")]

    (tmp_path / "to" / "lora" / "vae.safetensors").write_bytes(b"damaged")
    pulled(served, tmp_path / "to")

    assert ["me/tsdsr/vae.safetensors"] == [name for name in served.fetched if not name.endswith("LICENSE.md")]


@pytest.mark.slow
def test_the_models_own_licence_is_shown_before_anything_is_fetched(served: StandInHub, tmp_path: Path) -> None:
    """With our notice before it; a no ends it, and no weights have moved."""
    shown: list[str] = []

    def refuse(text: str) -> bool:
        shown.append(text)
        return False

    with pytest.raises(Forbidden, match="were not accepted"):
        pull(Pull(tmp_path / "to", lora="me/tsdsr"), Hub(served.url), refuse)

    assert "You may not do harm with this model." in shown[0]
    assert "Stability AI Community License" in shown[0]
    assert [f"{SD3}/LICENSE.md"] == served.fetched
    assert [] == list((tmp_path / "to").rglob("*.safetensors"))


@pytest.mark.slow
def test_a_gated_model_needs_the_users_token(
    served: StandInHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it: what to do, and no weights; with it: everything."""
    served.gated = True
    with pytest.raises(Forbidden, match="without your consent to its terms") as refused:
        pull(Pull(tmp_path / "to", lora="me/tsdsr"), Hub(served.url), lambda _: True)
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    pull(Pull(tmp_path / "to", lora="me/tsdsr"), Hub(served.url), lambda _: True)

    assert "HF_TOKEN" in str(refused.value.hint)
    assert (tmp_path / "to" / "sd3" / "vae" / "config.json").is_file()


@pytest.mark.slow
def test_a_mirror_does_not_get_the_users_token(
    served: StandInHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the hub's and not the mirror's, unless the user says otherwise."""
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    flags = ("models", "pull", "tsdsr", "--lora", "me/tsdsr", "--accept-licence", "--mirror", served.url)

    assert 0 == run_here(*flags, "--to", tmp_path / "a").exit_code
    assert {""} == served.tokens
    assert 0 == run_here(*flags, "--to", tmp_path / "b", "--send-token").exit_code
    assert {"", "Bearer hf_good"} == served.tokens


@pytest.mark.slow
def test_bytes_that_are_not_the_hubs_are_refused_and_removed(served: StandInHub, tmp_path: Path) -> None:
    """Of the right length and another SHA-256, as a bad mirror would send; the next run fetches the file again."""
    name = "transformer.safetensors"
    served.others[name] = bytes(len(lora()[name]))
    with pytest.raises(ModelInvalid, match="did not come as the hub describes it"):
        pulled(served, tmp_path / "to")
    assert not (tmp_path / "to" / "lora" / name).exists()

    served.others.clear()
    pulled(served, tmp_path / "to")

    assert lora()[name] == (tmp_path / "to" / "lora" / name).read_bytes()


@pytest.mark.slow
def test_a_download_that_breaks_off_goes_on(served: StandInHub, tmp_path: Path) -> None:
    """In the same run; the file is whole."""
    served.break_off.add("transformer/diffusion_pytorch_model.safetensors")

    pulled(served, tmp_path / "to")

    check_sd3(tmp_path / "to" / "sd3")


@pytest.mark.slow
def test_an_earlier_runs_pins_hold(served: StandInHub, tmp_path: Path) -> None:
    """A repository that has changed since is noticed, and nothing is accepted in silence."""
    pulled(served, tmp_path / "to")
    served.files["me/tsdsr"]["prompt_embeds.pt"] = embeddings()["pool_embeds.pt"]

    with pytest.raises(ModelInvalid, match=r"embeddings/prompt_embeds.pt has SHA-256 .*; .*SHA256SUMS says"):
        pulled(served, tmp_path / "to")


@pytest.mark.slow
def test_the_users_pins_hold(served: StandInHub, tmp_path: Path) -> None:
    """A file of SHA-256s from somebody the user trusts; a pinned file that is missing is wrong, too."""
    good = tmp_path / "pins"
    pulled(served, tmp_path / "first")
    shutil.copy(tmp_path / "first" / "SHA256SUMS", good)
    pulled(served, tmp_path / "second", pins=good)
    bad = tmp_path / "bad"
    bad.write_text(f"{'0' * 64}  lora/vae.safetensors\n")
    more = tmp_path / "more"
    more.write_text(f"{'0' * 64}  lora/other.safetensors\n")

    with pytest.raises(ModelInvalid, match=f"lora/vae.safetensors has SHA-256 .*; {bad} says 0000"):
        pulled(served, tmp_path / "third", pins=bad)
    with pytest.raises(ModelInvalid, match="it is not there"):
        pulled(served, tmp_path / "fourth", pins=more)
    with pytest.raises(BadRequest, match="cannot be read"):
        pulled(served, tmp_path / "fifth", pins=tmp_path / "gone")
    (tmp_path / "nonsense").write_text("what\n")
    with pytest.raises(BadRequest, match="have the line 'what'"):
        read_pins(tmp_path / "nonsense")


@pytest.mark.slow
def test_a_revision_is_the_commit_that_is_fetched(served: StandInHub, tmp_path: Path) -> None:
    """The right one passes, an unknown one is an error."""
    pulled(served, tmp_path / "to", revision=COMMIT)
    with pytest.raises(ModelMissing, match="the hub has no"):
        pulled(served, tmp_path / "to", revision="f" * 40)


def test_a_folder_with_everything_is_used_where_it_is(tmp_path: Path) -> None:
    """Nothing is fetched and nothing copied; the pins are kept in our own folder."""
    laid_out(tmp_path / "mine" / "stable", sd3())
    laid_out(tmp_path / "mine" / "checkpoint" / "tsdsr", lora())
    laid_out(tmp_path / "mine" / "checkpoint" / "tsdsr-mse", lora())
    laid_out(tmp_path / "mine" / "dataset" / "default", embeddings())

    found = pull(Pull(tmp_path / "to", everything=tmp_path / "mine"), Hub(), lambda _: True)

    assert {
        "sd3": tmp_path / "mine" / "stable",
        "lora": tmp_path / "mine" / "checkpoint" / "tsdsr",
        "embeddings": tmp_path / "mine" / "dataset" / "default",
    } == found.folders
    assert ["SHA256SUMS"] == [path.name for path in (tmp_path / "to").iterdir()]


@pytest.mark.slow
def test_folders_and_repositories_can_be_mixed(served: StandInHub, tmp_path: Path) -> None:
    """SD3 from the hub, what was got by a browser from a folder."""
    laid_out(tmp_path / "downloads", {**lora(), **embeddings()})

    found = pulled(served, tmp_path / "to", lora=str(tmp_path / "downloads"))

    assert (tmp_path / "to" / "sd3", tmp_path / "downloads") == (found.folders["sd3"], found.folders["lora"])


def test_what_cannot_work_is_said_before_gigabytes_are_fetched(served: StandInHub, tmp_path: Path) -> None:
    """No LoRA named, a wrong one, a name that is nothing, a repository without it: no byte has moved."""
    laid_out(tmp_path / "wrong", {**lora(), "vae.safetensors": safetensors("encoder.conv_in.weight"), **embeddings()})
    asked: tuple[tuple[dict[str, str], type[Exception], str], ...] = (
        ({"lora": ""}, BadRequest, "its authors have no repository on the hub"),
        ({"lora": str(tmp_path / "wrong")}, ModelInvalid, "of which 0 are TSD-SR's LoRA"),
        ({"lora": "nothing"}, ModelMissing, "neither a folder nor the name of a repository"),
        ({"lora": SD3}, ModelMissing, "has no transformer.safetensors"),
        ({"lora": "me/none"}, ModelMissing, "the hub has no me/none"),
    )

    for words, kind, said in asked:
        with pytest.raises(kind, match=said):
            pulled(served, tmp_path / "to", **words)

    assert [] == served.fetched


def test_a_folder_that_lacks_a_part_or_has_two_of_it_is_told(tmp_path: Path) -> None:
    """Which part, and what was expected."""
    laid_out(tmp_path / "one" / "a", sd3())
    with pytest.raises(ModelMissing, match="holds no lora: expected transformer"):
        pull(Pull(tmp_path / "to", everything=tmp_path / "one"), Hub(), lambda _: True)
    laid_out(tmp_path / "one" / "b", sd3())
    with pytest.raises(BadRequest, match="holds several of sd3"):
        pull(Pull(tmp_path / "to", everything=tmp_path / "one"), Hub(), lambda _: True)
    with pytest.raises(ModelMissing, match="there is no folder"):
        pull(Pull(tmp_path / "to", everything=tmp_path / "gone"), Hub(), lambda _: True)


def test_a_disk_without_room_is_told_before_the_download(
    served: StandInHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both numbers, and no weights."""
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=1000))

    with pytest.raises(DiskFull, match="1000 are free"):
        pulled(served, tmp_path / "to")

    assert [] == [name for name in served.fetched if name.endswith(".safetensors")]


@pytest.mark.slow
def test_a_hub_cannot_choose_where_we_write(served: StandInHub, tmp_path: Path) -> None:
    """Names that lead out of the folder, or deeper into it, are not what we asked for."""
    for name in ("transformer/../../../evil.safetensors", "transformer/deep/evil.safetensors"):
        served.files[SD3][name] = safetensors("evil")

    pulled(served, tmp_path / "to")

    assert [] == list(tmp_path.rglob("evil*"))


@pytest.mark.slow
def test_of_two_precisions_the_plain_one_is_fetched(served: StandInHub, tmp_path: Path) -> None:
    """A repository may hold the same weights twice."""
    served.files[SD3]["vae/diffusion_pytorch_model.fp16.safetensors"] = safetensors("x")

    pulled(served, tmp_path / "to")

    assert not (tmp_path / "to" / "sd3" / "vae" / "diffusion_pytorch_model.fp16.safetensors").exists()


@pytest.mark.slow
def test_what_was_pulled_is_all_that_the_server_asks_for(served: StandInHub, tmp_path: Path) -> None:
    """The folders satisfy the list by which a server decides whether TSD-SR can be loaded."""
    folders = pulled(served, tmp_path / "to").folders

    options = TsdsrOptions(str(folders["sd3"]), str(folders["lora"]), str(folders["embeddings"]))

    assert () == missing(options)


@pytest.mark.parametrize("name", ["diffusion_pytorch_model.fp16", "diffusion_pytorch_model-00001-of-00001"])
def test_weights_that_the_server_would_not_open_are_refused(served: StandInHub, tmp_path: Path, name: str) -> None:
    """Shards and fp16 alone: from a hub before anything is fetched, and from a folder with what to do."""
    plain, other = (f"transformer/{one}.safetensors" for one in ("diffusion_pytorch_model", name))
    served.files[SD3][other] = served.files[SD3].pop(plain)
    laid_out(tmp_path / "mine", served.files[SD3])

    with pytest.raises(ModelMissing, match=f"has no {plain}"):
        pulled(served, tmp_path / "to")
    with pytest.raises(ModelMissing, match=f"there is no file .*, only {name}") as refused:
        check_sd3(tmp_path / "mine")

    assert [] == [one for one in served.fetched if one.endswith(".safetensors")]
    assert "in one file" in str(refused.value.hint)


def test_a_hub_that_does_not_answer_is_said(tmp_path: Path) -> None:
    """With what can be done instead."""
    with pytest.raises(ModelMissing, match="cannot be fetched") as raised:
        pull(Pull(tmp_path, lora="me/tsdsr"), Hub("http://127.0.0.1:9"), lambda _: True)

    assert "--from takes a folder" in str(raised.value.hint)


def test_without_the_library_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders need no library; a repository does."""
    monkeypatch.setattr("upscale_server.models.hub.find_spec", lambda _: None)
    laid_out(tmp_path / "mine", sd3())
    laid_out(tmp_path / "mine" / "rest", {**lora(), **embeddings()})

    pull(Pull(tmp_path / "to", everything=tmp_path / "mine"), Hub(), lambda _: True)
    with pytest.raises(MissingExtra, match=r"extra \[tsdsr\]"):
        pull(Pull(tmp_path / "to", lora=str(tmp_path / "mine" / "rest")), Hub(), lambda _: True)


@pytest.mark.parametrize(
    "mirror",
    [
        "http://mirror.test",
        "mirror.test",
        "https://",
        "http://[::1",
        "http://127.0.0.1.mirror.test",
        "http://localhost.mirror.test:80",
        "http://127.0.0.1:80@mirror.test",
        "ftp://localhost",
    ],
)
def test_a_mirror_without_tls_is_refused(mirror: str) -> None:
    """With --send-token the token would go out in clear, also to a name that only begins like this machine's."""
    with pytest.raises(BadRequest):
        Hub(mirror)


@pytest.mark.parametrize(
    "mirror", ["https://mirror.test/hub", "http://127.0.0.1:8000", "http://localhost", "http://[::1]:80"]
)
def test_a_mirror_has_tls_or_is_this_machine(mirror: str) -> None:
    """Both are taken."""
    Hub(mirror)


@pytest.mark.parametrize(
    ("name", "content", "kind", "said"),
    [
        ("transformer/config.json", b'{"_class_name": "UNet2DConditionModel"}', ModelInvalid, "UNet2DConditionModel"),
        ("transformer/config.json", b"[]", ModelInvalid, "no JSON object"),
        ("vae/config.json", b"{", ModelInvalid, "no JSON"),
        ("vae/config.json", None, ModelMissing, "there is no file"),
        ("vae/diffusion_pytorch_model.safetensors", None, ModelMissing, "there is no file"),
        ("vae/diffusion_pytorch_model.safetensors", b"<html>", ModelInvalid, "no safetensors file"),
        ("vae/diffusion_pytorch_model.safetensors", safetensors("a", "b")[:-1], ModelInvalid, "its head says"),
        ("vae/diffusion_pytorch_model.safetensors", safetensors("a")[:20], ModelInvalid, "no safetensors file"),
        (
            "transformer/model.safetensors.index.json",
            b'{"weight_map": {"a": "gone-00001-of-00002.safetensors"}}',
            ModelMissing,
            "names gone-00001",
        ),
    ],
)
def test_a_folder_that_is_not_sd3_is_told(
    tmp_path: Path, name: str, content: bytes | None, kind: type[Exception], said: str
) -> None:
    """Each mistake with its file."""
    laid_out(tmp_path, sd3())
    check_sd3(tmp_path)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)

    with pytest.raises(kind, match=said):
        check_sd3(tmp_path)


def test_lora_and_embeddings_of_another_kind_are_told(tmp_path: Path) -> None:
    """Other names, another format, nothing there."""
    laid_out(tmp_path, {**lora(), **embeddings()})
    check_lora(tmp_path)
    check_embeddings(tmp_path)
    (tmp_path / "vae.safetensors").write_bytes(
        safetensors("transformer.encoder.conv_in.lora_A.weight", "transformer.encoder.conv_in.weight")
    )
    (tmp_path / "pool_embeds.pt").write_bytes(b"\x80\x02}")

    with pytest.raises(ModelInvalid, match="2 tensors of which 1 are"):
        check_lora(tmp_path)
    with pytest.raises(ModelInvalid, match="no tensor that torch saved"):
        check_embeddings(tmp_path)
    (tmp_path / "pool_embeds.pt").unlink()
    with pytest.raises(ModelMissing, match="there is no file"):
        check_embeddings(tmp_path)
    with pytest.raises(ModelMissing, match="there is no file"):
        tensors_in(tmp_path / "gone.safetensors")


def command(*arguments: str | Path) -> Ran:
    """Run `upscale models pull`."""
    return run_here("models", "pull", *arguments)


def test_the_command_prints_what_to_set(tmp_path: Path) -> None:
    """Settings on stdout, ready for a shell; licences, sizes and SHA-256 on stderr."""
    mine = laid_out(tmp_path / "my models", {**lora(), **embeddings()})
    laid_out(mine, sd3())

    ran = command("tsdsr", "--from", mine, "--to", tmp_path / "to", "--accept-licence")

    assert 0 == ran.exit_code, ran.stderr
    assert [
        f"export UPSCALE_TSDSR__{name}_DIR='{mine}'" for name in ("SD3", "LORA", "EMBEDDINGS")
    ] == ran.stdout.splitlines()
    assert "You may not do harm" in ran.stderr
    assert "vae/diffusion_pytorch_model.safetensors" in ran.stderr


def test_the_command_speaks_json(tmp_path: Path) -> None:
    """Settings and files with their SHA-256."""
    mine = laid_out(tmp_path / "mine", {**sd3(), **lora(), **embeddings()})

    found = command("tsdsr", "--from", mine, "--to", tmp_path / "to", "--accept-license", "--json").report

    assert str(mine) == found["settings"]["UPSCALE_TSDSR__SD3_DIR"]
    assert 64 == len(found["files"]["embeddings/pool_embeds.pt"]["sha256"])


def test_the_command_takes_no_answer_for_a_no(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script without a terminal must say --accept-licence; a person at one is asked, and the default is no."""
    mine = laid_out(tmp_path / "mine", {**sd3(), **lora(), **embeddings()})
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    silent = command("tsdsr", "--from", mine, "--to", tmp_path / "to")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", lambda *_, default, **__: default)
    person = command("tsdsr", "--from", mine, "--to", tmp_path / "to")

    assert (1, 1) == (silent.exit_code, person.exit_code)
    assert "--accept-licence" in silent.stderr
    assert not (tmp_path / "to" / "SHA256SUMS").exists()


def test_the_command_knows_tsdsr_alone(tmp_path: Path) -> None:
    """Other models are added, not pulled."""
    ran = command("esrgan", "--to", tmp_path)

    assert 2 == ran.exit_code
    assert "upscale models add" in ran.stderr


@pytest.mark.skipif(not FIXTURE.is_dir(), reason="the parity fixture is not here")
def test_the_real_layout_passes(tmp_path: Path) -> None:
    """The fixture has the files that diffusers, peft and torch really wrote."""
    found = json.loads(command("tsdsr", "--from", FIXTURE, "--to", tmp_path, "--accept-licence", "--json").stdout)

    assert str((FIXTURE / "checkpoint" / "tsdsr").resolve()) == found["settings"]["UPSCALE_TSDSR__LORA_DIR"]
