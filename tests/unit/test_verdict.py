"""Whose doing it is where an output is not what was promised: a source that decodes otherwise each time is damaged."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.support.corpus.films import Film, film
from upscale_server import verdict
from upscale_server.audit import Audit, Rule
from upscale_server.errors import AuditFailed, SourceCorrupt
from upscale_server.media.probe import probe
from upscale_server.plan import Plan, make_plan
from upscale_server.verdict import decodes_alike, judge
from upscale_server.wish import Wish

_PICTURES = Audit((Rule("luma, mean of a frame", False, "at most 1.5", "30"),))  # noqa: FBT003 - a rule's second value
_TRACKS = Audit((Rule("no other tracks", False, "none", "audio 1"),))  # noqa: FBT003 - as above


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Give the plan of a small clip."""
    path = tmp_path / "a.mp4"
    path.write_bytes(film(Film(count=6)))
    return make_plan(path, Wish(scale=2, model="lanczos"))


def test_whole_files_decode_alike(plan: Plan) -> None:
    """However many threads there are."""
    assert decodes_alike(plan.source)


def test_some_damage_decodes_otherwise_with_other_threads(tmp_path: Path) -> None:
    """Of sixty VP8 films with forty bytes changed, one does at least: it is this that is told apart."""
    whole = film(Film("webm", "libvpx"))
    path = tmp_path / "a.webm"

    def differs(seed: int) -> bool:
        rng, bent = random.Random(seed), bytearray(whole)
        for _ in range(40):
            bent[rng.randrange(600, len(bent))] = rng.getrandbits(8)
        path.write_bytes(bent)
        return not decodes_alike(probe(path))

    assert any(differs(seed) for seed in range(60))


def test_pictures_that_are_off_are_the_sources_doing_where_it_decodes_otherwise(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """422 and no fault of ours; where it decodes alike, the output is at fault, as are other tracks in any case."""
    with pytest.raises(AuditFailed):
        judge(_PICTURES, plan, tmp_path / "out.mp4")

    monkeypatch.setattr(verdict, "decodes_alike", lambda _: False)
    with pytest.raises(SourceCorrupt, match="other pictures each time"):
        judge(_PICTURES, plan, tmp_path / "out.mp4")
    with pytest.raises(AuditFailed):
        judge(_TRACKS, plan, tmp_path / "out.mp4")
