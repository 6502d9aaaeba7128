"""Pillow's many modes become gray or RGB with a separate alpha, each by the rule that keeps its meaning.

Palettes are expanded, transparency colours become alpha, CMYK and Lab go through their ICC profile.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageCms

from upscale_server.errors import UnsupportedFormat
from upscale_server.media.image_deep import Samples
from upscale_server.media.image_meta import NO_PROFILE
from upscale_server.media.picture import Attachments, Picture

_WHITE_16 = 65_535


def to_picture(image: Image.Image, samples: Samples | None, *, expect_deep: bool) -> Picture:
    """Return the pixels of a loaded image.

    Args:
        image: loaded.
        samples: the same pixels at 16 bits, when they could be read.
        expect_deep: the file holds 16 bits a channel, so 8 bits would be a loss worth a warning.

    Raises:
        UnsupportedFormat: floating point or 32-bit samples, whose white is not known.
    """
    if samples is not None and _agree(image, samples):
        return _of_samples(samples)
    picture = _of_mode(image)
    if expect_deep:
        picture = picture.warn("bits_reduced", "the source's 16 bits a channel could only be read as 8")
    return picture


def _agree(image: Image.Image, samples: Samples) -> bool:
    """Compare with Pillow's 8-bit reading: a decoder that ignores a tag (white is zero, premultiplied) is not used."""
    pillow = np.asarray(image.convert("RGBA" if samples.shape[2] in {2, 4} else "RGB"))
    if pillow.shape[:2] != samples.shape[:2]:
        return False
    colours = samples[..., :1] if samples.shape[2] < 3 else samples[..., :3]
    difference = np.abs(pillow[..., :3].astype(np.int32) - (colours >> 8).astype(np.int32))
    # 1 is the rounding of the lower 8 bits; lossy decoders of two makes differ by a little more.
    return float(difference.mean()) <= 1.5


def _of_samples(samples: Samples) -> Picture:
    channels = samples.shape[2]
    alpha = np.ascontiguousarray(samples[..., -1]) if channels in {2, 4} else None
    colour = samples[..., 0] if channels < 3 else samples[..., :3]
    return Picture(np.ascontiguousarray(colour), bits=16, alpha=alpha)


def _of_mode(image: Image.Image) -> Picture:
    mode = image.mode
    if mode.startswith("I") or mode == "F":
        return _of_integers(image)
    if mode in {"CMYK", "LAB"}:
        return _through_profile(image)
    if mode in {"L", "LA", "La", "1"}:
        return _of_gray(image)
    alpha = image.has_transparency_data or mode in {"RGBA", "RGBa", "PA"}
    return _of_rgb(image.convert("RGBA" if alpha else "RGB"))


def _of_rgb(image: Image.Image) -> Picture:
    samples = np.array(image)
    alpha = np.ascontiguousarray(samples[..., 3]) if image.mode == "RGBA" else None
    return Picture(np.ascontiguousarray(samples[..., :3]), alpha=alpha)


def _of_gray(image: Image.Image) -> Picture:
    if image.mode == "1":
        image = image.convert("L")
    if image.mode == "L" and not image.has_transparency_data:
        return Picture(np.array(image))
    samples = np.array(image.convert("LA"))
    return Picture(np.ascontiguousarray(samples[..., 0]), alpha=np.ascontiguousarray(samples[..., 1]))


def _of_integers(image: Image.Image) -> Picture:
    """Read 16-bit gray (`I;16`, and `I` as PGM gives it); white is 65535, for 12-bit TIFFs 4095."""
    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > _WHITE_16:
        raise UnsupportedFormat(
            f"samples are {'floating point' if image.mode == 'F' else '32-bit integers'}, whose white is not known; "
            "expected 8 or 16 bits a channel"
        )
    gray = values.astype(np.uint16)
    if image.format == "TIFF":
        gray = _tiff_gray(image, gray)
    key = image.info.get("transparency")
    alpha = None
    if isinstance(key, int):
        alpha = np.where(gray == key, 0, _WHITE_16).astype(np.uint16)
    return Picture(gray, bits=16, alpha=alpha)


def _tiff_gray(image: Image.Image, gray: np.ndarray) -> np.ndarray:
    tags = image.tag_v2  # type: ignore[attr-defined]
    white = 2 ** int(max(tags.get(258, (16,)))) - 1
    if white < _WHITE_16:
        gray = (gray.astype(np.uint32) * _WHITE_16 // white).clip(0, _WHITE_16).astype(np.uint16)
    return _WHITE_16 - gray if tags.get(262) == 0 else gray  # white is zero: Pillow turns only 8-bit ones over


def _through_profile(image: Image.Image) -> Picture:
    """Bring CMYK or Lab to sRGB; an embedded profile knows the inks, without one Pillow's plain formula is used."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    profile = image.info.get("icc_profile")
    source = io.BytesIO(profile) if profile else None
    try:
        if image.mode == "LAB":
            converted = ImageCms.profileToProfile(image, ImageCms.createProfile("LAB"), srgb, outputMode="RGB")
        elif source is not None:
            converted = ImageCms.profileToProfile(
                image, ImageCms.ImageCmsProfile(source), srgb,
                renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC, outputMode="RGB",
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )  # fmt: skip
        else:
            converted = image.convert("RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        converted = image.convert("RGB")
        source = None
    assert converted is not None  # noqa: S101 - inPlace is off, so there is a result
    exact = source is not None or image.mode == "LAB"
    how = "through its ICC profile" if exact else "without a usable ICC profile, by the plain formula"
    kept = Attachments(icc=srgb.tobytes() if exact else NO_PROFILE)
    pixels = np.ascontiguousarray(np.array(converted)[..., :3])
    return Picture(pixels, attachments=kept).warn("colour_converted", f"{image.mode} was brought to sRGB {how}")
