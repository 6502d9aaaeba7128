"""The network form we ship: 3x3 convolutions, ReLU, skips in large ones, depth-to-space, nearest residual.

It does not know about files or data. While training, each convolution is a sum of branches that is
collapsed to one 3x3 kernel *before* the convolution, so the branches cost nothing per pixel.
Source: X. Zhang et al., 2021, "Edge-oriented Convolution Block for Real-time SR" (the branches).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F  # noqa: N812  the name the field uses
from torch import Tensor, nn

from training.layers import Layer, Shape

EXPANSION = 128
SMALL_START = 0.1
"""Of what is beside a skip: blocks then start as next to nothing, and their sum does not grow with their number."""
EDGE_KERNELS = (
    ((1.0, 0.0, -1.0), (2.0, 0.0, -2.0), (1.0, 0.0, -1.0)),
    ((1.0, 2.0, 1.0), (0.0, 0.0, 0.0), (-1.0, -2.0, -1.0)),
    ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0)),
)


def run(shape: Shape, convs: Iterable[Callable[[Tensor], Tensor]], planes: Tensor) -> Tensor:
    """Compute convolutions and what follows each of them; return the sub-pixel planes, without the residual."""
    after: list[Tensor] = []
    for conv, step in zip(convs, shape.steps, strict=True):
        planes = conv(planes)
        planes = F.relu(planes, inplace=True) if step.relu else planes
        planes = planes if step.adds is None else planes + after[step.adds]
        after.append(planes)
    return planes


class BranchedConv(nn.Module):
    """A 3x3 convolution whose kernel is the sum of trainable branches; beside a skip it starts small."""

    def __init__(self, c_in: int, c_out: int, *, is_beside_skip: bool = False) -> None:
        super().__init__()
        plain = nn.Conv2d(c_in, c_out, 3)
        self.plain = nn.Parameter(plain.weight.detach().clone())
        self.bias = nn.Parameter(plain.bias.detach().clone())
        self.expand = nn.Parameter(nn.Conv2d(c_in, EXPANSION, 1).weight.detach()[:, :, 0, 0].clone())
        # A tenth of the usual size: the sum of branches then starts near the scale of one plain kernel.
        self.squeeze = nn.Parameter(nn.Conv2d(EXPANSION, c_out, 3).weight.detach().clone() * 0.1)
        self.edges = nn.Parameter(torch.randn(len(EDGE_KERNELS), c_out, c_in) * 1e-3)
        self.register_buffer("edge_kernels", torch.tensor(EDGE_KERNELS), persistent=False)
        identity = torch.zeros(c_out, c_in, 3, 3)
        if c_in == c_out and not is_beside_skip:  # the skip is one already
            identity[range(c_in), range(c_in), 1, 1] = 1.0
        self.register_buffer("identity", identity, persistent=False)
        if is_beside_skip:
            with torch.no_grad():
                self.plain *= SMALL_START
                self.squeeze *= SMALL_START

    def kernel(self) -> Tensor:
        """Collapse the branches to one float32 kernel (out, in, 3, 3), also under autocast."""
        with torch.autocast(self.plain.device.type, enabled=False):
            expanded = torch.einsum("omyx,mi->oiyx", self.squeeze, self.expand)
            edges = torch.einsum("boi,byx->oiyx", self.edges, self.edge_kernels)
            return self.plain + expanded + edges + self.identity

    def forward(self, planes: Tensor) -> Tensor:
        """Convolve with zero padding 1."""
        return F.conv2d(planes, self.kernel(), self.bias, padding=1)

    @torch.no_grad()
    def load(self, layer: Layer) -> None:
        """Make the collapsed kernel equal to a given one; the branches keep their start."""
        self.plain += torch.from_numpy(layer.kernel) - self.kernel()
        self.bias.copy_(torch.from_numpy(layer.bias))


class Network(nn.Module):
    """LR luma (N, 1, H, W) in [0, 1] to HR luma (N, 1, s*H, s*W), not clipped."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        steps = zip(shape.widths, shape.steps, strict=True)
        self.convs = nn.ModuleList(
            BranchedConv(*widths, is_beside_skip=step.adds is not None) for widths, step in steps
        )

    def forward(self, lr: Tensor) -> Tensor:
        """Upscale; the residual is added in the precision of `lr`."""
        # Adding LR to every sub-pixel plane is the nearest-neighbour residual, without resizing.
        return F.pixel_shuffle(run(self.shape, self.convs, lr).to(lr.dtype) + lr, self.shape.scale)

    def layers(self) -> list[Layer]:
        """Collapse every convolution."""
        return [
            Layer(conv.kernel().detach().float().cpu().numpy(), conv.bias.detach().float().cpu().numpy())
            for conv in self.convs
        ]

    def load(self, layers: list[Layer]) -> None:
        """Start from collapsed layers of the same shape (see `training.grow` for other shapes)."""
        for conv, layer in zip(self.convs, layers, strict=True):
            conv.load(layer)
