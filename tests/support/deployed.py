"""Reads what is shipped in `deploy/`, and says what a service or a pod of it is not held to.

It runs no tool; that is tests/integration/test_deploy_tools.py's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from upscale_server.errors import BadRequest
from upscale_server.settings import load_settings

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE_FILES = (DEPLOY / "compose.yaml", DEPLOY / "compose.images.yaml")
"""Each stands alone; `compose.gpu.yaml` is laid over the first."""


def documents(path: Path) -> list[Any]:
    """Return the YAML documents of a file."""
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def unknown(names: set[str]) -> set[str]:
    """Return the settings among some variables that would stop a start, because they do not exist."""
    return {name for name in names if name.startswith("UPSCALE_") and not _is_known(name)}


def _is_known(name: str) -> bool:
    try:
        load_settings({name: ""})
    except BadRequest:
        return False
    return True


def variables_of(text: str) -> dict[str, str]:
    """Return what a file of variables sets."""
    return dict(line.split("=", 1) for line in text.splitlines())


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
    both = pod["securityContext"]
    held = {
        "non-root": both.get("runAsNonRoot") is True and both.get("runAsUser", 0) > 0 and both.get("runAsGroup", 0) > 0,
        "seccomp": both.get("seccompProfile") == {"type": "RuntimeDefault"},
        "no token": pod.get("automountServiceAccountToken") is False,
        "no service links": pod.get("enableServiceLinks") is False,
        "bounded folders": all("sizeLimit" in one["emptyDir"] for one in pod["volumes"] if "emptyDir" in one),
        "own namespaces": not {"hostNetwork", "hostPID", "hostIPC"} & set(pod),
    }
    soft = {name for name, is_so in held.items() if not is_so}
    return soft.union(*(soft_container(container) for container in pod["containers"]))


def soft_container(container: dict[str, Any]) -> set[str]:
    """Return what a container of a pod is not held to."""
    own, limits = container["securityContext"], container["resources"]["limits"]
    held = {
        "read-only root": own.get("readOnlyRootFilesystem") is True,
        "no capabilities": own.get("capabilities") == {"drop": ["ALL"]},
        "no new privileges": own.get("allowPrivilegeEscalation") is False,
        "not privileged": not own.get("privileged"),
        "limits": {"cpu", "memory", "ephemeral-storage"} <= set(limits),
        "a live check": "livenessProbe" in container,
    }
    return {name for name, is_so in held.items() if not is_so}


def pods_of(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the pods that an object makes, each as a Pod that Kubernetes knows, by name."""
    name, spec = found["metadata"]["name"], found.get("spec", {})
    if found["kind"] == "Pod":
        return {name: found}
    if found["kind"] in ("Deployment", "StatefulSet"):
        return {name: _pod(name, spec["template"])}
    if found["kind"] == "RayCluster":
        groups = {one["groupName"]: one for one in spec["workerGroupSpecs"]} | {"head": spec["headGroupSpec"]}
        return {f"{name}-{group}": _pod(f"{name}-{group}", one["template"]) for group, one in groups.items()}
    return {}


def _pod(name: str, template: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, **template["metadata"]}, "spec": template["spec"],
    }  # fmt: skip


def has_key(container: dict[str, Any]) -> bool:
    """Tell whether a container gets the callers' keys, and not from the manifest."""
    return any(one["name"] == "UPSCALE_API_KEYS" and "valueFrom" in one for one in container["env"])
