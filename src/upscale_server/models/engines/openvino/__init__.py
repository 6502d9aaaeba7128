"""The CPU engine: runs any ONNX super-resolution network with OpenVINO, uint8/uint16 in and out.

This package is the one address of OpenVINO; import it only when a network is really used, it costs start-up time.

    graph       ONNX -> a network of uint8/uint16 pixels with a finite-values output
    runner      one compiled network and its infer requests
    inspection  an unknown ONNX file -> ModelCard, or ModelInvalid
    upscaler    the `Upscaler`: precision, self-test, tiles
"""

from upscale_server.models.engines.openvino.inspection import inspect
from upscale_server.models.engines.openvino.upscaler import OpenVinoUpscaler

__all__ = ["OpenVinoUpscaler", "inspect"]
