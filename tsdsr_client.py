#!/usr/bin/env python3
"""Talk to image servers under the documented name; the flags are those of `upscale client image`.

python tsdsr_client.py -i input.png -o output.png -u 4
python tsdsr_client.py --batch ./images --output ./upscaled --port 8090,8091
python tsdsr_client.py --stats | jq .gpu_memory_allocated_gb
"""

import sys

if __name__ == "__main__":
    try:
        from upscale_server.cli.named import image_client
    except ModuleNotFoundError as err:
        sys.exit(f"{sys.executable} has no {err.name}; run `make install` and then .venv/bin/python {sys.argv[0]}")
    image_client()
