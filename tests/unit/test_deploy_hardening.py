"""What is shipped for containers takes nothing that it does not need; the shipped files themselves are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from upscale_server.settings import known_names

DEPLOY = Path(__file__).parents[2] / "deploy"
WORKLOADS = ("tsdsr.yaml", "video.yaml")
PRIVATE = {"10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"}


def documents(path: Path) -> list[Any]:
    """Return the YAML documents of a file."""
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed here; it comes with the extra [tsdsr]")
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def soft_service(service: dict[str, Any]) -> set[str]:
    """Return what a service of a compose file is not held to."""
    user = str(service.get("user", "0")).partition(":")[0]
    held = {
        "non-root": user not in ("", "0", "root"),
        "read-only root": service.get("read_only") is True,
        "no capabilities": service.get("cap_drop") == ["ALL"] and not service.get("cap_add"),
        "no new privileges": "no-new-privileges:true" in service.get("security_opt", []),
        "memory": "mem_limit" in service,
        "cpus": "cpus" in service,
        "processes": "pids_limit" in service,
        "not privileged": not service.get("privileged"),
    }
    return {name for name, is_so in held.items() if not is_so}


def soft_pod(pod: dict[str, Any]) -> set[str]:
    """Return what a pod is not held to."""
    (container,) = pod["containers"]
    both, own, limits = pod["securityContext"], container["securityContext"], container["resources"]["limits"]
    held = {
        "non-root": both.get("runAsNonRoot") is True and both.get("runAsUser", 0) > 0 and both.get("runAsGroup", 0) > 0,
        "seccomp": both.get("seccompProfile") == {"type": "RuntimeDefault"},
        "no token": pod.get("automountServiceAccountToken") is False,
        "read-only root": own.get("readOnlyRootFilesystem") is True,
        "no capabilities": own.get("capabilities") == {"drop": ["ALL"]},
        "no new privileges": own.get("allowPrivilegeEscalation") is False,
        "not privileged": not own.get("privileged"),
        "limits": {"cpu", "memory", "ephemeral-storage"} <= set(limits),
        "bounded folders": all("sizeLimit" in one["emptyDir"] for one in pod["volumes"] if "emptyDir" in one),
        "own namespaces": not {"hostNetwork", "hostPID", "hostIPC"} & set(pod),
        "a key": any(one["name"] == "UPSCALE_API_KEYS" and "valueFrom" in one for one in container["env"]),
    }
    return {name for name, is_so in held.items() if not is_so}


def test_every_service_of_the_compose_file_is_hardened() -> None:
    """Ours, nginx, Prometheus and Grafana alike."""
    (compose,) = documents(DEPLOY / "compose.yaml")

    assert {} == {name: soft for name, one in compose["services"].items() if (soft := soft_service(one))}


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_pod_is_hardened(name: str) -> None:
    """Non-root, a root nobody writes, no capability, no token, and limits for all that can run out."""
    workload = documents(DEPLOY / "k8s" / name)[0]

    assert set() == soft_pod(workload["spec"]["template"]["spec"])


@pytest.mark.parametrize("name", ["read_only", "user", "cap_drop", "security_opt", "mem_limit", "cpus", "pids_limit"])
def test_a_service_without_one_of_them_is_noticed(name: str) -> None:
    """The teeth of the first test."""
    (compose,) = documents(DEPLOY / "compose.yaml")
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
