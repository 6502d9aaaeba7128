"""The parallel PNG writer: every reader reads it, it says what was given, and it says it in the same bytes."""

from __future__ import annotations

import io
import os
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from upscale_server.media import image_deep
from upscale_server.media.png import SIGNATURE, encode_png


def noise(*shape: int, bits: int = 8) -> np.ndarray:
    """Return samples that no filter makes small."""
    return np.random.default_rng(sum(shape)).integers(0, 2**bits, shape).astype(np.uint8 if bits == 8 else np.uint16)


def smooth(height: int, width: int) -> np.ndarray:
    """Return samples that differ little from their neighbours."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x // 3, y // 3, (x + y) // 5], axis=2).astype(np.uint8)


def read(png: bytes) -> np.ndarray:
    """Return the samples of a PNG with Pillow, `(H, W, C)`."""
    image = Image.open(io.BytesIO(png))
    image.load()
    samples = np.asarray(image)
    return samples.reshape(*samples.shape[:2], -1)


def chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    """Return names and bodies; each checksum must hold."""
    found, at = [], len(SIGNATURE)
    while at < len(png):
        length, name = struct.unpack_from(">I4s", png, at)
        body = png[at + 8 : at + 8 + length]
        assert zlib.crc32(name + body) == struct.unpack_from(">I", png, at + 8 + length)[0]
        found.append((name, body))
        at += 12 + length
    return found


@pytest.mark.slow
@given(height=st.integers(1, 40), width=st.integers(1, 40), channels=st.integers(1, 4))
def test_any_size_and_kind_comes_back_as_it_was(height: int, width: int, channels: int) -> None:
    """Gray and RGB, with and without alpha, at 8 bits."""
    samples = noise(height, width, channels)

    assert np.array_equal(samples, read(encode_png(samples)))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bits_come_back_whole(channels: int) -> None:
    """Read by FFmpeg, because Pillow drops the lower eight bits of colours."""
    samples = noise(50, 31, channels, bits=16)

    found = image_deep.decode(encode_png(samples), "PNG")

    assert found is not None
    assert np.array_equal(samples, found)


@pytest.mark.parametrize("samples", [noise(900, 1500, 3), smooth(1500, 1400), noise(2500, 1200, 1)])
def test_many_strips_are_one_stream(samples: np.ndarray) -> None:
    """Rows at the strips' borders refer to each other; the stream has one head and one checksum, which zlib checks."""
    png = encode_png(samples)

    bodies = [body for name, body in chunks(png) if name == b"IDAT"]
    raw = zlib.decompress(b"".join(bodies))
    assert len(bodies) > 4
    assert samples.shape[0] * (samples.shape[1] * samples.shape[2] + 1) == len(raw)
    assert np.array_equal(samples, read(png))


@pytest.mark.slow
def test_the_bytes_do_not_depend_on_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """One core or seven write the same file."""
    samples = smooth(1500, 1400)
    files = set()

    for count in (1, 2, 7):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, count=count: set(range(count)))
        files.add(encode_png(samples))

    assert 1 == len(files)


@pytest.mark.slow
def test_a_photograph_is_hardly_larger_than_pillow_makes_it_at_the_same_level(repository: object) -> None:
    """Differences are what is compressed: without filters a smooth picture would be several times as large."""
    del repository
    samples = smooth(800, 800)
    rough = (samples.astype(np.int16) + np.random.default_rng(3).integers(-3, 4, samples.shape)).clip(0, 255)
    samples = rough.astype(np.uint8)
    output = io.BytesIO()

    Image.fromarray(samples).save(output, "PNG", compress_level=1)

    # Pillow chooses a filter for each row, this one for each strip; 1.1 is what that may cost.
    assert len(encode_png(samples)) < 1.1 * output.tell()
