"""A video on its way through a real server: brought once, looked at, planned and measured, made, and watched."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from tests.support.clip_spec import Clip, Picture, Sound
from tests.support.clip_writer import write_clip
from tests.support.server import running

pytestmark = pytest.mark.timeout(600)  # two servers start, each in seconds on a quiet machine and in a minute here


def test_a_source_is_planned_measured_and_made_by_real_workers(tmp_path: Path) -> None:
    """The plan is the job's own, the estimate is measured, and the source outlives a restart of its server."""
    picture = Picture(width=160, height=120, frame_count=100, options={"g": "25"})
    clip = write_clip(Clip(pictures=(picture,), sounds=(Sound(seconds=4.0),)), tmp_path / "holiday.mp4")
    wish = {"scale": 2, "codec": "h264", "model": "lanczos"}

    with (
        running(tmp_path / "state", "--model-path", "lanczos") as server,
        httpx.Client(base_url=server.url, timeout=120, trust_env=False) as http,
    ):
        source = http.post("/v1/sources", files={"file": (clip.name, clip.read_bytes())}).json()
        poster = http.get(f"/v1/sources/{source['id']}/poster.jpg")
        offered = {one["name"]: one for one in http.get("/v1/models").json()["models"]}
        plan = http.post("/v1/plan", json={**wish, "source_id": source["id"], "measure": True}).json()
        with http.stream("GET", "/v1/events") as events:
            job = http.post("/v1/jobs", json={**wish, "source_id": source["id"]}).json()
            told = [job["id"]]
            for line in events.iter_lines():
                if line.startswith("data: ") and (found := json.loads(line[6:])).get("id") == job["id"]:
                    told.append(found["state"])
                    if found["state"] not in ("queued", "running"):
                        break
        done = http.get(f"/v1/jobs/{job['id']}").json()
        report = http.get(f"/v1/jobs/{job['id']}/audit").json()["report"]

    with (
        running(tmp_path / "state", "--model-path", "lanczos") as server,
        httpx.Client(base_url=server.url, timeout=120, trust_env=False) as http,
    ):
        kept = http.get(f"/v1/sources/{source['id']}").json()
        again = http.post("/v1/plan", json={**wish, "source_id": source["id"]}).json()

    assert (200, b"\xff\xd8") == (poster.status_code, poster.content[:2])
    assert offered["lanczos"]["default"]
    assert ("succeeded", "succeeded") == (told[-1], done["state"]), done["fault"]
    assert (plan["plan"]["target"], plan["plan"]["frame_count"]) == (done["plan"]["target"], 100)
    assert ("measured", "measured") == (
        plan["estimate"]["basis"]["byte_count"],
        again["estimate"]["basis"]["byte_count"],
    )
    assert plan["estimate"]["byte_count"] == report["predicted"]["byte_count"]
    assert source == kept
    assert "CPU" == plan["device"]
