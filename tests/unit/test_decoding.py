"""A device that decodes is tried once; where it does not open, the CPU does the same work and that is said once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.clip_spec import Clip
from tests.support.clip_writer import write_clip
from upscale_server import decoding
from upscale_server.errors import BadRequest
from upscale_server.events import Event, Warned
from upscale_server.media.decode import decoder_opens
from upscale_server.media.probe import Probed, probe_with_index
from upscale_server.models.load import load
from upscale_server.pipeline import upscale_video
from upscale_server.plan import make_plan
from upscale_server.wish import Wish
from upscale_server.workers.in_process import InProcess

WISH = Wish(model="lanczos", codec="h264", preset="ultrafast", decoder="cuda")


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> Probed:
    """Give a probed clip of 24 frames."""
    return probe_with_index(write_clip(Clip(), tmp_path_factory.mktemp("clip") / "clip.mp4"))


@pytest.mark.slow
def test_a_device_that_does_not_open_leaves_the_work_to_the_cpu_and_is_named_once(
    probed: Probed, tmp_path: Path
) -> None:
    """The whole job runs, with one warning, and every frame arrives."""
    if decoder_opens(probed.info, "cuda"):
        pytest.skip("NVDEC opens here")
    told: list[Event] = []
    plan = make_plan(probed, WISH)

    with InProcess(lambda _plan, one: load(one.card)) as executor:
        result = upscale_video(plan, executor, tmp_path, told.append)

    assert ("cpu", 24) == (plan.decoder, result.frame_count)
    warned = [one for one in told if isinstance(one, Warned) and one.code == "decoder_not_opened"]
    assert [Warned("decoder_not_opened", "cuda does not decode h264 here; the CPU does")] == warned


def test_a_device_that_opens_is_what_the_plan_records(probed: Probed, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan says which device decodes, without a warning."""
    monkeypatch.setattr(decoding, "decoder_opens", lambda *_: True)

    plan = make_plan(probed, WISH)

    assert "cuda" == plan.decoder
    assert () == plan.warnings


def test_the_cpu_is_never_tried(probed: Probed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan without a wish opens no device."""
    monkeypatch.setattr(decoding, "decoder_opens", lambda *_: pytest.fail("tried"))

    assert "cpu" == make_plan(probed, Wish(model="lanczos")).decoder


def test_a_device_decodes_only_what_it_proved_to(probed: Probed) -> None:
    """The trial decodes a picture; on the CPU it succeeds, with a device that does not exist it fails in silence."""
    assert decoder_opens(probed.info, "cpu")
    assert not decoder_opens(probed.info, "no such device")


def test_an_unknown_decoder_is_refused(probed: Probed) -> None:
    """The message lists the devices."""
    with pytest.raises(BadRequest, match="decoder is 'gpu'; expected one of cpu, cuda"):
        make_plan(probed, Wish(model="lanczos", decoder="gpu"))
