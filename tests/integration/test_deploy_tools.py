"""What is shipped in `deploy/` is held against the tools that will read it: hadolint, compose's schema, nginx, kubectl.

Nothing is built and no cluster is asked; each tool works offline, with the schemas that it brings along.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.deployed import COMPOSE_FILES, DEPLOY, documents, pods_of, soft_pod
from tests.support.nginx import NGINX, configuration

K8S = DEPLOY / "k8s"
OVERLAYS = sorted(path.name for path in (K8S / "overlays").iterdir())
PLAIN = sorted(K8S.glob("*.yaml"))
VERSIONS = ("1.25.0", "1.37.0")
"""Of Kubernetes: the oldest and the newest whose schemas kubernetes-validate brings."""
KUBECTL = shutil.which("kubectl")
COUNTS = {
    "cpu": {"ConfigMap": 1, "Deployment": 2, "NetworkPolicy": 2, "PodDisruptionBudget": 2, "Service": 2},
    "gpu": {"ConfigMap": 1, "Deployment": 2, "NetworkPolicy": 2, "PodDisruptionBudget": 2, "Service": 2},
    "ray": {
        "ConfigMap": 1, "Deployment": 2, "NetworkPolicy": 3, "PodDisruptionBudget": 2, "RayCluster": 1, "Service": 2,
    },
}  # fmt: skip
RAY_CLUSTER = Path(__file__).parents[1] / "support" / "ray_cluster.schema.json"

needs_kubectl = pytest.mark.skipif(
    KUBECTL is None, reason="kubectl is not installed here: apt-get install kubernetes-client"
)
needs_nginx = pytest.mark.skipif(NGINX is None, reason="nginx is not installed here: apt-get install nginx-light")


def ran(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a tool that stands beside the interpreter; skip where it is not installed."""
    tool = Path(sys.executable).parent / name
    if not tool.exists():
        pytest.skip(f"{name} is not installed here: pip install -c constraints.txt -e '.[test]'")
    return subprocess.run([tool, *map(str, arguments)], capture_output=True, text=True, check=False)


def validated(folder: Path, objects: list[dict[str, Any]], version: str) -> subprocess.CompletedProcess[str]:
    """Hold objects against the schemas of a version of Kubernetes."""
    file = folder / "objects.yaml"
    file.write_text(yaml.safe_dump_all(objects), encoding="utf-8")
    return ran("kubernetes-validate", "--strict", "-k", version, file)


def rendered(overlay: str) -> list[dict[str, Any]]:
    """Return what kubectl makes of an overlay."""
    assert KUBECTL is not None
    made = subprocess.run(
        [KUBECTL, "kustomize", str(K8S / "overlays" / overlay)], capture_output=True, text=True, check=False
    )
    assert 0 == made.returncode, made.stderr
    return list(yaml.safe_load_all(made.stdout))


def test_hadolint_has_nothing_to_say_of_the_dockerfile() -> None:
    """Neither an error nor a hint."""
    done = ran("hadolint", "--failure-threshold", "style", DEPLOY / "Dockerfile")

    assert (0, "") == (done.returncode, done.stdout)


def test_hadolint_would_speak(tmp_path: Path) -> None:
    """The teeth of the test before."""
    file = tmp_path / "Dockerfile"
    file.write_text("FROM python:latest\nRUN cd /tmp && pip install numpy\n", encoding="utf-8")

    assert 0 != ran("hadolint", "--failure-threshold", "style", file).returncode


def test_the_compose_files_are_what_compose_reads() -> None:
    """All of them, against the schema of the specification."""
    files = sorted(DEPLOY.glob("compose*.yaml"))

    done = ran("check-jsonschema", "--builtin-schema", "vendor.compose-spec", *files)

    assert set(COMPOSE_FILES) < set(files)
    assert 0 == done.returncode, done.stdout + done.stderr


def test_a_mistyped_word_in_a_compose_file_is_noticed(tmp_path: Path) -> None:
    """The teeth of the test before."""
    file = tmp_path / "compose.yaml"
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    file.write_text(text.replace("depends_on:", "depend_on:", 1), encoding="utf-8")

    assert 0 != ran("check-jsonschema", "--builtin-schema", "vendor.compose-spec", file).returncode


@pytest.mark.parametrize("version", VERSIONS)
def test_the_manifests_are_what_kubernetes_reads(version: str) -> None:
    """Those that are applied as they are, strictly: no field that it does not know."""
    done = ran("kubernetes-validate", "--strict", "-k", version, *PLAIN)

    assert 0 == done.returncode, done.stdout + done.stderr
    assert sum(len(documents(path)) for path in PLAIN) == (done.stdout + done.stderr).count(" passed ")


def test_a_mistyped_word_in_a_manifest_is_noticed(tmp_path: Path) -> None:
    """The teeth of the test before."""
    (pod,) = documents(K8S / "pod.yaml")
    pod["spec"]["containers"][0]["livenessProb"] = pod["spec"]["containers"][0].pop("livenessProbe")

    assert 0 != validated(tmp_path, [pod], VERSIONS[-1]).returncode


@needs_kubectl
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubectl_renders_an_overlay_into_what_kubernetes_reads(tmp_path: Path, overlay: str) -> None:
    """Every object is there; kinds that are not Kubernetes' own are held to a schema of ours, and their pods to its."""
    objects = rendered(overlay)
    foreign = [one for one in objects if "." in one["apiVersion"].partition("/")[0] and not _is_kubernetes(one)]
    pods = [pod for one in foreign for pod in pods_of(one).values()]

    kinds = [one["kind"] for one in objects]
    assert COUNTS[overlay] == {kind: kinds.count(kind) for kind in sorted(set(kinds))}
    assert {"RayCluster"} >= {one["kind"] for one in foreign}
    for version in VERSIONS:
        done = validated(tmp_path, [one for one in objects if one not in foreign] + pods, version)
        assert 0 == done.returncode, done.stdout + done.stderr
        assert len(objects) - len(foreign) + len(pods) == (done.stdout + done.stderr).count(" passed ")


def _is_kubernetes(found: dict[str, Any]) -> bool:
    return str(found["apiVersion"]).partition("/")[0].endswith(".k8s.io")


@needs_kubectl
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_of_an_overlay_is_hardened(overlay: str) -> None:
    """What a patch adds is held to the same; it must take nothing away either."""
    pods = {name: pod for one in rendered(overlay) for name, pod in pods_of(one).items()}

    assert {"upscale-video", "upscale-image"} <= set(pods)
    assert {} == {name: soft for name, pod in pods.items() if (soft := soft_pod(pod["spec"]))}


@needs_kubectl
@pytest.mark.parametrize(("overlay", "tags"), [("cpu", {"cpu"}), ("gpu", {"cuda"}), ("ray", {"cpu", "cuda"})])
def test_an_overlay_runs_one_image_for_what_its_nodes_have(overlay: str, tags: set[str]) -> None:
    """The tag says whether CUDA is in it; each pod with a GPU has the one with it."""
    pods = [pod["spec"] for one in rendered(overlay) for pod in pods_of(one).values()]
    containers = [container for pod in pods for container in pod["containers"]]
    with_gpu = {one["image"] for one in containers if "nvidia.com/gpu" in one["resources"]["limits"]}

    assert {f"upscale-server:{tag}" for tag in tags} == {one["image"] for one in containers}
    assert with_gpu == {f"upscale-server:{tag}" for tag in tags - {"cpu"}}


@needs_kubectl
def test_the_ray_overlay_makes_drivers_of_the_video_servers_alone() -> None:
    """The patch adds its container beside the server's and leaves the server's own variables in place."""
    pods = {name: pod["spec"] for one in rendered("ray") for name, pod in pods_of(one).items()}
    server = next(one for one in pods["upscale-video"]["containers"] if one["name"] == "upscale")
    names = [one["name"] for one in server["env"]]

    assert {"upscale", "ray"} == {one["name"] for one in pods["upscale-video"]["containers"]}
    assert ["upscale"] == [one["name"] for one in pods["upscale-image"]["containers"]]
    assert {"UPSCALE_EXECUTOR", "UPSCALE_RAY__ADDRESS", "UPSCALE_API_KEYS", "UPSCALE_DATABASE_URL"} <= set(names)
    assert len(names) == len(set(names))


def test_the_ray_cluster_has_the_fields_of_its_kind(tmp_path: Path) -> None:
    """And no other: what KubeRay does not know it drops without a word."""
    file = K8S / "overlays" / "ray" / "ray-cluster.yaml"
    mistyped = tmp_path / "mistyped.yaml"
    mistyped.write_text(
        file.read_text(encoding="utf-8").replace("rayStartParams:", "rayStartParms:", 1), encoding="utf-8"
    )

    kept = ran("check-jsonschema", "--schemafile", RAY_CLUSTER, file)
    refused = ran("check-jsonschema", "--schemafile", RAY_CLUSTER, mistyped)

    assert 0 == kept.returncode, kept.stdout + kept.stderr
    assert 0 != refused.returncode


@needs_nginx
@pytest.mark.parametrize("name", ["tsdsr.conf", "video.conf", "videos.conf"])
def test_nginx_reads_each_configuration(tmp_path: Path, name: str) -> None:
    """As it is shipped, in the http section of a whole one."""
    site = (DEPLOY / "nginx" / name).read_text(encoding="utf-8")

    done = nginx_checks(configuration(tmp_path, site))

    assert 0 == done.returncode, done.stderr


@needs_nginx
@pytest.mark.parametrize("path", COMPOSE_FILES, ids=lambda path: path.name)
def test_nginx_reads_what_a_door_makes_of_it(tmp_path: Path, path: Path) -> None:
    """The compose file's own script is run, with folders of the test's; it ends in `nginx -t` instead of a start."""
    (compose,) = documents(path)
    door = compose["services"]["door"]
    script = door["entrypoint"][-1].replace("$$", "$")
    mounted = {volume.split(":")[1]: volume.split(":")[0] for volume in door["volumes"]}
    for target, source in mounted.items():
        script = script.replace(target, str(DEPLOY / source))
    made = tmp_path / "made"
    made.mkdir()
    script = script.replace("/tmp/", f"{made}/")  # noqa: S108 - the door's own
    script, starts = re.subn(r"exec nginx -c (\S+) -g 'daemon off;'", "", script)

    subprocess.run(["/bin/sh", "-c", script], check=True)

    assert 1 == starts
    whole = (made / "nginx.conf").read_text(encoding="utf-8")
    included = re.search(r"http \{ include (\S+); \}", whole)
    assert included is not None
    site = Path(included[1]).read_text(encoding="utf-8")
    assert "listen 8081;" in site
    done = nginx_checks(configuration(tmp_path, site))
    assert 0 == done.returncode, done.stderr


def nginx_checks(file: Path) -> subprocess.CompletedProcess[str]:
    """Have nginx read a configuration."""
    assert NGINX is not None
    return subprocess.run([NGINX, "-t", "-c", str(file)], capture_output=True, text=True, check=False)
