"""An unknown ONNX file is understood, or refused with a reason that its owner can act on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import tiny_models
from tests.support.tiny_models import Form
from upscale_server.errors import ModelInvalid, ModelMissing
from upscale_server.models.card import ModelCard
from upscale_server.models.catalogue import available
from upscale_server.models.engines.openvino import inspect


def _card(path: Path) -> ModelCard:
    return ModelCard(name=path.stem, scale=0, domain="luma", path=str(path))


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (Form(), (2, "luma", "NCHW", None)),
        (Form(scale=4, channels=3), (4, "rgb", "NCHW", None)),
        (Form(layout="NHWC"), (2, "luma", "NHWC", None)),
        (Form(layout="NHWC", channels=3, size=(24, 40)), (2, "rgb", "NHWC", (24, 40))),
        (Form(scale=3, size=(40, 24)), (3, "luma", "NCHW", (40, 24))),
        (Form(scale=8, element=tiny_models.HALF), (8, "luma", "NCHW", None)),
    ],
)
def test_scale_channels_layout_and_size_are_found(
    tmp_path: Path, form: Form, expected: tuple[int, str, str, tuple[int, int] | None]
) -> None:
    """All of it is read off the input and off one trial run."""
    card = inspect(_card(tiny_models.nearest(tmp_path / "model.onnx", form)))

    assert expected == (card.scale, card.domain, card.layout, card.fixed_size)


def test_a_network_made_for_255_is_recognised(tmp_path: Path) -> None:
    """The range in which the network keeps its picture is the one it was made for."""
    card = inspect(_card(tiny_models.of_range_255(tmp_path / "model.onnx", Form())))

    assert 255.0 == card.value_range


@pytest.mark.parametrize("value_range", [1.0, 255.0])
def test_a_trained_network_is_understood_without_its_card(tmp_path: Path, value_range: float) -> None:
    """One of ours, as it is and rewritten to take 0 to 255, is recognised for what its card says."""
    ours = next(card for card in available() if card.path)
    path = tiny_models.rescaled(Path(ours.path), tmp_path / "stranger.onnx", value_range)

    card = inspect(_card(path))

    assert (value_range, ours.scale, ours.domain) == (card.value_range, card.scale, card.domain)
    assert (ours.receptive_field, ours.size_multiple) == (card.receptive_field, card.size_multiple)


def test_a_linear_network_counts_as_one_of_range_1(tmp_path: Path) -> None:
    """Where both ranges do, the usual one is taken."""
    card = inspect(_card(tiny_models.nearest(tmp_path / "model.onnx", Form())))

    assert 1.0 == card.value_range


def test_an_integer_input_means_255(tmp_path: Path) -> None:
    """Bytes leave no choice."""
    card = inspect(_card(tiny_models.nearest(tmp_path / "model.onnx", Form(element=tiny_models.BYTE))))

    assert 255.0 == card.value_range


def test_the_reach_of_the_convolutions_becomes_the_overlap(tmp_path: Path) -> None:
    """Five 3x3 convolutions in a row reach five pixels."""
    card = inspect(_card(tiny_models.convolutional(tmp_path / "model.onnx", Form(), body=3)))

    assert 5 == card.receptive_field


def test_a_network_that_halves_its_input_first_gets_a_size_multiple(tmp_path: Path) -> None:
    """Pictures are padded for networks that cannot take every size."""
    card = inspect(_card(tiny_models.unshuffling(tmp_path / "model.onnx")))

    assert (2, 2) == (card.scale, card.size_multiple)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (tiny_models.two_inputs, r"takes 2 inputs \(lr, reference\); expected one picture"),
        (tiny_models.one_and_a_half, "expected the same whole factor"),
        (tiny_models.same_size, "expected the same whole factor"),
        (tiny_models.classifier, "expected one picture"),
        (tiny_models.sequence, "expected a picture with batch and channels"),
        (tiny_models.inverted, "differs from its input by 0"),
        (tiny_models.never_finite, "not finite on a plain test picture"),
        (lambda path: tiny_models.nearest(path, Form(channels=4)), "expected 1 or 3 colour channels"),
    ],
)
def test_what_is_no_super_resolution_is_refused(tmp_path: Path, make: Callable[[Path], Path], reason: str) -> None:
    """The message says what was found and what was expected."""
    with pytest.raises(ModelInvalid, match=reason):
        inspect(_card(make(tmp_path / "model.onnx")))


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x09" * 400, b"\x89PNG\r\n\x1a\n"])
def test_garbage_is_refused(tmp_path: Path, content: bytes) -> None:
    """Any bytes named .onnx end with one clear error."""
    path = tmp_path / "garbage.onnx"
    path.write_bytes(content)

    with pytest.raises(ModelInvalid, match=r"garbage\.onnx is no readable ONNX model"):
        inspect(_card(path))


def test_a_truncated_model_is_refused(tmp_path: Path) -> None:
    """Half a download is no model."""
    path = tiny_models.convolutional(tmp_path / "model.onnx", Form())
    path.write_bytes(path.read_bytes()[:-2000])

    with pytest.raises(ModelInvalid, match="no readable ONNX model"):
        inspect(_card(path))


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    """That is another error, with another answer."""
    with pytest.raises(ModelMissing, match=r"no model file .*none\.onnx"):
        inspect(_card(tmp_path / "none.onnx"))


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    """A directory named .onnx is not opened."""
    (tmp_path / "folder.onnx").mkdir()

    with pytest.raises(ModelMissing):
        inspect(_card(tmp_path / "folder.onnx"))


@pytest.mark.slow
def test_a_network_of_one_size_is_taken_where_its_card_says_so(tmp_path: Path) -> None:
    """A x1 network restores pictures; by its looks alone it could be anything."""
    path = tiny_models.same_size(tmp_path / "model.onnx")

    assert 1 == inspect(replace(_card(path), scale=1), frozenset({"scale"})).scale
    with pytest.raises(ModelInvalid, match="expected the same whole factor"):
        inspect(replace(_card(path), scale=1))
