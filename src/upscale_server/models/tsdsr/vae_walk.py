"""The layers of SD3's VAE in order, written once over any way of holding their maps.

A carrier holds the maps and runs single layers: `vae_strips` whole maps in strips, `vae_tiles` the official tiles.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

Layer = Any
"""A `torch.nn.Module`; torch need not be there for the types."""

Map = TypeVar("Map")


class Carrier(Protocol[Map]):
    """Runs layers over maps of its own kind."""

    def conv(self, given: Map, layer: Layer, norm: Layer | None = None, add: Map | None = None) -> Map:
        """Convolve at stride 1, after norm and SiLU where there is one; `add` is added and may be used up."""

    def halve(self, given: Map, layer: Layer) -> Map:
        """Run a downsampler: a row and column of zeros to the right and below, then stride 2."""

    def double(self, given: Map, layer: Layer) -> Map:
        """Run an upsampler: every pixel twice each way, then a convolution."""

    def attend(self, given: Map, layer: Layer) -> Map:
        """Run the middle's attention, with its norm and residual; `given` may be used up."""


def encode(encoder: Layer, carrier: Carrier[Map], given: Map) -> Map:
    """Run the encoder: a picture in, mean and log-variance, one after the other, out."""
    at = carrier.conv(given, encoder.conv_in)
    for block in encoder.down_blocks:
        for resnet in block.resnets:
            at = _resnet(carrier, at, resnet)
        for layer in block.downsamplers or ():
            at = carrier.halve(at, layer)
    at = _middle(carrier, at, encoder.mid_block)
    return carrier.conv(at, encoder.conv_out, norm=encoder.conv_norm_out)


def decode(decoder: Layer, carrier: Carrier[Map], given: Map) -> Map:
    """Run the decoder: a latent in, a picture out."""
    at = _middle(carrier, carrier.conv(given, decoder.conv_in), decoder.mid_block)
    for block in decoder.up_blocks:
        for resnet in block.resnets:
            at = _resnet(carrier, at, resnet)
        for layer in block.upsamplers or ():
            at = carrier.double(at, layer)
    return carrier.conv(at, decoder.conv_out, norm=decoder.conv_norm_out)


def _middle(carrier: Carrier[Map], given: Map, block: Layer) -> Map:
    at = _resnet(carrier, given, block.resnets[0])
    at = carrier.attend(at, block.attentions[0])
    return _resnet(carrier, at, block.resnets[1])


def _resnet(carrier: Carrier[Map], given: Map, layer: Layer) -> Map:
    inside = carrier.conv(given, layer.conv1, norm=layer.norm1)
    beside = given if layer.conv_shortcut is None else carrier.conv(given, layer.conv_shortcut)
    return carrier.conv(inside, layer.conv2, norm=layer.norm2, add=beside)
