"""A cluster's address is held against what Ray takes before anything is started."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from upscale_server.cluster.joining import Membership, check_address, is_member
from upscale_server.cluster.opening import transport_of
from upscale_server.cluster.transport import FolderTransport
from upscale_server.cluster_settings import RaySettings
from upscale_server.errors import BadRequest, MissingExtra
from upscale_server.settings import Settings, load_settings


@pytest.mark.parametrize("address", ["", "head", "head:", ":6379", "head:0", "head:70000", "ray://head:10001", "a/b:1"])
def test_what_is_no_address_is_refused(address: str) -> None:
    """With the form that is expected."""
    with pytest.raises(BadRequest, match="expected HOST:PORT"):
        check_address(address)


@pytest.mark.parametrize("address", ["auto", "head:6379", "10.0.0.5:6379", "[::1]:6379"])
def test_an_address_passes(address: str) -> None:
    """Names, numbers, and this machine's own cluster."""
    check_address(address)


def test_a_cluster_without_ray_is_an_extra_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that brings it."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)

    with pytest.raises(MissingExtra) as found:
        Membership("head:6379")

    assert "pip install 'upscale-server[ray]'" == found.value.hint


def test_a_machine_without_ray_is_no_member() -> None:
    """Of a cluster that nobody has."""
    assert not is_member("192.0.2.77:1")


def test_pictures_need_a_way(tmp_path: Path) -> None:
    """A shared folder, or an object store: a local one is no way to another machine."""
    with pytest.raises(BadRequest, match="UPSCALE_RAY__FOLDER"):
        transport_of(Settings(state_dir=tmp_path))

    found = transport_of(Settings(state_dir=tmp_path, ray=RaySettings(folder=tmp_path)))
    assert isinstance(found, FolderTransport)


def test_the_documented_names_are_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The executor and the address of the cluster."""
    monkeypatch.setenv("UPSCALE_EXECUTOR", "ray")
    monkeypatch.setenv("UPSCALE_RAY__ADDRESS", "head:6379")
    monkeypatch.setenv("UPSCALE_STATE_DIR", str(tmp_path))

    settings = load_settings()

    assert ("ray", "head:6379") == (settings.executor, settings.ray.address)
