"""`/limits` keeps nothing back: every number among the settings that bounds a request is in it, as it is in force."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from tests.support.served import IdlePool, Served, serving, settings_in
from upscale_server.edge_settings import Http, Quotas
from upscale_server.service import VideoService
from upscale_server.settings import Settings
from upscale_server.web import limits
from upscale_server.web.limits import IMAGE_GROUPS, VIDEO_GROUPS, in_force

NO_BOUNDS = {"max_workers", "ray"}
"""Numbers, and a group of them, that bound no request; /health tells what they lead to."""


def numbers_of(model: type[BaseModel], prefix: str) -> set[str]:
    """Return the variable of every number below a group of settings."""
    found: set[str] = set()
    for name, field in model.model_fields.items():
        kind = field.annotation
        if name in NO_BOUNDS:
            continue
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found |= numbers_of(kind, f"{prefix}{name.upper()}__")
        elif {int, float} & {kind, *get_args(kind)}:
            found.add(f"{prefix}{name.upper()}")
    return found


def test_every_number_among_the_settings_is_told_by_one_server_or_both() -> None:
    """A new limit that nobody lists makes this fail."""
    settings = Settings()

    told = {*in_force(settings, VIDEO_GROUPS), *in_force(settings, IMAGE_GROUPS)}

    assert numbers_of(Settings, "UPSCALE_") == told


def test_a_group_that_is_left_out_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above has teeth."""
    monkeypatch.setattr(limits, "VIDEO_GROUPS", tuple(one for one in VIDEO_GROUPS if one != "fetch"))

    told = {*in_force(Settings(), limits.VIDEO_GROUPS), *in_force(Settings(), IMAGE_GROUPS)}

    assert {"UPSCALE_FETCH__MAX_BYTES"} <= numbers_of(Settings, "UPSCALE_") - told


@pytest.mark.slow
def test_limits_are_those_in_force(tmp_path: Path) -> None:
    """What an operator set is what is told, and no secret or network is."""
    settings = settings_in(tmp_path, http=Http(connections=9), quotas=Quotas(queued=7), api_keys="planted-secret-key")
    with serving(VideoService(settings, IdlePool()), Authorization="Bearer planted-secret-key") as served:
        reply = served.client.get("/limits")

    assert 200 == reply.status_code
    assert 9 == reply.json()["in_force"]["UPSCALE_HTTP__CONNECTIONS"]
    assert 7 == reply.json()["in_force"]["UPSCALE_QUOTAS__QUEUED"]
    assert 65_536 == reply.json()["fixed"]["json_bytes"]
    assert "planted-secret-key" not in reply.text
    assert "127.0.0.0/8" not in reply.text


def test_limits_need_no_more_than_a_key(refusing: Served) -> None:
    """Where no key is needed they are open."""
    assert 200 == refusing.client.get("/limits").status_code
