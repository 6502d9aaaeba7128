"""The compose file that runs everything agrees with itself, with the servers' settings and with what it mounts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.deployed import COMPOSE_FILES, DEPLOY, documents, unknown

VIDEO = {"video-1": "29115", "video-2": "29116"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:  # YAML has no narrower type
    """Give the file."""
    (found,) = documents(DEPLOY / "compose.yaml")
    return dict(found)


def test_the_video_servers_share_queue_and_store_and_nothing_else(compose: dict[str, Any]) -> None:
    """Each has a port and a state folder of its own, listens on loopback alone, and waits for what it needs."""
    services = compose["services"]

    assert list(VIDEO) == [name for name in services if name.startswith("video")]
    for name, port in VIDEO.items():
        video = services[name]
        assert ["upscale", "serve", "video", "--port", port] == video["command"][:5]
        assert "--host" not in video["command"]
        assert port == video["environment"]["LIVE_PORT"]
        assert f"http://127.0.0.1:{port}/readyz" in video["healthcheck"]["test"][-1]
        assert "service:door" == video["network_mode"]
        assert "s3" == video["environment"]["UPSCALE_STORAGE__KIND"]
        assert {"door", "postgres", "store"} == set(video["depends_on"])
    assert 2 == len({services[name]["volumes"][0] for name in VIDEO})


def test_every_setting_exists(compose: dict[str, Any]) -> None:
    """An unknown name that begins with UPSCALE_ stops a server's start."""
    names = {name for one in compose["services"].values() for name in one.get("environment", {})}

    assert "UPSCALE_STORAGE__S3__PUBLIC_ENDPOINT" in names
    assert set() == unknown(names)


def test_its_own_variables_are_told_and_are_no_settings() -> None:
    """A name that begins with UPSCALE_ and is no setting would stop every `upscale` of the same shell."""
    howto = (DEPLOY.parent / "docs" / "howto" / "run-in-docker.md").read_text(encoding="utf-8")
    texts = [(DEPLOY / name).read_text(encoding="utf-8") for name in ("compose.yaml", "compose.gpu.yaml")]
    names = set(re.findall(r"\$\{(\w+)", "".join(texts)))

    assert set() == {name for name in names if name.startswith("UPSCALE_")}
    assert set() == {name for name in names if f"`{name}`" not in howto}


def test_every_service_says_how_it_is(compose: dict[str, Any]) -> None:
    """A check for each that goes on running; the one that ends needs none."""
    without = {name for name, one in compose["services"].items() if "test" not in one.get("healthcheck", {})}

    assert {"store-folder"} == without
    assert "no" == compose["services"]["store-folder"]["restart"]


def test_the_doors_nginx_asks_these_servers_and_leads_to_the_store(compose: dict[str, Any]) -> None:
    """What its sed looks for is there once; upstreams, bucket and the store's port are those of the other parts."""
    door, store = compose["services"]["door"], compose["services"]["store"]
    videos, links = ((DEPLOY / "nginx" / name).read_text(encoding="utf-8") for name in ("videos.conf", "store.conf"))
    sought = re.search(r"s\|(listen [^|]+)\|", door["entrypoint"][-1])
    bucket = compose["services"]["video-1"]["environment"]["UPSCALE_STORAGE__S3__BUCKET"]

    assert sought is not None
    assert 1 == videos.count(sought[1])
    assert ["8080:8081"] == door["ports"]
    assert list(VIDEO.values()) == re.findall(r"server 127\.0\.0\.1:(\d+)", videos)
    assert f"location /{bucket}/results/ {{" in links
    assert bucket == store["environment"]["GARAGE_DEFAULT_BUCKET"]
    assert "http://store:3900;" in links
    assert 'api_bind_addr = "0.0.0.0:3900"' in (DEPLOY / "garage.toml").read_text(encoding="utf-8")


def test_the_store_speaks_of_the_region_that_requests_are_signed_for(compose: dict[str, Any]) -> None:
    """A link that is signed for another region is refused."""
    region = compose["services"]["video-1"]["environment"]["UPSCALE_STORAGE__S3__REGION"]

    assert f's3_region = "{region}"' in (DEPLOY / "garage.toml").read_text(encoding="utf-8")


def test_database_and_store_have_no_way_out_and_no_port(compose: dict[str, Any]) -> None:
    """Their network is internal, and nothing of them is published."""
    assert {"internal": True} == compose["networks"]["inside"]
    for name in ("postgres", "store"):
        assert ["inside"] == compose["services"][name]["networks"]
        assert "ports" not in compose["services"][name]


def test_the_database_and_the_servers_speak_of_one_user_and_one_database(compose: dict[str, Any]) -> None:
    """The address that make_secrets.sh writes names them, and the service's own name."""
    postgres = compose["services"]["postgres"]["environment"]
    address = re.search(
        r"postgresql://(\w+):[^@]+@(\w+)/(\w+)", (DEPLOY / "make_secrets.sh").read_text(encoding="utf-8")
    )

    assert address is not None
    assert (postgres["POSTGRES_USER"], "postgres", postgres["POSTGRES_DB"]) == address.groups()


def test_prometheus_asks_every_server_with_the_key(compose: dict[str, Any]) -> None:
    """The targets are the servers' ports, and the key is mounted where its configuration looks for it."""
    (targets,) = documents(DEPLOY / "prometheus" / "targets" / "servers.yml")[0]
    prometheus = compose["services"]["prometheus"]
    (secret,) = prometheus["secrets"]

    assert [*(f"127.0.0.1:{port}" for port in VIDEO.values()), "image:8090"] == targets["targets"]
    assert "service:door" == prometheus["network_mode"]
    assert f"/run/secrets/{secret['target']}" in (DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", COMPOSE_FILES, ids=lambda path: path.name)
def test_everything_that_is_mounted_is_there(path: Path) -> None:
    """A volume that is named, or a file or folder beside this one; a mistyped one would be made as an empty folder."""
    (found,) = documents(path)
    for name, service in found["services"].items():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0] if not volume.startswith("$") else ""
            if source.startswith("./"):
                assert (DEPLOY / source).exists(), f"{name} mounts {source}"
            elif source:
                assert source in found["volumes"], f"{name} mounts {source}"


@pytest.mark.parametrize("path", COMPOSE_FILES, ids=lambda path: path.name)
def test_every_name_that_a_service_uses_is_made_there(path: Path) -> None:
    """Services, networks and secrets: the schema does not look whether they exist."""
    (found,) = documents(path)
    services, networks, secrets = found["services"], found.get("networks", {}), found.get("secrets", {})
    for name, service in services.items():
        shared = service.get("network_mode", "none").removeprefix("service:")
        wanted = {one["source"] if isinstance(one, dict) else one for one in service.get("secrets", [])}

        assert shared in services or shared == "none", name
        assert set() == set(service.get("depends_on", [])) - set(services), name
        assert set() == set(service.get("networks", [])) - {*networks, "default"}, name
        assert set() == wanted - set(secrets), name


def test_the_file_for_gpus_changes_the_image_and_gives_each_server_one_gpu(compose: dict[str, Any]) -> None:
    """It is laid over the other and takes no hardening away."""
    (over,) = documents(DEPLOY / "compose.gpu.yaml")

    assert set(VIDEO) == set(over["services"])
    for number, service in enumerate(over["services"].values()):
        assert {"image", "build", "deploy"} == set(service)
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        assert ([str(number)], ["gpu"]) == (device["device_ids"], device["capabilities"])
        assert "cuda" == service["build"]["target"]
    assert "cpu" == compose["services"]["video-1"]["build"]["target"]
