"""The engine of PyTorch: community checkpoints by spandrel, and our own family, on the CPU or on a CUDA GPU.

Import it only when it is asked for: it needs the extra `[torch]`, and torch takes seconds to start. This package is
the one address of torch, spandrel and safetensors.

    architectures  spandrel without torchvision: weights -> a network of a known architecture
    checkpoint     files of weights: safetensors as they are, pickles only through the restricted loader
    network        a network that can be copied to a device in a precision: spandrel's, or our own family
    devices        which device an engine's name means, what it computes in, and that it is really used
    costs          memory and multiplications of a network for each LR pixel
    pixels         integer pixels -> values -> integer pixels, on the device
    lanes          one slot that runs windows: on the CPU, or on a CUDA stream of its own with captured graphs
    inspection     an unknown checkpoint -> ModelCard, or ModelInvalid
    reach          how far a network looks: on paper where that is exact, else measured by cutting a picture
    upscaler       the `Upscaler`: precision, self-test, tiles
"""

from upscale_server.models.engines.torch.checkpoint import converted
from upscale_server.models.engines.torch.inspection import inspect
from upscale_server.models.engines.torch.upscaler import TorchUpscaler

__all__ = ["TorchUpscaler", "converted", "inspect"]
