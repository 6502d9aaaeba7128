"""The engine of ONNX Runtime: any ONNX network in f32, on the CPU, or on CUDA or TensorRT where that is provable.

Import it only when it is asked for: it needs the extra `[onnxruntime]`, or `[cuda]` for the GPU.

    session    one ONNX Runtime session, and on which provider each node really ran; the one address of ONNX Runtime
    tensorrt   engines that are built for one size of frame, kept, and built in the background
    upscaler   the `Upscaler`: pixels to values and back, self-test, tiles
"""

from upscale_server.models.engines.onnxruntime.upscaler import OnnxRuntimeUpscaler

__all__ = ["OnnxRuntimeUpscaler"]
