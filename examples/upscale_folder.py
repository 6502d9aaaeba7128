"""Send the pictures of a folder to image servers from Python, several at a time, and print where each result is.

`upscale client image --batch` does the same and more; this shows the client that it is made of. Pictures go to the
server with least to do, and to another one when a server dies.

    python examples/upscale_folder.py images/ results/ 8090 8091
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from upscale_server.client.image_servers import ImageServers
from upscale_server.client.images import ImageServer, Wish
from upscale_server.errors import UpscaleError

FACTOR = 2


def main(folder: Path, results: Path, ports: list[str]) -> int:
    """Upscale every PNG of the folder; the exit code is 1 when one failed."""
    results.mkdir(parents=True, exist_ok=True)
    pictures = sorted(folder.glob("*.png"))
    servers = [ImageServer(f"http://127.0.0.1:{port}") for port in ports or ["8090"]]

    def upscaled(picture: Path) -> bool:
        try:
            done = several.upscale(picture, results / picture.name, Wish(FACTOR))
        except UpscaleError as err:
            sys.stderr.write(f"{picture}: {err.code}: {err.detail}\n")
            return False
        sys.stdout.write(f"{results / picture.name} {done.size} {done.model}\n")
        return True

    with ImageServers(servers) as several, ThreadPoolExecutor(2 * len(servers)) as pool:
        return 0 if all(list(pool.map(upscaled, pictures))) else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
