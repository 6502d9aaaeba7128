"""From the user's options to TSD-SR loaded; torch is imported when it is called, and not before.

It chooses nothing: whether TSD-SR runs or another model is decided by whoever calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from upscale_server.events import Observer, ignore
from upscale_server.models.card import ModelCard
from upscale_server.models.extras import require
from upscale_server.models.tsdsr.files import require_files, sha256_of
from upscale_server.models.tsdsr.memory import TILE_BATCH
from upscale_server.models.tsdsr.options import TsdsrOptions

if TYPE_CHECKING:
    from upscale_server.models.tsdsr.model import Tsdsr


def load_tsdsr(options: TsdsrOptions, observer: Observer = ignore) -> Tsdsr:
    """Load TSD-SR.

    Args:
        options: where the weights are and how they run.
        observer: is told where memory did not suffice.

    Raises:
        MissingExtra: torch or a companion is not installed.
        ModelMissing: a folder is not named or a file is not there.
        ModelInvalid: a file is damaged, does not belong to the others, or is not the one that was pinned.
        DeviceUnused: a GPU was asked for that cannot be used.
        OutOfMemory: the weights do not fit on the device.
    """
    require("tsdsr", "TSD-SR")
    files = require_files(options)
    # torch takes seconds to start: only who loads the model waits for it.
    from upscale_server.models.tsdsr import device as devices  # noqa: PLC0415 - see above
    from upscale_server.models.tsdsr import weights  # noqa: PLC0415 - see above
    from upscale_server.models.tsdsr.model import Tsdsr, TsdsrFacts  # noqa: PLC0415 - see above
    from upscale_server.models.tsdsr.networks import load_networks  # noqa: PLC0415 - see above

    device = devices.chosen_device(options.device)
    dtype = devices.chosen_dtype(options.dtype, device)
    named = (files.transformer_lora, files.vae_lora, files.prompt, files.pooled)
    digests = tuple((path.name, sha256_of(path)) for path in named)
    weights.check_pin(files.prompt, digests[2][1], options.prompt_sha256)
    weights.check_pin(files.pooled, digests[3][1], options.pooled_sha256)
    with devices.told_out_of_memory():
        networks = load_networks(files, device, dtype)
    facts = TsdsrFacts(
        transformer=True,
        vae=True,
        device=device.type,
        dtype=str(dtype),
        mode=options.mode,
        sha256s=digests,
        tile_batch=options.tile_batch or TILE_BATCH[device.type],
        memory_bytes=options.memory_bytes or devices.free_bytes(device),
    )
    return Tsdsr(networks, options, facts, card_of(digests, str(dtype)), observer)


def card_of(digests: tuple[tuple[str, str], ...], dtype: str) -> ModelCard:
    """Return the card of TSD-SR with these weights."""
    return ModelCard(
        name="tsdsr",
        scale=2,
        domain="rgb",
        sha256=digests[0][1],
        precisions=(dtype,),
        architecture="TSD-SR on Stable Diffusion 3 Medium",
        generative=True,
        for_sources="photographs, degraded or small",
        summary="one-step diffusion: it invents plausible detail",
        limits="what it adds was not in the source; text and faces may change",
        licence="Stability AI Community Licence for the base; TSD-SR's code Apache-2.0",
    )
