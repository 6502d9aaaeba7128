"""Files of the right kind for TSD-SR's weights, a few bytes each; nothing can be computed with them.

The format's description is all it needs: eight bytes of length, that much JSON, the data.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path


def safetensors(*names: str, value: float = 0.0) -> bytes:
    """Return a safetensors file with a tensor of one number for each name."""
    head: dict[str, object] = {"__metadata__": {"format": "pt", "value": str(value)}}
    for number, name in enumerate(names):
        head[name] = {"dtype": "F32", "shape": [1], "data_offsets": [4 * number, 4 * number + 4]}
    text = json.dumps(head).encode()
    return len(text).to_bytes(8, "little") + text + bytes(4 * len(names))


def saved_tensor(text: str = "x") -> bytes:
    """Return an archive such as torch writes."""
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        archive.writestr(zipfile.ZipInfo("archive/data.pkl"), text)  # of a fixed date: the same bytes each time
    return body.getvalue()


def sd3() -> dict[str, bytes]:
    """Return the files of a diffusers folder, with one that nobody wants."""
    return {
        "LICENSE.md": b"You may not do harm with this model.\n",
        "transformer/config.json": b'{"_class_name": "SD3Transformer2DModel"}',
        "transformer/diffusion_pytorch_model.safetensors": safetensors("pos_embed.proj.weight"),
        "vae/config.json": b'{"_class_name": "AutoencoderKL"}',
        "vae/diffusion_pytorch_model.safetensors": safetensors("encoder.conv_in.weight"),
        "text_encoder_3/model.safetensors": b"eleven gigabytes",
    }


def lora() -> dict[str, bytes]:
    """Return the LoRA's files."""
    return {
        "transformer.safetensors": safetensors(
            "transformer.pos_embed.proj.lora_A.weight", "transformer.pos_embed.proj.lora_B.weight"
        ),
        "vae.safetensors": safetensors(
            "transformer.encoder.conv_in.lora_A.weight", "transformer.encoder.conv_in.lora_B.weight"
        ),
    }


def embeddings() -> dict[str, bytes]:
    """Return the prompt embeddings' files."""
    return {"prompt_embeds.pt": saved_tensor("prompt"), "pool_embeds.pt": saved_tensor("pool")}


def laid_out(folder: Path, files: dict[str, bytes]) -> Path:
    """Write files below a folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder
