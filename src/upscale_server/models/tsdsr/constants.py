"""What prompt and timestep come to in the transformer, computed once and put in place of the layers that gave it.

TSD-SR always asks with one prompt and one timestep: every adaptive-norm vector and the embedded prompt are constants.
Without these layers SD3 Medium has 1.35 instead of 2.03 billion parameters, and a call has some 50 layers less.
"""

from __future__ import annotations

import torch

TIMESTEP = 1000.0
"""Fixed by the training of TSD-SR."""


class FixedNormZero(torch.nn.Module):  # type: ignore[misc]
    """`AdaLayerNormZero` whose six vectors are known."""

    def __init__(self, vectors: torch.Tensor, norm: torch.nn.Module) -> None:
        """Keep `(1, 6 * width)` vectors and the norm without parameters."""
        super().__init__()
        self.norm = norm
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = vectors.detach().chunk(6, dim=1)
        self.register_buffer("shift", shift[:, None].clone())
        self.register_buffer("scale", 1 + scale[:, None])
        for name, vector in (
            ("gate", gate),
            ("shift_mlp", shift_mlp),
            ("scale_mlp", scale_mlp),
            ("gate_mlp", gate_mlp),
        ):
            self.register_buffer(name, vector.clone())

    def forward(self, x: torch.Tensor, emb: object = None) -> tuple[torch.Tensor, ...]:
        """Return the normalised tokens and the four vectors that the block uses itself."""
        del emb  # what it would say is known
        return self.norm(x) * self.scale + self.shift, self.gate, self.shift_mlp, self.scale_mlp, self.gate_mlp


class FixedNorm(torch.nn.Module):  # type: ignore[misc]
    """`AdaLayerNormContinuous` whose two vectors are known."""

    def __init__(self, vectors: torch.Tensor, norm: torch.nn.Module) -> None:
        """Keep `(1, 2 * width)` vectors and the norm without parameters."""
        super().__init__()
        self.norm = norm
        scale, shift = vectors.detach().chunk(2, dim=1)
        self.register_buffer("scale", 1 + scale[:, None])
        self.register_buffer("shift", shift[:, None].clone())

    def forward(self, x: torch.Tensor, conditioning_embedding: object = None) -> torch.Tensor:
        """Return the normalised tokens."""
        del conditioning_embedding  # what it would say is known
        return self.norm(x) * self.scale + self.shift


class _FixedPrompt(torch.nn.Module):  # type: ignore[misc]
    """The embedded prompt in the place of what embeds it; the input says for how many tiles."""

    def __init__(self, embedded: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("embedded", embedded.detach().clone())

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        """Return the prompt once for each tile."""
        return self.embedded.expand(given.shape[0], -1, -1)


class _NoConditioning(torch.nn.Module):  # type: ignore[misc]
    """In the place of what embeds timestep and pooled prompt: everything that it fed is known."""

    def forward(self, timestep: object, pooled: object) -> None:
        """Return nothing."""
        del timestep, pooled


def fix_constants(
    transformer: torch.nn.Module, prompt: torch.Tensor, pooled: torch.Tensor, timestep: float = TIMESTEP
) -> None:
    """Replace every layer of SD3's transformer that depends on prompt and timestep alone by what it gives.

    Args:
        transformer: diffusers' `SD3Transformer2DModel` in float32, LoRA merged; it is changed.
        prompt: `(1, tokens, joint_attention_dim)`.
        pooled: `(1, pooled_projection_dim)`.
        timestep: other than 1000 only to show that it matters.
    """
    with torch.no_grad():
        conditioning = transformer.time_text_embed(torch.tensor([timestep]), pooled)
        active = torch.nn.functional.silu(conditioning)
        transformer.context_embedder = _FixedPrompt(transformer.context_embedder(prompt))
        for block in transformer.transformer_blocks:
            block.norm1 = _fixed(block.norm1, active)
            block.norm1_context = _fixed(block.norm1_context, active)
        transformer.norm_out = _fixed(transformer.norm_out, active)
    transformer.time_text_embed = _NoConditioning()


def _fixed(layer: torch.nn.Module, active: torch.Tensor) -> torch.nn.Module:
    vectors = layer.linear(active)
    six = vectors.shape[-1] == 6 * active.shape[-1]
    return FixedNormZero(vectors, layer.norm) if six else FixedNorm(vectors, layer.norm)
