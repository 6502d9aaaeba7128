"""Where the weights are and whether they are all there, told without torch and without reading them.

What is inside the files is checked by `weights` when they are loaded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from upscale_server.errors import ModelMissing
from upscale_server.models.tsdsr.options import TsdsrOptions

NETWORK = ("config.json", "diffusion_pytorch_model.safetensors")
"""What a network's folder must hold, in one piece and at full precision: `pull` brings these and no other."""


@dataclass(frozen=True, slots=True)
class Files:
    """The folders and files of a whole set of weights."""

    transformer: Path
    vae: Path
    transformer_lora: Path
    vae_lora: Path
    prompt: Path
    pooled: Path

    def every(self) -> Iterator[Path]:
        """Return every file that is needed."""
        for folder in (self.transformer, self.vae):
            yield from (folder / name for name in NETWORK)
        yield from (self.transformer_lora, self.vae_lora, self.prompt, self.pooled)


def files_of(options: TsdsrOptions) -> Files:
    """Return where the options say that the weights are."""
    base, lora, embeddings = Path(options.sd3_dir), Path(options.lora_dir), Path(options.embeddings_dir)
    return Files(
        transformer=base / "transformer",
        vae=base / "vae",
        transformer_lora=lora / "transformer.safetensors",
        vae_lora=lora / "vae.safetensors",
        prompt=embeddings / "prompt_embeds.pt",
        pooled=embeddings / "pool_embeds.pt",
    )


def missing(options: TsdsrOptions) -> tuple[str, ...]:
    """Return the settings that are empty and the files that are not there; nothing means that TSD-SR can be loaded."""
    named = (
        ("UPSCALE_TSDSR__SD3_DIR", options.sd3_dir),
        ("UPSCALE_TSDSR__LORA_DIR", options.lora_dir),
        ("UPSCALE_TSDSR__EMBEDDINGS_DIR", options.embeddings_dir),
    )
    empty = tuple(name for name, value in named if not value)
    return empty or tuple(str(path) for path in files_of(options).every() if not path.is_file())


def require_files(options: TsdsrOptions) -> Files:
    """Return where the weights are.

    Raises:
        ModelMissing: a setting is empty or a file is not there; the first three are named.
    """
    absent = missing(options)
    if absent:
        more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
        raise ModelMissing(
            f"TSD-SR's weights are not all there: {', '.join(absent[:3])}{more}",
            hint="upscale models pull tsdsr fetches them; docs/tsdsr.md says what belongs where",
        )
    return files_of(options)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
