"""Reads what a request asks of its pictures, from the address and from the form: each word is known and checked.

What a picture becomes stands in `service`.
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request

from upscale_server.errors import BadProcessSize, BadRequest, BadScale
from upscale_server.image_settings import ImageSettings
from upscale_server.service.picture_facts import Ask
from upscale_server.service.picture_models import FACTORS
from upscale_server.service.picture_work import FORMATS, Wish
from upscale_server.web.faults import shorten

SMALLEST_PROCESS_SIZE, LARGEST_PROCESS_SIZE = 64, 256
_LARGEST_SEED = 2**63 - 1
WORDS: dict[str, str] = {
    "upscale": "factor, 2 or 4; the server's default is --upscale",
    "process_size": "processing size, 64 to 256; the server's default is --process-size. Only TSD-SR has a use for it",
    "format": "png (default), webp (lossless) or jpeg (quality 95)",
    "bits": "bits a channel of a PNG, 8 (default) or 16",
    "seed": "a whole number: TSD-SR draws by chance instead of taking the mean",
}
"""What may be asked, and what it means."""


def wish_in(request: Request, fields: Mapping[str, str], defaults: ImageSettings) -> Wish:
    """Return what is asked, by the query or by fields of the form.

    Raises:
        BadScale, BadProcessSize: the factor or the size is not on offer.
        BadRequest: an unknown word, one that is there twice, or a value that is not on offer.
    """
    words = _words_of(request, fields)
    factor = _number(words, "upscale", defaults.upscale, BadScale, "2 or 4")
    if factor not in FACTORS:
        raise BadScale(f"upscale is {factor}; expected 2 or 4")
    span = f"{SMALLEST_PROCESS_SIZE} to {LARGEST_PROCESS_SIZE}"
    size = _number(words, "process_size", defaults.process_size, BadProcessSize, span)
    if not SMALLEST_PROCESS_SIZE <= size <= LARGEST_PROCESS_SIZE:
        raise BadProcessSize(f"process_size is {size}; expected {span}")
    seed = None
    if "seed" in words:
        seed = _number(words, "seed", 0, BadRequest, "a whole number")
        if not 0 <= seed <= _LARGEST_SEED:
            raise BadRequest(f"seed is {seed}; expected 0 to {_LARGEST_SEED}")
    name, bits = _format_in(words)
    return Wish(Ask(factor, size, seed), name, bits)


def _format_in(words: Mapping[str, str]) -> tuple[str, int]:
    name = words.get("format", "png").lower().replace("jpg", "jpeg")
    if name not in FORMATS:
        raise BadRequest(f"format is {shorten(words['format'])}; expected one of {', '.join(FORMATS)}")
    bits = _number(words, "bits", 8, BadRequest, "8 or 16")
    if bits not in (8, 16) or (bits == 16 and name != "png"):
        raise BadRequest(f"bits is {bits} and format is {name}; expected 8, or 16 with png")
    return name, bits


def _words_of(request: Request, fields: Mapping[str, str]) -> dict[str, str]:
    words = dict(fields)
    for name, value in request.query_params.multi_items():
        if name in words:
            raise BadRequest(f"{shorten(name)} is there twice")
        words[name] = value
    unknown = next((name for name in words if name not in WORDS), None)
    if unknown is not None:
        raise BadRequest(f"field {shorten(unknown)} does not exist", hint=f"expected some of {', '.join(WORDS)}")
    return words


def _number(words: Mapping[str, str], name: str, default: int, kind: type[BadRequest], expected: str) -> int:
    if name not in words:
        return default
    text = words[name].strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise kind(f"{name} is {shorten(words[name])}; expected {expected}")
    return int(text)
