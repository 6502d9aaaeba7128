"""Stills in and out: what a picture holds survives, and what is no picture is named."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps, TiffImagePlugin

from upscale_server.errors import (
    BadRequest,
    NotMedia,
    SourceCorrupt,
    SourceError,
    SourceNotFound,
    SourceTruncated,
    TooManyPixels,
    UnsupportedFormat,
)
from upscale_server.media import image_deep
from upscale_server.media.image import load, save
from upscale_server.media.image_write import CONTAINERS, encode
from upscale_server.media.picture import Picture, bleed, from_planes, plane_bits, to_planes

LOSSLESS = [".png", ".tiff", ".webp", ".jp2", ".bmp", ".ppm", ".tga"]
ALL_READ = ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000", "PPM", "TGA", "ICO"]


def _noise(*shape: int, bits: int = 8, seed: int = 1) -> np.ndarray:
    dtype = np.uint8 if bits == 8 else np.uint16
    return np.random.default_rng(seed).integers(0, 2**bits, shape).astype(dtype)


def _smooth(height: int = 24, width: int = 32) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 7, y * 8, 120 + x + y], axis=2).astype(np.uint8)


def _saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


@cache  # the profile holds the second it was made in
def _srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _codes(picture: Picture) -> list[str]:
    return [code for code, _ in picture.warnings]


@pytest.mark.parametrize("kind", ALL_READ)
def test_every_listed_format_is_read(kind: str, tmp_path: Path) -> None:
    """Each format of the contract is opened from a file that Pillow wrote, whatever the file is called."""
    image = Image.fromarray(_smooth(32, 32))
    path = _saved(tmp_path / "picture.bin", image.quantize(256) if kind == "GIF" else image, format=kind)

    picture = load(path)

    assert kind == picture.format
    assert (32, 32, 3) == picture.pixels.shape
    # JPEG, AVIF and a palette of 256 are lossy; a mean of 6 levels tells a picture from a wrong one.
    assert np.abs(picture.pixels.astype(int) - _smooth(32, 32)).mean() < 6


@pytest.mark.parametrize("suffix", LOSSLESS)
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("alpha", [False, True])
def test_lossless_formats_return_every_sample_they_can_hold(
    suffix: str, bits: int, channels: int, *, alpha: bool, tmp_path: Path
) -> None:
    """Written and read again, samples are the same; what a format cannot hold is warned about and nothing else is."""
    pixels = _noise(17, 23, bits=bits) if channels == 1 else _noise(17, 23, 3, bits=bits)
    source = Picture(pixels, bits=bits, alpha=_noise(17, 23, bits=bits, seed=2) if alpha else None)

    written = save(source, tmp_path / f"picture{suffix}")
    found = load(tmp_path / f"picture{suffix}")

    container = CONTAINERS[suffix]
    expected = [
        *(["alpha_dropped"] if alpha and not container.alpha else []),
        *(["bits_reduced"] if bits == 16 and not container.deep else []),
    ]
    assert expected == _codes(written)
    assert written.bits == found.bits
    same = written.pixels if found.gray == written.gray else np.repeat(written.pixels[..., None], 3, axis=2)
    assert np.array_equal(same, found.pixels)
    assert (written.alpha is None) == (found.alpha is None)
    assert written.alpha is None or np.array_equal(written.alpha, found.alpha)


@pytest.mark.parametrize("suffix", [".jpg", ".avif"])
def test_lossy_formats_are_written_near_the_source(suffix: str, tmp_path: Path) -> None:
    """JPEG and AVIF are written with full-size chroma at a quality where a smooth picture stays within 4 levels."""
    save(Picture(_smooth()), tmp_path / f"picture{suffix}")

    found = load(tmp_path / f"picture{suffix}")

    assert np.abs(found.pixels.astype(int) - _smooth()).mean() < 1.5
    assert np.abs(found.pixels.astype(int) - _smooth()).max() <= 12


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied_once_and_reset(orientation: int, kind: str, tmp_path: Path) -> None:
    """The pixels come upright as Pillow's own transposition gives them, and the result does not turn again."""
    image = Image.fromarray(_smooth())
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "Maker"
    path = _saved(tmp_path / "turned", image, format=kind, exif=exif)
    with Image.open(path) as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))

    picture = load(path)
    save(picture, tmp_path / "upright.png")

    assert np.array_equal(expected, picture.pixels)
    with Image.open(tmp_path / "upright.png") as again:
        assert again.getexif().get(0x0112, 1) == 1
        assert again.getexif()[0x010F] == "Maker"
        assert again.size == (picture.size.width, picture.size.height)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("suffix", [".png", ".tiff", ".jpg", ".webp", ".avif"])
def test_profile_exif_xmp_and_resolution_are_kept(suffix: str, bits: int, tmp_path: Path) -> None:
    """ICC, EXIF, XMP and dots per inch are found in the output of every format that has a place for them."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Maker", 6
    exif.get_ifd(0x8769)[0xA002] = 32
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><d tiff:Orientation="6"/></x:xmpmeta>'
    path = _saved(
        tmp_path / "in.jpg", Image.fromarray(_smooth()),
        icc_profile=_srgb(), exif=exif, xmp=xmp, dpi=(300, 300), quality=95,
    )  # fmt: skip
    source = load(path)
    if bits == 16:
        source = Picture(source.pixels.astype(np.uint16) * 257, bits=16, attachments=source.attachments)

    save(source, tmp_path / f"out{suffix}")

    found = load(tmp_path / f"out{suffix}").attachments
    assert _srgb() == found.icc
    again = Image.Exif()
    again.load(found.exif)
    assert again[0x010F] == "Maker"
    assert again.get_ifd(0x8769)[0xA002] == 24  # upright, it is 24 wide
    assert b'tiff:Orientation="1"' in found.xmp
    if suffix in {".png", ".tiff", ".jpg"}:
        assert found.dpi == pytest.approx((300, 300), abs=0.5)  # PNG counts dots per metre in whole numbers


def test_exif_dimensions_follow_the_new_size(tmp_path: Path) -> None:
    """PixelXDimension of the output is its own width, not the source's."""
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA002] = 32
    source = load(_saved(tmp_path / "in.jpg", Image.fromarray(_smooth()), exif=exif))
    big = Picture(np.repeat(np.repeat(source.pixels, 2, 0), 2, 1), attachments=source.attachments)

    save(big, tmp_path / "out.jpg")

    with Image.open(tmp_path / "out.jpg") as found:
        assert (64, 48) == (found.getexif().get_ifd(0x8769)[0xA002], found.getexif().get_ifd(0x8769)[0xA003])


def test_png_keeps_its_texts_and_gamma(tmp_path: Path) -> None:
    """Chunks that say what a PNG is about or how its samples are meant go along, once each."""
    from PIL.PngImagePlugin import PngInfo  # noqa: PLC0415 - only here

    info = PngInfo()
    info.add_text("Title", "sunset")
    info.add(b"gAMA", struct.pack(">I", 100_000))
    path = _saved(tmp_path / "in.png", Image.fromarray(_smooth()), pnginfo=info)

    save(load(path), tmp_path / "out.png")

    with Image.open(tmp_path / "out.png") as found:
        found.load()
        assert found.text["Title"] == "sunset"
        assert found.info["gamma"] == 1.0
    assert (tmp_path / "out.png").read_bytes().count(b"gAMA") == 1


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_palette_with_transparency_becomes_colour_and_alpha(kind: str, tmp_path: Path) -> None:
    """A palette is expanded and its transparent entry becomes alpha 0."""
    image = Image.new("P", (4, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    image.putdata([0, 1, 2, 3])
    path = _saved(tmp_path / "in", image, format=kind, transparency=2)

    picture = load(path)

    assert [[255, 0, 0], [0, 255, 0]] == picture.pixels[0, :2].tolist()
    assert picture.alpha is not None
    assert [255, 255, 0, 255] == picture.alpha[0].tolist()


@pytest.mark.parametrize("mode", ["L", "1", "LA"])
def test_gray_stays_gray(mode: str, tmp_path: Path) -> None:
    """One channel in is one channel out, with its alpha."""
    image = Image.fromarray(_smooth()).convert(mode)

    picture = load(_saved(tmp_path / "in.png", image))
    save(picture, tmp_path / "out.png")

    assert picture.gray
    assert (mode == "LA") == (picture.alpha is not None)
    with Image.open(tmp_path / "out.png") as found:
        assert found.mode == ("LA" if mode == "LA" else "L")


def test_16_bit_gray_tiff_with_zero_as_white_is_turned_over(tmp_path: Path) -> None:
    """MinIsWhite is honoured for 16 bits as for 8."""
    gray = _noise(5, 7, bits=16)
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    content = bytearray(image_deep.encode_tiff(gray[..., None], tags))
    at = content.index(struct.pack("<HHI", 262, 3, 1)) + 8
    content[at] = 0
    (tmp_path / "in.tif").write_bytes(content)

    picture = load(tmp_path / "in.tif")

    assert np.array_equal(65_535 - gray, picture.pixels)


def test_16_bit_ppm_below_full_white_is_stretched(tmp_path: Path) -> None:
    """A PPM with maxval 1023 has its white at 65535 afterwards."""
    samples = np.array([[[0, 512, 1023]]], ">u2")
    (tmp_path / "in.ppm").write_bytes(b"P6\n1 1\n1023\n" + samples.tobytes())

    picture = load(tmp_path / "in.ppm")

    assert picture.bits == 16
    # FFmpeg stretches by multiplication and shift: a few codes of 65535 from the exact quotient.
    assert np.abs(picture.pixels[0, 0].astype(int) - [0, 32_799, 65_535]).max() <= 4


def _cmyk_profile() -> bytes:
    """A tiny ICC profile whose cyan ink prints red, so that its use can be seen."""
    corners = np.zeros((2, 2, 2, 2, 3), np.uint8)
    corners[...] = (0, 128, 128)
    corners[0, 0, 0, 0] = (255, 128, 128)
    corners[1, 0, 0, 0] = (136, 208, 195)  # L 53, a 80, b 67: red
    ramp = bytes(range(256))
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + ramp * 4 + corners.tobytes() + ramp * 3
    text = b"test\0"
    desc = b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(78)
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    bodies = {b"desc": desc, b"wtpt": white, b"A2B0": lut}
    offset, table, blob = 128 + 4 + 12 * len(bodies), b"", b""
    for name, body in bodies.items():
        padded = body + bytes(-len(body) % 4)
        table += name + struct.pack(">II", offset + len(blob), len(body))
        blob += padded
    total = offset + len(blob)
    header = struct.pack(">I4sI4s4s4s", total, b"test", 0x02400000, b"prtr", b"CMYK", b"Lab ")
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    header += struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + struct.pack(">I", len(bodies)) + table + blob


def test_cmyk_goes_through_its_embedded_profile(tmp_path: Path) -> None:
    """With a profile whose cyan ink is red, cyan comes out red, and the result is tagged sRGB."""
    path = _saved(tmp_path / "in.tif", Image.new("CMYK", (4, 4), (255, 0, 0, 0)), icc_profile=_cmyk_profile())

    picture = load(path)

    red, green, blue = picture.pixels[1, 1].tolist()
    assert red > 200
    assert max(green, blue) < 90
    assert _codes(picture) == ["colour_converted"]
    assert b"CMYK" not in picture.attachments.icc[:20]
    assert picture.attachments.icc


@pytest.mark.parametrize("profile", [None, b"no profile at all"])
def test_cmyk_without_usable_profile_is_converted_and_drops_it(profile: bytes | None, tmp_path: Path) -> None:
    """Pillow's plain formula is the fallback; a CMYK profile never stays on RGB pixels."""
    options = {"icc_profile": profile} if profile else {}
    path = _saved(tmp_path / "in.jpg", Image.new("CMYK", (8, 8), (0, 255, 255, 0)), quality=100, **options)

    picture = load(path)

    assert np.abs(picture.pixels[4, 4].astype(int) - [255, 0, 0]).max() <= 3  # JPEG of a flat picture
    assert _codes(picture) == ["colour_converted"]
    assert picture.attachments.icc == b""


def test_only_the_first_frame_is_used_and_said_so(tmp_path: Path) -> None:
    """An animation gives its first frame and a warning that counts the frames."""
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "green")]
    path = _saved(tmp_path / "in.gif", frames[0], save_all=True, append_images=frames[1:])

    picture = load(path)

    assert [255, 0, 0] == picture.pixels[0, 0].tolist()
    assert picture.warnings == (("frames_dropped", "the source has 3 frames or pages; the first is used"),)


def test_alpha_over_white_where_the_format_has_none(tmp_path: Path) -> None:
    """JPEG shows a transparent picture as a viewer does: over white, with a named warning."""
    source = Picture(np.zeros((8, 8, 3), np.uint8), alpha=np.zeros((8, 8), np.uint8))

    written = save(source, tmp_path / "out.jpg")

    assert ["alpha_dropped"] == _codes(written)
    assert load(tmp_path / "out.jpg").pixels.min() >= 254


def test_format_without_place_for_metadata_warns_once(tmp_path: Path) -> None:
    """BMP takes neither ICC nor EXIF; one warning names both."""
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    source = load(_saved(tmp_path / "in.png", Image.fromarray(_smooth()), icc_profile=_srgb(), exif=exif))

    written = save(source, tmp_path / "out.bmp")

    assert written.warnings == (("metadata_dropped", "BMP holds no ICC profile, no EXIF"),)


def test_planes_of_a_picture_come_back_within_half_a_level() -> None:
    """RGB to 16-bit Y'CbCr and back changes no 8-bit sample, so only the network changes a picture."""
    source = Picture(_noise(40, 30, 3), alpha=_noise(40, 30, seed=5))

    planes = to_planes(source)
    found = from_planes(planes, source.alpha, source)

    assert plane_bits(source) == 16
    assert all(plane.dtype == np.uint16 for plane in planes)
    assert np.array_equal(source.pixels, found.pixels)


def test_gray_picture_has_one_plane_in_its_own_bits() -> None:
    """Gray is luma already and is not widened."""
    source = Picture(_noise(4, 4))

    assert plane_bits(source) == 8
    assert len(to_planes(source)) == 1
    assert to_planes(source)[0] is source.pixels


def test_hidden_colours_do_not_fringe_the_visible_ones() -> None:
    """Black under alpha 0 takes the colour of its visible neighbours; visible pixels stay."""
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:, :8] = (200, 100, 50)
    alpha = np.zeros((16, 16), np.uint8)
    alpha[:, :8] = 255

    found = bleed(Picture(pixels, alpha=alpha))

    assert np.array_equal(pixels[:, :8], found.pixels[:, :8])
    assert (found.pixels == (200, 100, 50)).all()


def test_quality_of_a_lossless_format_is_refused() -> None:
    """A flag that could not do anything is an error, not silence."""
    with pytest.raises(BadRequest, match="PNG is written without loss"):
        encode(Picture(_smooth()), ".png", quality=80)


# --- what is no picture ---


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _png(width: int = 8, height: int = 8) -> bytes:
    output = io.BytesIO()
    Image.fromarray(_noise(height, width, 3)).save(output, "PNG")
    return output.getvalue()


BAD: list[tuple[str, Callable[[Path], Path], type[SourceError], str]] = [
    ("missing", lambda folder: folder / "none.png", SourceNotFound, "does not exist"),
    ("directory", lambda folder: folder, SourceNotFound, "is a directory"),
    ("empty", lambda folder: _write(folder / "a.png", b""), NotMedia, "is empty"),
    ("text", lambda folder: _write(folder / "a.png", b"hello, this is text\n" * 20), NotMedia, "no picture"),
    ("truncated", lambda folder: _write(folder / "a.png", _png(64, 64)[:2000]), SourceTruncated, "ends before"),
    ("broken", lambda folder: _write(folder / "a.png", _png()[:41] + bytes(200)), SourceError, "a.png"),
    ("psd", lambda folder: _write(folder / "a.psd", b"8BPS" + bytes(60)), UnsupportedFormat, "Photoshop"),
    ("pdf", lambda folder: _write(folder / "a.pdf", b"%PDF-1.7\n"), UnsupportedFormat, "PDF"),
    ("heic", lambda folder: _write(folder / "a", b"\0\0\0\x18ftypheic" + bytes(40)), UnsupportedFormat, "HEIC"),
    ("video", lambda folder: _write(folder / "a", b"\0\0\0\x18ftypisom" + bytes(40)), UnsupportedFormat, "video"),
    ("svg", lambda folder: _write(folder / "a.svg", b"<svg xmlns='x'/>"), UnsupportedFormat, "SVG"),
    ("float", lambda folder: _saved(folder / "a.tif", Image.new("F", (4, 4))), UnsupportedFormat, "floating point"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "error", "text"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_bad_files_are_named(make: Callable[[Path], Path], error: type[SourceError], text: str, tmp_path: Path) -> None:
    """Each kind of bad file has its class and one line that says which file and why."""
    with pytest.raises(error, match=text) as caught:
        load(make(tmp_path))

    assert "\n" not in caught.value.detail
    assert caught.value.exit_code == 3


def test_size_is_checked_on_the_header(tmp_path: Path) -> None:
    """A few bytes that declare a giant are refused before anything is decoded, with limit and setting."""
    header = _png()
    body = struct.pack(">II", 60_000, 60_000) + header[24:29]
    import zlib  # noqa: PLC0415 - only here

    giant = header[:16] + body + struct.pack(">I", zlib.crc32(b"IHDR" + body)) + header[33:]

    with pytest.raises(TooManyPixels, match="UPSCALE_LIMITS__MAX_IMAGE_PIXELS"):
        load(_write(tmp_path / "giant.png", giant))
    with pytest.raises(TooManyPixels, match=r"64x8 .*limit is 0.0 MP"):
        load(_write(tmp_path / "small.png", _png(64, 8)), max_pixels=511)
    with pytest.raises(TooManyPixels, match="UPSCALE_LIMITS__MAX_SOURCE_SIDE"):
        load(tmp_path / "small.png", max_side=63)


@pytest.mark.parametrize("kind", ALL_READ)
def test_damage_anywhere_is_an_error_of_ours_or_a_picture(kind: str, tmp_path: Path) -> None:
    """Cut at any place or with flipped bytes, a file is decoded or refused; no foreign exception escapes."""
    image = Image.fromarray(_smooth(32, 32))
    path = _saved(tmp_path / "in", image.quantize(256) if kind == "GIF" else image, format=kind)
    content = path.read_bytes()
    random = np.random.default_rng(7)
    damaged = [content[: len(content) * part // 12] for part in range(1, 12)]
    for _ in range(20):
        flipped = bytearray(content)
        for at in random.integers(0, len(content), 4):
            flipped[at] ^= int(random.integers(1, 256))
        damaged.append(bytes(flipped))

    for bytes_ in damaged:
        try:
            load(_write(tmp_path / "damaged", bytes_), max_pixels=1_000_000)
        except (NotMedia, UnsupportedFormat, SourceCorrupt, SourceTruncated, TooManyPixels) as err:
            assert "\n" not in err.detail  # noqa: PT017 - both outcomes are right


def test_too_long_side_for_the_format_is_refused(tmp_path: Path) -> None:
    """WebP ends at 16383: the error says so instead of the library's."""
    with pytest.raises(TooManyPixels, match="WEBP holds at most 16383"):
        save(Picture(np.zeros((1, 16_384), np.uint8)), tmp_path / "out.webp")


def test_unknown_output_format_is_refused(tmp_path: Path) -> None:
    """A suffix that cannot be written is an error that lists those that can."""
    with pytest.raises(UnsupportedFormat, match=r"\.xyz; expected one of .*\.png"):
        save(Picture(_smooth()), tmp_path / "out.xyz")
