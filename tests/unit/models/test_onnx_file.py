"""An ONNX file is one file: what a tensor says of another one is never opened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from tests.support.tiny_models import Form, bilinear, convolutional
from upscale_server.errors import ModelInvalid
from upscale_server.models import catalogue
from upscale_server.models.added import Addition, add
from upscale_server.models.onnx_file import refuse_other_files

Harm = Callable[[onnx.ModelProto], None]


def _outside(tensor: TensorProto, location: str) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location


def _initializer(model: onnx.ModelProto) -> None:
    _outside(model.graph.initializer[0], "../../etc/passwd")


def _location_alone(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL


def _constant(model: onnx.ModelProto) -> None:
    node = helper.make_node("Constant", [], ["unused"], value=helper.make_tensor("t", 1, [1], [0.0]))
    _outside(node.attribute[0].t, "beside.bin")
    model.graph.node.append(node)


def _branch(model: onnx.ModelProto) -> None:
    inner = helper.make_graph([], "inner", [], [], [helper.make_tensor("t", 1, [1], [0.0])])
    _outside(inner.initializer[0], "/etc/passwd")
    model.graph.node.append(helper.make_node("If", ["lr"], ["unused"], then_branch=inner, else_branch=inner))


def _sparse(model: onnx.ModelProto) -> None:
    values = helper.make_tensor("t", 1, [1], [0.0])
    _outside(values, "beside.bin")
    sparse = helper.make_sparse_tensor(values, helper.make_tensor("i", TensorProto.INT64, [1], [0]), [1])
    model.graph.sparse_initializer.append(sparse)


@pytest.mark.parametrize("harm", [_initializer, _location_alone, _constant, _branch, _sparse])
def test_weights_in_another_file_are_refused(tmp_path: Path, harm: Harm) -> None:
    """Wherever the tensor stands in the model, and wherever it points."""
    path = bilinear(tmp_path / "net.onnx", Form())
    model = onnx.load(path)
    harm(model)
    path.write_bytes(model.SerializeToString())

    with pytest.raises(ModelInvalid, match="keeps weights in another file"):
        catalogue.find(str(path), 2)
    with pytest.raises(ModelInvalid, match="keeps weights in another file"):
        add(Addition(str(path)), tmp_path / "added")


@pytest.mark.parametrize("tag", [b"\xaa\x80\x80\x80\x10", b"\xaa\x80\x80\x80\x80\x00", b"\x02"])
def test_no_field_has_a_number_that_readers_cut(tmp_path: Path, tag: bytes) -> None:
    """2**29 + 5 is no field of a graph here, and the tensors of field 5 for a reader that takes 32 bits of it."""
    path = bilinear(tmp_path / "net.onnx", Form())
    model = onnx.load(path)
    _initializer(model)
    tensor = model.graph.initializer[0].SerializeToString()
    del model.graph.initializer[:]
    graph = model.graph.SerializeToString() + tag + _varint(len(tensor)) + tensor
    model.ClearField("graph")
    path.write_bytes(model.SerializeToString() + b"\x3a" + _varint(len(graph)) + graph)

    with pytest.raises(ModelInvalid, match=r"net\.onnx is no readable ONNX model"):
        refuse_other_files(path)


def _varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])


def test_models_of_one_file_are_taken(tmp_path: Path) -> None:
    """Ours, and those of the tests."""
    for path in (*catalogue.BUILTIN.glob("*.onnx"), convolutional(tmp_path / "net.onnx", Form())):
        refuse_other_files(path)


@pytest.mark.parametrize("content", [b"", b"\x00", b"\xff" * 40, b"\x3a\xff\x7f", b"<net></net>"])
def test_what_is_no_onnx_is_refused(tmp_path: Path, content: bytes) -> None:
    """A reader that understands less than the runtime must not let through what that understands."""
    path = tmp_path / "net.onnx"
    path.write_bytes(content)

    with pytest.raises(ModelInvalid, match=r"net\.onnx is no readable ONNX model"):
        refuse_other_files(path)


def test_graphs_without_end_are_refused(tmp_path: Path) -> None:
    """Nesting is a way to exhaust a stack."""
    graph = onnx.GraphProto()
    for _ in range(25):
        outer = onnx.GraphProto()
        attribute = outer.node.add().attribute.add()
        attribute.g.CopyFrom(graph)
        graph = outer
    path = tmp_path / "net.onnx"
    path.write_bytes(onnx.ModelProto(graph=graph).SerializeToString())

    with pytest.raises(ModelInvalid, match="nested too deeply"):
        refuse_other_files(path)
