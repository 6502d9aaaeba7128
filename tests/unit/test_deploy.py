"""What is shipped for running several image servers agrees with itself and with the servers."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.deployed import DEPLOY, documents, unknown
from tests.support.image_server import StandIn, standing_in

ROOT = Path(__file__).parents[2]


def test_the_compose_file_has_the_documented_workers() -> None:
    """A worker for each of the ports 8090 to 8094, probed on its own port, with its own GPU and the state of all."""
    (compose,) = documents(DEPLOY / "compose.images.yaml")
    workers = {name: service for name, service in compose["services"].items() if name.startswith("worker-")}

    assert [f"worker-{port}" for port in range(8090, 8095)] == list(workers)
    for number, (name, worker) in enumerate(workers.items()):
        port = name.removeprefix("worker-")
        assert ["upscale", "serve", "image", "--port", port] == worker["command"]
        assert f"http://127.0.0.1:{port}/readyz" in worker["healthcheck"]["test"][-1]
        assert "state:/state" in worker["volumes"]
        assert str(number) == worker["environment"]["CUDA_VISIBLE_DEVICES"]
        assert "service:door" == worker["network_mode"]
        assert set() == unknown(set(worker["environment"]))


def test_the_compose_files_own_variables_are_told_and_are_no_settings() -> None:
    """A name that begins with UPSCALE_ and is no setting would stop every `upscale` of the same shell."""
    text = (DEPLOY / "compose.images.yaml").read_text(encoding="utf-8")
    howto = (ROOT / "docs" / "howto" / "several-image-workers.md").read_text(encoding="utf-8")
    names = set(re.findall(r"\$\{(\w+)", text))

    assert {"API_KEY_FILE", "TSDSR_IMAGE", "TSDSR_MODELS", "UPSCALE_API_KEYS"} == names
    assert set() == unknown(names)
    assert set() == {name for name in names - {"API_KEY_FILE"} if f"{name}=" not in howto}


def test_the_compose_files_door_opens_the_shipped_configuration() -> None:
    """What its sed looks for is there once, so that the second port is really opened."""
    (compose,) = documents(DEPLOY / "compose.images.yaml")
    command = compose["services"]["door"]["entrypoint"][-1]
    sought = re.search(r"s/(listen [^/]+)/", command)

    assert sought is not None
    assert 1 == (DEPLOY / "nginx" / "tsdsr.conf").read_text(encoding="utf-8").count(sought[1])
    assert "8081" in command
    assert ["8080:8081"] == compose["services"]["door"]["ports"]


def test_the_pod_is_reachable_probed_and_has_a_gpu() -> None:
    """What the documented pod lacked: an address, probes on the right paths, a GPU, and a key for the open bind."""
    deployment, service, _ = documents(DEPLOY / "k8s" / "tsdsr.yaml")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]

    assert ["upscale", "serve", "image"] == container["command"]
    assert ["--host", "0.0.0.0", "--port", "8090"] == container["args"]  # noqa: S104 - with a key, see below
    assert "UPSCALE_API_KEYS" in {one["name"] for one in container["env"]}
    assert "/readyz" == container["readinessProbe"]["httpGet"]["path"]
    assert "/livez" == container["livenessProbe"]["httpGet"]["path"]
    assert 1 == container["resources"]["limits"]["nvidia.com/gpu"]
    assert 8090 == service["spec"]["ports"][0]["port"]
    assert service["spec"]["selector"] == deployment["spec"]["template"]["metadata"]["labels"]
    assert set() == unknown({one["name"] for one in container["env"]})


def checked(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the script that asks a range of ports."""
    command = [str(ROOT / "scripts" / "check_workers.sh"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)


@contextmanager
def beside_nobody() -> Iterator[StandIn]:
    """Run a stand-in on a port below which nobody listens."""
    while True:
        with standing_in() as server, socket.socket() as door:
            try:
                door.bind(("127.0.0.1", server.port - 1))  # bound and deaf: as long as we hold it nobody answers there
            except OSError:
                continue
            yield server
            return


def test_the_check_asks_every_port_and_prints_json() -> None:
    """One line for each port, with what it said; exit code 1 because one of them is away."""
    with beside_nobody() as server:
        done = checked(server.port - 1, server.port)

    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [server.port - 1, server.port] == [one["port"] for one in records]
    assert (200, "ok") == (records[1]["http"], records[1]["health"]["status"])
    assert (None, None) == (records[0]["http"], records[0]["health"])
    assert 1 == done.returncode
    assert f"port {server.port}: well" in done.stderr
    assert "1 of 2 workers are not well" in done.stderr


def test_the_check_is_content_when_all_are_well() -> None:
    """Exit code 0."""
    with standing_in() as server:
        assert 0 == checked(server.port, server.port).returncode


def test_the_check_asks_another_machine_by_a_variable_of_its_own() -> None:
    """Some shells export HOST as the name of this machine: it changes nothing, WORKERS_HOST does."""
    with standing_in() as server:
        own = checked(server.port, server.port, HOST="nobody.invalid")
        other = checked(server.port, server.port, WORKERS_HOST="nobody.invalid")

    assert (0, 1) == (own.returncode, other.returncode)


def test_the_check_knows_the_documented_ports() -> None:
    """8090 to 8094, without an argument; what is no port is exit code 2."""
    text = (ROOT / "scripts" / "check_workers.sh").read_text(encoding="utf-8")

    assert "${1:-8090}" in text
    assert "first + 4" in text
    assert 2 == checked("eighty").returncode


def test_a_worker_that_is_not_ready_is_not_well() -> None:
    """503 is shown with what it said."""
    with standing_in() as server:
        server.health_status = 503
        done = checked(server.port, server.port)

    assert 1 == done.returncode
    assert 503 == json.loads(done.stdout)["http"]
