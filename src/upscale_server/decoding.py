"""Which device decodes: the one asked for where it opens for this source, else the CPU, and that is said.

It tries the device once; decoding belongs to `media.decode`. Pictures are the same on every device, so that a plan goes
on where a network's device would have to fail.
"""

from __future__ import annotations

from upscale_server.errors import BadRequest
from upscale_server.media.decode import CPU, DEVICES, decoder_opens
from upscale_server.media.types import VideoInfo


def choose_decoder(info: VideoInfo, asked: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return the device that decodes, and a warning where it is not the one asked for.

    Raises:
        BadRequest: there is no such device.
    """
    if asked not in DEVICES:
        raise BadRequest(f"decoder is {asked!r}; expected one of {', '.join(DEVICES)}")
    if asked == CPU or decoder_opens(info, asked):
        return asked, ()
    return CPU, (("decoder_not_opened", f"{asked} does not decode {info.codec} here; the CPU does"),)
