"""The manifests for Kubernetes agree with each other, with the servers' settings and with the documents.

They are read as they are; what kustomize makes of them is tests/integration/test_deploy_tools.py's.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.deployed import DEPLOY, documents, pods_of, unknown

K8S = DEPLOY / "k8s"
HOWTO = (DEPLOY.parent / "docs" / "howto" / "run-on-kubernetes.md").read_text(encoding="utf-8")
OVERLAYS = sorted(path.name for path in (K8S / "overlays").iterdir())
FILES = [path for path in sorted(K8S.rglob("*.yaml")) if path.name != "kustomization.yaml"]
SERVERS = {"upscale-video": 29115, "upscale-image": 8090}
DRAIN_SECONDS = 30
"""The default of both UPSCALE_JOBS__DRAIN_SECONDS and UPSCALE_IMAGE__DRAIN_SECONDS."""
DOCUMENTED_POD = """
apiVersion: v1
kind: Pod
metadata:
  name: tsdsr-worker
spec:
  containers:
  - name: tsdsr
    image: tsdsr:latest
    ports:
    - containerPort: 8090
    env:
    - name: CUDA_VISIBLE_DEVICES
      value: "0"
"""


def in_base(kind: str) -> dict[str, dict[str, Any]]:
    """Return the objects of a kind in the base, by name."""
    every = [one for path in (K8S / "base").glob("*.yaml") for one in documents(path)]
    return {one["metadata"]["name"]: one for one in every if one["kind"] == kind}


def in_ray(name: str, kind: str) -> dict[str, Any]:
    """Return the object of a kind in a file of the overlay `ray`."""
    return dict(next(one for one in documents(K8S / "overlays" / "ray" / name) if one["kind"] == kind))


def variables(container: dict[str, Any]) -> dict[str, Any]:
    """Return a container's variables; where one comes from somewhere, that place."""
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in container.get("env", [])}


def test_the_pod_is_the_documented_one() -> None:
    """All that the document says of its pod is said here, too; the rest is what it lacked."""
    documented, (ours,) = yaml.safe_load(DOCUMENTED_POD), documents(K8S / "pod.yaml")
    (theirs,), (container,) = documented["spec"]["containers"], ours["spec"]["containers"]

    assert (documented["apiVersion"], documented["kind"]) == (ours["apiVersion"], ours["kind"])
    assert documented["metadata"].items() <= ours["metadata"].items()
    assert [(theirs[name]) for name in ("name", "image", "ports")] == [
        container[name] for name in ("name", "image", "ports")
    ]
    assert all(one in container["env"] for one in theirs["env"])
    assert 1 == container["resources"]["limits"]["nvidia.com/gpu"]
    assert "0.0.0.0" in container["args"]  # noqa: S104 - where probes and callers reach it; a key is asked for


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(K8S)))
def test_every_setting_exists(path: Path) -> None:
    """An unknown name that begins with UPSCALE_ stops a start; in a ConfigMap that is read whole, too."""
    names = set(re.findall(r"\bUPSCALE_[A-Z0-9_]+\b", re.sub(r"#.*", "", path.read_text(encoding="utf-8"))))

    assert set() == unknown(names)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_names_what_is_there(overlay: str) -> None:
    """Each file and folder that it lists; each patch changes an object of the base."""
    folder = K8S / "overlays" / overlay
    (kustomization,) = documents(folder / "kustomization.yaml")
    patches = kustomization.get("patchesStrategicMerge", [])
    listed = [*kustomization.get("resources", []), *patches]

    assert ["../../base"] == kustomization["bases"]
    assert {path.name for path in folder.glob("*.yaml")} == {*listed, "kustomization.yaml"}
    for name in patches:
        (patch,) = documents(folder / name)
        assert patch["metadata"]["name"] in in_base(patch["kind"])


def test_the_base_lists_all_its_files() -> None:
    """A file that is not listed would never be applied."""
    (kustomization,) = documents(K8S / "base" / "kustomization.yaml")

    assert {path.name for path in (K8S / "base").glob("*.yaml")} == {*kustomization["resources"], "kustomization.yaml"}


@pytest.mark.parametrize("name", SERVERS)
def test_each_server_has_its_port_its_probes_and_time_to_drain(name: str) -> None:
    """Callers, probes and the Service use one port; what runs is finished before the pod is killed."""
    deployment, service = in_base("Deployment")[name], in_base("Service")[name]
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]

    assert str(SERVERS[name]) == container["args"][-1]
    assert [{"name": "http", "containerPort": SERVERS[name]}] == container["ports"]
    assert [SERVERS[name]] == [one["port"] for one in service["spec"]["ports"]]
    assert "/readyz" == container["readinessProbe"]["httpGet"]["path"]
    assert "/livez" == container["livenessProbe"]["httpGet"]["path"] == container["startupProbe"]["httpGet"]["path"]
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][-1])
    assert pod["terminationGracePeriodSeconds"] > DRAIN_SECONDS + pause


@pytest.mark.slow
@pytest.mark.parametrize("name", SERVERS)
def test_each_servers_service_budget_and_policy_mean_its_pods(name: str) -> None:
    """A selector that meets nobody fails silently."""
    labels = in_base("Deployment")[name]["spec"]["template"]["metadata"]["labels"]

    assert labels == in_base("Deployment")[name]["spec"]["selector"]["matchLabels"]
    assert labels == in_base("Service")[name]["spec"]["selector"]
    assert labels == in_base("PodDisruptionBudget")[name]["spec"]["selector"]["matchLabels"]
    assert labels == in_base("NetworkPolicy")[name]["spec"]["podSelector"]["matchLabels"]
    assert 1 == in_base("PodDisruptionBudget")[name]["spec"]["maxUnavailable"]


def test_the_video_servers_share_a_database_a_store_and_what_seals_addresses() -> None:
    """All come from Secrets and one ConfigMap, which names no key."""
    (container,) = in_base("Deployment")["upscale-video"]["spec"]["template"]["spec"]["containers"]
    given = variables(container)
    store = in_base("ConfigMap")["upscale-store"]["data"]

    assert [{"configMapRef": {"name": "upscale-store"}}, {"secretRef": {"name": "upscale-store"}}] == container[
        "envFrom"
    ]
    for name in ("UPSCALE_API_KEYS", "UPSCALE_DATABASE_URL", "UPSCALE_JOBS__SEAL_SECRET"):
        assert "upscale-video" == given[name]["secretKeyRef"]["name"]
    assert "s3" == store["UPSCALE_STORAGE__KIND"]
    assert set() == {name for name in store if name.endswith("_KEY")}


def test_the_policy_lets_the_video_servers_reach_database_and_store_and_no_other_private_network() -> None:
    """The image servers reach nobody."""
    video, image = (in_base("NetworkPolicy")[name]["spec"] for name in SERVERS)
    pods = [
        to["podSelector"]["matchLabels"] for rule in video["egress"] for to in rule["to"] if set(to) == {"podSelector"}
    ]
    (block,) = (to["ipBlock"] for to in video["egress"][-1]["to"] if to["ipBlock"]["cidr"] == "0.0.0.0/0")

    assert [{"app": "postgres"}, {"app": "store"}] == pods
    assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"} <= set(block["except"])
    assert [] == image["egress"]


def test_each_pod_of_the_overlay_for_gpus_has_one_and_room_to_be_replaced() -> None:
    """The node is chosen, its taint borne, and a new pod waits for no GPU that the old one has."""
    for name in SERVERS:
        (patch,) = documents(K8S / "overlays" / "gpu" / f"{name.removeprefix('upscale-')}.yaml")
        pod = patch["spec"]["template"]["spec"]

        assert {"nvidia.com/gpu": 1} == pod["containers"][0]["resources"]["limits"]
        assert {"nvidia.com/gpu.present": "true"} == pod["nodeSelector"]
        assert "nvidia.com/gpu" == pod["tolerations"][0]["key"]
        assert {"maxUnavailable": 1, "maxSurge": 0} == patch["spec"]["strategy"]["rollingUpdate"]


def test_the_ray_cluster_is_what_the_servers_are_told_to_ask() -> None:
    """Its address follows from its name, of which KubeRay makes a Service; all have one Ray, one token, one store."""
    cluster, patch = in_ray("ray-cluster.yaml", "RayCluster"), in_ray("video.yaml", "Deployment")
    server, node = patch["spec"]["template"]["spec"]["containers"]
    address = f"{cluster['metadata']['name']}-head-svc:6379"
    constraints = (DEPLOY.parent / "constraints.txt").read_text(encoding="utf-8")

    assert f"ray=={cluster['spec']['rayVersion']}\n" in constraints
    assert ("ray", address) == (variables(server)["UPSCALE_EXECUTOR"], variables(server)["UPSCALE_RAY__ADDRESS"])
    assert f"--address={address}" in node["args"]
    everyone = [server, node, *(pod["spec"]["containers"][0] for pod in pods_of(cluster).values())]
    for container in everyone:
        assert "token" == variables(container)["RAY_AUTH_MODE"]
        assert {"secretKeyRef": {"name": "upscale-ray", "key": "token"}} == variables(container)["RAY_AUTH_TOKEN"]
    for group in cluster["spec"]["workerGroupSpecs"]:
        (worker,) = group["template"]["spec"]["containers"]
        (base,) = in_base("Deployment")["upscale-video"]["spec"]["template"]["spec"]["containers"]
        assert base["envFrom"] == worker["envFrom"]
        drain = int(variables(worker)["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"])
        assert 60 <= drain < group["template"]["spec"]["terminationGracePeriodSeconds"]


def test_neither_the_head_nor_a_driver_gets_work() -> None:
    """They have no processor to give; the nodes have what their limits say, which KubeRay tells Ray."""
    cluster, patch = in_ray("ray-cluster.yaml", "RayCluster"), in_ray("video.yaml", "Deployment")
    _, node = patch["spec"]["template"]["spec"]["containers"]

    assert "0" == cluster["spec"]["headGroupSpec"]["rayStartParams"]["num-cpus"]
    assert {"--num-cpus=0", "--num-gpus=0"} <= set(node["args"])
    for group in cluster["spec"]["workerGroupSpecs"]:
        assert set() == {"num-cpus", "num-gpus"} & set(group["rayStartParams"])
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_a_driver_meets_its_node_in_a_folder_and_outlives_no_call() -> None:
    """Ray's sockets are in /tmp/ray; the node goes after the server has drained, and before the pod is killed."""
    server, node = in_ray("video.yaml", "Deployment")["spec"]["template"]["spec"]["containers"]
    base = in_base("Deployment")["upscale-video"]["spec"]["template"]["spec"]
    pause = int(node["lifecycle"]["preStop"]["exec"]["command"][-1])
    before = int(base["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][-1])

    assert {"name": "ray", "mountPath": "/tmp/ray"} in server["volumeMounts"]  # noqa: S108 - Ray's own place
    assert {"name": "ray", "mountPath": "/tmp/ray"} in node["volumeMounts"]  # noqa: S108 - as above
    assert before + DRAIN_SECONDS < pause < base["terminationGracePeriodSeconds"]


def test_only_the_cluster_and_its_drivers_reach_the_cluster() -> None:
    """Who reaches a Ray cluster runs programs on it."""
    policy = in_ray("network-policy.yaml", "NetworkPolicy")["spec"]
    cluster, patch = in_ray("ray-cluster.yaml", "RayCluster"), in_ray("video.yaml", "Deployment")
    member = {"upscale-ray": "yes"}
    labels = [pod["metadata"]["labels"] for pod in pods_of(cluster).values()]

    assert member == policy["podSelector"]["matchLabels"]
    assert [{"from": [{"podSelector": {"matchLabels": member}}]}] == policy["ingress"]
    assert all(member.items() <= one.items() for one in [*labels, patch["spec"]["template"]["metadata"]["labels"]])


def test_the_howto_makes_every_secret_that_is_asked_for() -> None:
    """A pod whose Secret is missing does not start."""
    asked: dict[str, set[str]] = {
        "upscale-store": {"UPSCALE_STORAGE__S3__ACCESS_KEY", "UPSCALE_STORAGE__S3__SECRET_KEY"}
    }
    for path in FILES:
        for name, key in re.findall(
            r"secretKeyRef: \{ name: ([\w-]+), key: ([\w-]+) \}", path.read_text(encoding="utf-8")
        ):
            asked.setdefault(name, set()).add(key)

    assert {"tsdsr", "upscale-image", "upscale-ray", "upscale-store", "upscale-video"} == set(asked)
    for name, keys in asked.items():
        made = " ".join(re.findall(rf"create secret generic {name} ((?:\\\n|[^\n])*)", HOWTO))
        assert set() == {key for key in keys if f"--from-literal={key}=" not in made}, name
