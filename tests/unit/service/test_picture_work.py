"""One picture through the service: every format in, what it holds kept, the exact size out."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.support.image_served import image_settings, opened, picture_file
from upscale_server.errors import OutOfMemory, TooManyPixels
from upscale_server.media import image_deep
from upscale_server.media.image import load_bytes
from upscale_server.media.types import Size
from upscale_server.service import memory_check
from upscale_server.service.picture_facts import Ask
from upscale_server.service.picture_models import FamilyModels, PictureModels
from upscale_server.service.picture_work import Made, Wish, make
from upscale_server.settings import Limits

READ = ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000", "PPM", "TGA", "ICO"]
LIMITS = Limits()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PictureModels]:
    """Give Lanczos, which needs no time."""
    loaded = FamilyModels(image_settings(tmp_path_factory.mktemp("state")), "lanczos")
    yield loaded
    loaded.close()


def made(content: bytes, models: PictureModels, factor: int = 2, **words: object) -> Made:
    """Enlarge a picture."""
    return make(partial(load_bytes, content, "in"), "in", Wish(Ask(factor, 128), **words), models, LIMITS)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", READ)
@pytest.mark.parametrize("factor", [2, 4])
def test_every_format_of_the_contract_is_enlarged_exactly(kind: str, factor: int, models: PictureModels) -> None:
    """An 8-bit PNG of exactly the size, whose colours are those that were sent."""
    sent = picture_file(32, 32, kind)

    result = opened(made(sent, models, factor).content)

    assert ("PNG", (32 * factor, 32 * factor)) == (result.format, result.size)
    small = result.convert("RGB").resize((32, 32), Image.Resampling.BOX)
    expected = opened(sent).convert("RGB")
    difference = np.abs(np.asarray(small).astype(int) - np.asarray(expected).astype(int)).mean()
    assert difference < (6 if kind == "GIF" else 2)  # a GIF's 256 colours are noise that any kernel smooths


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "YCbCr"])
def test_every_mode_of_pixels_is_understood(mode: str, models: PictureModels) -> None:
    """Gray stays gray, alpha stays alpha, all others become RGB."""
    kind = {"CMYK": "TIFF", "YCbCr": "JPEG"}.get(mode, "PNG")
    expected = {"1": "L", "L": "L", "I;16": "L", "LA": "LA", "RGBA": "RGBA"}.get(mode, "RGB")
    output = io.BytesIO()
    image = opened(picture_file(20, 14))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * np.uint16(257))
    else:
        image = image.convert(mode)
    image.save(output, kind)

    result = opened(made(output.getvalue(), models).content)

    assert (expected, (40, 28)) == (result.mode, result.size)


def test_orientation_is_applied(models: PictureModels) -> None:
    """A picture that lies on its side comes out upright, and is not turned again by a viewer."""
    exif = Image.Exif()
    exif[0x0112] = 6

    result = opened(made(picture_file(30, 20, "JPEG", exif=exif), models).content)

    assert (40, 60) == result.size
    assert 1 == result.getexif().get(0x0112, 1)


def test_the_colour_profile_goes_along(models: PictureModels) -> None:
    """Of RGB as it was; CMYK comes out as sRGB with sRGB's profile or none, never with that of CMYK."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

    result = opened(made(picture_file(icc_profile=profile), models).content)
    from_cmyk = opened(made(picture_file(kind="TIFF", mode="CMYK", icc_profile=profile), models).content)

    assert profile == result.info["icc_profile"]
    assert "RGB" == from_cmyk.mode


def deep_file() -> bytes:
    """Return a 16-bit RGB PNG whose lower eight bits are not those of any 8-bit picture."""
    y, x = np.mgrid[0:24, 0:32]
    samples = np.stack([x * 2011, y * 2711, x * 997 + y * 31], axis=2).astype(np.uint16)
    return image_deep.encode_png(samples)


def test_sixteen_bits_come_out_as_eight_unless_asked_for(models: PictureModels) -> None:
    """The contract says 8; `bits=16` keeps them, and a warning says so where they are not kept."""
    plain, deep = made(deep_file(), models), made(deep_file(), models, bits=16)

    assert ["bits_reduced"] == [code for code, _ in plain.warnings]
    assert () == deep.warnings
    assert (8, 16) == (plain.content[24], deep.content[24])  # IHDR's bit depth
    samples = image_deep.decode(deep.content, "PNG")
    assert samples is not None
    assert len(np.unique(samples & 0xFF)) > 100
    assert np.abs((samples >> 8).astype(int) - np.asarray(opened(plain.content)).astype(int)).max() <= 1


def test_sixteen_bits_of_an_eight_bit_source_hold_what_the_network_computed(models: PictureModels) -> None:
    """Not the 8-bit result times 257: between two samples of a gradient lie finer ones."""
    samples = image_deep.decode(made(picture_file(), models, bits=16).content, "PNG")

    assert samples is not None
    assert (samples % 257 != 0).any()


@pytest.mark.parametrize(("name", "kind"), [("png", "PNG"), ("webp", "WEBP"), ("jpeg", "JPEG")])
def test_the_answer_is_written_as_asked(name: str, kind: str, models: PictureModels) -> None:
    """JPEG cannot hold alpha: it is laid over white, and that is a warning."""
    result = made(picture_file(mode="RGBA"), models, format=name)

    assert (kind, (64, 48)) == (opened(result.content).format, opened(result.content).size)
    assert (["alpha_dropped"] if name == "jpeg" else []) == [code for code, _ in result.warnings]


def test_a_side_that_the_format_cannot_hold_is_refused_on_the_header(models: PictureModels) -> None:
    """WebP holds 16383 pixels; the file's pixels are not even there."""
    whole = picture_file(8200, 2)
    head = whole[: whole.index(b"IDAT") + 10]

    with pytest.raises(TooManyPixels, match="WEBP holds at most 16383"):
        make(partial(load_bytes, head, "in"), "in", Wish(Ask(2, 128), "webp"), models, Limits(max_output_side=20_000))


def test_the_first_frame_is_used_and_that_is_said(models: PictureModels) -> None:
    """An animation's first picture, with a warning."""
    frames = [opened(picture_file(20, 14)), Image.new("RGB", (20, 14), "red")]
    output = io.BytesIO()
    frames[0].save(output, "PNG", save_all=True, append_images=frames[1:])

    result = made(output.getvalue(), models)

    assert ["frames_dropped"] == [code for code, _ in result.warnings]
    assert (0, 255, 90) == opened(result.content).getpixel((0, 27))


def test_what_memory_would_not_hold_is_refused(models: PictureModels, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any work, with what is needed and what is free; a smaller one passes."""
    monkeypatch.setattr(memory_check, "free_bytes", lambda: 200 << 20)

    with pytest.raises(OutOfMemory, match=r"result of 2000x2000 needs about .* GiB of memory; 0.2 are free"):
        made(picture_file(1000, 1000), models)
    assert Size(200, 200) == made(picture_file(100, 100), models).size


def test_a_gpu_that_is_full_says_the_documented_words(models: PictureModels) -> None:
    """`CUDA out of memory`, whatever the engine called it; on the CPU nobody speaks of CUDA."""

    class Full:
        """Models on a device without memory."""

        def __init__(self, device: str) -> None:
            self.facts = models.facts.__class__("m", transformer=False, vae=False, device=device, dtype="", engine="",
                                                process_size_matters=False)  # fmt: skip

        def at(self, *_: object) -> list[object]:
            """Run out of memory."""
            raise OutOfMemory("the network's tile does not fit into memory")

        def close(self) -> None:
            """Nothing is held."""

    with pytest.raises(OutOfMemory, match=r"^CUDA out of memory: the network's tile"):
        made(picture_file(), Full("cuda"))  # type: ignore[arg-type]
    with pytest.raises(OutOfMemory, match=r"^the network's tile"):
        made(picture_file(), Full("cpu"))  # type: ignore[arg-type]
