#!/usr/bin/env python3
"""Start the image server on port 8090 under its documented name, with its defaults to edit.

    python tsdsr_worker_server.py [--port 8090] [--host 127.0.0.1] [--upscale 2] [--process-size 128] [--workers 1]
                                  [--model auto|tsdsr|NAME|FILE]          the flags of `upscale serve image`

Flags count more than the environment (UPSCALE_IMAGE__WORKERS and so on), and that more than these lines.
"""

import sys

UPSCALE = 2  # factor of a request that names none: 2 or 4
PROCESS_SIZE = 128  # processing size of a request that names none: 64 to 256; only TSD-SR has a use for it
WORKERS = 1  # processes on the one port, each with its models loaded
MODEL = "auto"  # TSD-SR where its weights are set and a GPU is there, else the built-in one; or a name, or a file

if __name__ == "__main__":  # worker processes import this file again and must not start a server
    try:
        from upscale_server.cli.named import serve_image
    except ModuleNotFoundError as err:
        sys.exit(f"{sys.executable} has no {err.name}; run `make install` and then .venv/bin/python {sys.argv[0]}")
    serve_image({"UPSCALE": UPSCALE, "PROCESS_SIZE": PROCESS_SIZE, "WORKERS": WORKERS, "MODEL": MODEL})
