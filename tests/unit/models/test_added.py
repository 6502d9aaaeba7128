"""Models from outside: taken in whole and described, or refused with one clear line and no trace."""

from __future__ import annotations

import hashlib
import io
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPMessage
from pathlib import Path

import pytest

from tests.support import tiny_models
from tests.support.tiny_models import Form
from upscale_server.errors import BadRequest, MissingExtra, ModelInvalid, ModelMissing, StorageError, UpscaleError
from upscale_server.models import added, catalogue, extras, redirects
from upscale_server.models.added import Addition, add, path_of
from upscale_server.models.load import load


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """Give a x3 network of a user."""
    return tiny_models.convolutional(tmp_path / "mine.onnx", Form(scale=3, channels=3), tail="resize_sum")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give the folder of added models, which is not there yet."""
    return tmp_path / "state" / "models"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_an_added_model_is_found_by_name_with_a_complete_card_and_runs(
    network: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was found out once is on the card; the original may go, and nothing is looked at again."""
    card = add(Addition(str(network), _sha256(network).upper(), licence="MIT"), folder)
    network.unlink()
    monkeypatch.setattr("upscale_server.models.engines.openvino.inspect", lambda *_: pytest.fail("inspected"))

    found = catalogue.find(str(path_of("mine", folder)), 3)

    assert card == found
    assert ("mine", 3, "rgb", "MIT") == (found.name, found.scale, found.domain, found.licence)
    assert [found] == added.added(folder)
    assert ["mine.json", "mine.onnx"] == _left(folder)
    with closing(load(found)) as loaded:
        assert loaded.working.self_test_psnr >= 45


def test_a_fixed_shape_survives_the_card(tmp_path: Path, folder: Path) -> None:
    """JSON has lists only; the card has a pair again."""
    network = tiny_models.nearest(tmp_path / "fixed.onnx", Form(size=(40, 48)))

    assert (40, 48) == add(Addition(str(network)), folder).fixed_size
    assert (40, 48) == added.added(folder)[0].fixed_size


def test_what_stands_on_a_card_beside_the_file_is_believed(tmp_path: Path, folder: Path) -> None:
    """A user may know more than a trial shows."""
    network = tiny_models.nearest(tmp_path / "known.onnx", Form())
    network.with_suffix(".json").write_text('{"receptive_field": 33, "licence": "CC0"}', "utf-8")

    card = add(Addition(str(network), name="other"), folder)

    assert ("other", 33, "CC0", 2) == (card.name, card.receptive_field, card.licence, card.scale)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (tiny_models.classifier, "no super-resolution model|output of shape"),
        (tiny_models.two_inputs, "takes 2 inputs"),
        (tiny_models.inverted, "no super-resolution model"),
        (tiny_models.never_finite, "not finite"),
        (lambda path: path.write_bytes(b"\x80\x04cos\nsystem\n(S'true'\ntR."), "no readable ONNX model"),
        (lambda path: _truncate(tiny_models.convolutional(path, Form())), "no readable ONNX model"),
    ],
)
def test_a_file_that_is_no_model_is_refused_without_a_trace(
    tmp_path: Path, folder: Path, make: Callable[[Path], object], said: str
) -> None:
    """A classifier, a pickle with code, half a file: one line each, and nothing is run of them or kept."""
    path = tmp_path / "wrong.onnx"
    make(path)

    with pytest.raises(ModelInvalid, match=said) as caught:
        add(Addition(str(path)), folder)

    assert ".adding-" not in caught.value.detail

    assert [] == _left(folder)


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"sha256": "0" * 64}, ModelInvalid, "has SHA-256"),
        ({"scale": 2}, ModelInvalid, "is a model of scale 3; asked for was 2"),
        ({"name": "../out"}, BadRequest, "name is '../out'"),
        ({"name": "fast"}, BadRequest, "there is a model fast already"),
        ({"name": "fast-x2"}, BadRequest, "there is a model fast-x2 already"),
        ({"source": "missing.onnx"}, ModelMissing, "there is no model file missing.onnx"),
        ({"source": "http://host/m.onnx", "sha256": "0" * 64}, BadRequest, "needs https and --sha256"),
        ({"source": "https://host/m.onnx"}, BadRequest, "needs https and --sha256"),
        ({"source": "file:///m.onnx", "sha256": "0" * 64}, BadRequest, "needs https and --sha256"),
    ],
)
def test_what_cannot_be_added_is_named(
    network: Path, folder: Path, changes: dict[str, object], kind: type[UpscaleError], said: str
) -> None:
    """The wrong bytes, another scale, a name that leads elsewhere or is taken, an address without proof."""
    with pytest.raises(kind, match=said):
        add(Addition(**{"source": str(network), **changes}), folder)  # type: ignore[arg-type]

    assert [] == _left(folder)


def test_a_name_is_given_once(network: Path, folder: Path) -> None:
    """A plan that names a model must not get another one later."""
    add(Addition(str(network)), folder)

    with pytest.raises(BadRequest, match="there is a model mine already"):
        add(Addition(str(network)), folder)


def test_an_added_model_that_was_changed_is_refused(network: Path, folder: Path) -> None:
    """The bytes must be those on the card."""
    card = add(Addition(str(network)), folder)
    Path(card.path).write_bytes(b"others")

    with pytest.raises(ModelInvalid, match="its card says"):
        catalogue.find(str(path_of("mine", folder)), 3)


def test_an_address_is_loaded_and_held_against_its_hash(
    network: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is the last part of the address."""
    content = network.read_bytes()
    monkeypatch.setattr(added, "open_address", lambda *_, **__: io.BytesIO(content))

    card = add(Addition("https://host/models/mine.onnx?download=1", _sha256(network)), folder)

    assert ("mine", 3) == (card.name, card.scale)


def test_an_address_that_does_not_answer_or_answers_too_much_is_refused(
    network: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An endless answer ends at the limit."""
    asked = Addition("https://host/mine.onnx", _sha256(network))
    monkeypatch.setattr(added, "LARGEST_MODEL_BYTES", 100)
    monkeypatch.setattr(added, "open_address", lambda *_, **__: io.BytesIO(bytes(5000)))
    with pytest.raises(ModelInvalid, match="larger than 100 bytes"):
        add(asked, folder)

    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.URLError("connection refused")

    monkeypatch.setattr(added, "open_address", refuse)
    with pytest.raises(ModelMissing, match="does not answer with a model: connection refused"):
        add(asked, folder)

    assert [] == _left(folder)


@pytest.mark.parametrize(
    ("url", "place", "fault"),
    [
        ("http://host/mine.onnx", "93.184.216.34", "which is not https"),
        ("https://host/mine.onnx", "10.1.2.3", r"host, which is the private address 10\.1\.2\.3"),
        ("https://host/mine.onnx", "169.254.169.254", "private address"),
        ("https://[::1]/mine.onnx", "::1", "private address ::1"),
        ("file:///etc/passwd", "", "which is not https"),
        ("https://host/mine.onnx", "93.184.216.34", None),
    ],
)
def test_a_redirect_leads_to_https_on_a_public_host_or_nowhere(
    monkeypatch: pytest.MonkeyPatch, url: str, place: str, fault: str | None
) -> None:
    """A public address cannot send us to a service inside the house; the handler is the one that opening uses."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(0, 0, 0, "", (place, 443))])
    handler = redirects._PublicOnly()
    request = urllib.request.Request("https://public/mine.onnx")

    if fault is None:
        following = handler.redirect_request(request, io.BytesIO(), 302, "Found", HTTPMessage(), url)
        assert following is not None
        assert url == following.full_url
        return
    with pytest.raises(OSError, match=fault):
        handler.redirect_request(request, io.BytesIO(), 302, "Found", HTTPMessage(), url)


def test_a_folder_that_cannot_be_written_is_named(network: Path, tmp_path: Path) -> None:
    """The disk's own reason is given."""
    (tmp_path / "file").write_text("in the way", encoding="utf-8")

    with pytest.raises(StorageError, match="cannot be written: not a directory"):
        add(Addition(str(network)), tmp_path / "file" / "models")


@pytest.mark.parametrize("name", [None, "fast", "lanczos", "other.onnx", "../mine", "/mine"])
def test_other_names_are_left_as_they_are(network: Path, folder: Path, name: str | None) -> None:
    """Only the name of an added model is its file."""
    add(Addition(str(network)), folder)

    assert name == path_of(name, folder)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_checkpoint_without_torch_names_the_extra(
    tmp_path: Path, folder: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is fetched that cannot be read."""
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    path = tmp_path / f"mine{suffix}"
    path.write_bytes(b"weights")

    with pytest.raises(MissingExtra, match=rf"mine{suffix} needs the extra \[torch\]") as caught:
        add(Addition(str(path), allow_pickle=True), folder)

    assert "pip install 'upscale-server[torch]'" == caught.value.hint
    assert [] == _left(folder)


def test_a_pickle_without_leave_is_refused_before_anything_else(tmp_path: Path, folder: Path) -> None:
    """Whether torch is here does not matter."""
    with pytest.raises(BadRequest, match="is a pickle, which can hold code"):
        add(Addition(str(tmp_path / "mine.pth")), folder)


def test_metadata_that_is_named_wins_over_the_card_beside(network: Path, tmp_path: Path, folder: Path) -> None:
    """OpenModelDB's entry for an ONNX file: its words are taken, its numbers held against what is found."""
    network.with_suffix(".json").write_text('{"licence": "MIT"}', "utf-8")
    told = tmp_path / "entry.json"
    told.write_text('{"name": "Mine", "author": "me", "license": "CC0-1.0", "scale": 3}', "utf-8")

    card = add(Addition(str(network), metadata=str(told)), folder)

    assert ("Mine by me", "CC0-1.0", 3) == (card.summary, card.licence, card.scale)
