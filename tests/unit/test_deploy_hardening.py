"""What is shipped for containers takes nothing that it does not need; the shipped files themselves are read."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.deployed import (
    COMPOSE_FILES,
    DEPLOY,
    documents,
    has_key,
    pods_of,
    soft_pod,
    soft_service,
    variables_of,
)
from upscale_server.settings import known_names

WORKLOADS = ("tsdsr.yaml", "video.yaml")
PODS = {
    f"{path.parent.name}/{name}": pod
    for path in sorted((DEPLOY / "k8s").rglob("*.yaml"))
    if path.parent.name in ("k8s", "base") or path.name == "ray-cluster.yaml"
    for found in documents(path)
    if found["kind"] != "Kustomization"
    for name, pod in pods_of(found).items()
}
"""What the files make; patches are held to it as a whole, once kustomize has laid them over (test_deploy_tools)."""
PRIVATE = {"10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"}


@pytest.mark.parametrize("path", COMPOSE_FILES, ids=lambda path: path.name)
def test_every_service_of_a_compose_file_is_hardened(path: Path) -> None:
    """Ours and what is beside them alike."""
    (compose,) = documents(path)

    assert {} == {name: soft for name, one in compose["services"].items() if (soft := soft_service(one))}


@pytest.mark.parametrize("path", COMPOSE_FILES, ids=lambda path: path.name)
def test_secrets_and_configurations_of_a_compose_file_are_files(path: Path) -> None:
    """Compose mounts a file and copies everything else into the container, which a read-only root does not let it.

    Source: github.com/docker/compose/pull/12531.
    """
    (compose,) = documents(path)
    named = compose.get("secrets", {}) | compose.get("configs", {})

    assert {} == {name: one for name, one in named.items() if set(one) != {"file"}}


def test_the_secrets_are_made_once_and_fit_together(tmp_path: Path) -> None:
    """One password for both ends of the database, one key for both ends of the store; only two files are for all."""
    folder = tmp_path / "secrets"

    first = made_secrets(folder)
    again = made_secrets(folder)

    assert first == again
    assert {"api_key", "postgres_password", "server.env", "store.env"} == set(first)
    server, store = variables_of(first["server.env"]), variables_of(first["store.env"])
    password = first["postgres_password"].strip()
    assert f"postgresql://upscale:{password}@postgres/upscale" == server["UPSCALE_DATABASE_URL"]
    assert store["GARAGE_DEFAULT_ACCESS_KEY"] == server["UPSCALE_STORAGE__S3__ACCESS_KEY"]
    assert store["GARAGE_DEFAULT_SECRET_KEY"] == server["UPSCALE_STORAGE__S3__SECRET_KEY"]
    assert set() == {name for name in server if name not in known_names()}
    assert [0o700, 0o644, 0o644, 0o600, 0o600] == [
        path.stat().st_mode & 0o777 for path in (folder, *(folder / name for name in sorted(first)))
    ]


def made_secrets(folder: Path) -> dict[str, str]:
    """Have the script make them, and return what is in each file."""
    subprocess.run([DEPLOY / "make_secrets.sh", folder], capture_output=True, check=True)
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


@pytest.mark.parametrize("name", PODS)
def test_every_pod_is_hardened(name: str) -> None:
    """Non-root, a root nobody writes, no capability, no token, and limits for all that can run out."""
    assert set() == soft_pod(PODS[name]["spec"])


def test_every_server_has_a_key_and_no_other_pod_has() -> None:
    """The nodes of a Ray cluster answer no caller."""
    servers = {name for name, pod in PODS.items() if "serve" in pod["spec"]["containers"][0].get("command", [])}

    assert servers == {name for name, pod in PODS.items() if has_key(pod["spec"]["containers"][0])}
    assert {"base/upscale-video", "base/upscale-image", "k8s/tsdsr-worker", "k8s/upscale-video"} <= servers < set(PODS)


@pytest.mark.parametrize("name", ["read_only", "user", "cap_drop", "security_opt", "mem_limit", "cpus", "pids_limit"])
def test_a_service_without_one_of_them_is_noticed(name: str) -> None:
    """The teeth of the first test."""
    (compose,) = documents(DEPLOY / "compose.images.yaml")
    worker = {key: value for key, value in compose["services"]["worker-8090"].items() if key != name}

    assert soft_service(worker)


@pytest.mark.parametrize("name", ["readOnlyRootFilesystem", "capabilities", "allowPrivilegeEscalation"])
def test_a_pod_without_one_of_them_is_noticed(name: str) -> None:
    """The teeth of the second one."""
    pod = documents(DEPLOY / "k8s" / "video.yaml")[0]["spec"]["template"]["spec"]
    del pod["containers"][0]["securityContext"][name]

    assert soft_pod(pod)


def test_each_workload_has_a_policy_that_keeps_private_networks_out_of_reach() -> None:
    """In come clients alone; the video server reaches the internet's two ports, the image server nobody."""
    policies = {one["metadata"]["name"]: one["spec"] for one in documents(DEPLOY / "k8s" / "network-policy.yaml")}
    labels = [
        documents(DEPLOY / "k8s" / name)[0]["spec"]["template"]["metadata"]["labels"] for name in reversed(WORKLOADS)
    ]
    reached = policies["upscale-video"]["egress"][-1]
    block = next(one["ipBlock"] for one in reached["to"] if one["ipBlock"]["cidr"] == "0.0.0.0/0")

    assert labels == [one["podSelector"]["matchLabels"] for one in policies.values()]
    assert [["Ingress", "Egress"]] * 2 == [one["policyTypes"] for one in policies.values()]
    assert [True, True] == [bool(one["ingress"][0]["from"]) for one in policies.values()]
    assert set(block["except"]) >= PRIVATE
    assert [80, 443] == [one["port"] for one in reached["ports"]]
    assert [] == policies["tsdsr-worker"]["egress"]


def test_the_video_servers_settings_exist_and_no_service_makes_others() -> None:
    """Kubernetes makes variables of a Service's name; ours begin as settings do, and an unknown one stops the start."""
    workload, service = documents(DEPLOY / "k8s" / "video.yaml")
    pod = workload["spec"]["template"]["spec"]
    names = {one["name"] for one in pod["containers"][0]["env"]}

    assert set() == names - set(known_names())
    assert service["metadata"]["name"].startswith("upscale")
    assert pod["enableServiceLinks"] is False
    assert pod["terminationGracePeriodSeconds"] > 30
