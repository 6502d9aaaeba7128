#!/usr/bin/env python3
"""Start the video server on port 29115 under its documented name, with the documented constants to edit.

    python vidaio_vsr_server.py [--host ...] [--port ...]       the flags of `upscale serve video`

Flags count more than the environment (MAX_WORKERS or UPSCALE_MAX_WORKERS, and so on), and that more than these lines.
"""

import sys

MAX_WORKERS = 12  # most lanes; the server takes as many as the device holds and /health tells how many those are
MODEL_PATH = ""  # a model's name or an ONNX file; empty: the built-in model
TEMP_DIR = ""  # folder for unfinished work; empty: in the state folder of the user
OUTPUT_DIR = ""  # folder for results; empty: in the state folder of the user

if __name__ == "__main__":  # worker processes import this file again and must not start a server
    try:
        from upscale_server.cli.named import serve_video
    except ModuleNotFoundError as err:
        sys.exit(f"{sys.executable} has no {err.name}; run `make install` and then .venv/bin/python {sys.argv[0]}")
    serve_video({"MAX_WORKERS": MAX_WORKERS, "MODEL_PATH": MODEL_PATH, "TEMP_DIR": TEMP_DIR, "OUTPUT_DIR": OUTPUT_DIR})
