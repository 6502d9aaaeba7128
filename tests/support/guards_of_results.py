"""The guards around pictures, weights, leases, links and results.

Each attack is one that these parts meet from outside: a file, a link, a server that comes back from the dead.
"""

from __future__ import annotations

import hmac
import json
import shutil
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from PIL import Image

from tests.support.clip_spec import Clip, Picture
from tests.support.clip_writer import write_clip
from tests.support.guard_cases import Guard, Remove, refused, without
from tests.support.tiny_models import Form, bilinear
from upscale_server import checkpoint, pipeline
from upscale_server.audit import Audit
from upscale_server.cage import InmateDied
from upscale_server.checkpoint import WorkDir
from upscale_server.cli import doors
from upscale_server.errors import (
    AuditFailed,
    BadRequest,
    Conflict,
    Forbidden,
    ModelInvalid,
    NotMedia,
    SourceCorrupt,
    TooManyPixels,
    UnsupportedFormat,
    UpscaleError,
)
from upscale_server.events import ignore
from upscale_server.jobs.job import Asked, Claim, NewJob, Outcome, Source
from upscale_server.jobs.rows import Writer
from upscale_server.jobs.store import JobStore
from upscale_server.media import image
from upscale_server.media.picture import Attachments
from upscale_server.media.picture import Picture as Still
from upscale_server.models import catalogue
from upscale_server.models.base import Upscaler
from upscale_server.models.load import load
from upscale_server.pipeline import upscale_video
from upscale_server.plan import Pass, Plan, make_plan
from upscale_server.service import picture_cages
from upscale_server.storage import local
from upscale_server.storage.local import LocalStore
from upscale_server.wish import Wish
from upscale_server.workers.in_process import InProcess

_OUTCOME = Outcome("results/x.mp4", 1, 1.0, audit={"ok": True}, report={})


def _picture(folder: Path, kind: str, side: int = 8) -> Path:
    path = folder / f"in.{kind}"
    Image.new("RGB", (side, side), 77).save(path)
    return path


def _opens_a_strange_format(folder: Path) -> bool:
    return not refused(lambda: image.load(_picture(folder, "pcx")), UnsupportedFormat, NotMedia)


def _opens_a_large_picture(folder: Path) -> bool:
    return not refused(lambda: image.load(_picture(folder, "png", 64), max_pixels=100), TooManyPixels)


def _says_four_channels(_folder: Path) -> bool:
    around = picture_cages._Around(8, "PNG", Attachments(), ())
    arrays = (np.zeros((2, 2, 4), np.uint8),)
    return not refused(lambda: picture_cages._picture_of(around, arrays, lambda _: None), InmateDied)


def _as_it_is(around: picture_cages._Around, arrays: tuple[np.ndarray, ...], _check: object) -> Still:
    return Still(arrays[0], around.bits)


def _opens_what_weights_name(folder: Path) -> bool:
    path = bilinear(folder / "net.onnx", Form())
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    (folder / "beside.bin").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "beside.bin"
    path.write_bytes(model.SerializeToString())
    return not refused(lambda: catalogue.find(str(path), 2), ModelInvalid)


def _runs_tampered_weights(folder: Path) -> bool:
    shipped = catalogue.find("fast", 2)
    path = folder / Path(shipped.path).name
    shutil.copyfile(shipped.path, path)
    said = json.loads(Path(shipped.path).with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps(said))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return not refused(lambda: catalogue.card_of_file(path), ModelInvalid)


def _hash_is_believed(patch: pytest.MonkeyPatch) -> None:
    shipped = catalogue.find("fast", 2).sha256
    patch.setattr(catalogue, "sha256_of", lambda _: shipped)


def _opens_a_pickle(folder: Path) -> bool:
    path = bilinear(folder / "net.onnx", Form()).rename(folder / "net.pth")
    return not refused(lambda: catalogue.card_of_file(path), ModelInvalid)


def _load(_plan: Plan, one: Pass) -> Upscaler:
    return load(one.card)


def _plan(folder: Path) -> Plan:
    clip = write_clip(Clip(pictures=(Picture(width=64, height=48, frame_count=3),)), folder / "clip.mp4")
    return make_plan(clip, Wish(scale=2, model="lanczos"))


def _publishes_what_is_cut_short(folder: Path) -> bool:
    plan = _plan(folder)
    joined = pipeline._joined

    def cut(*arguments: object) -> object:
        path, passed = joined(*arguments)  # type: ignore[arg-type] # its own arguments
        other = write_clip(Clip(pictures=(Picture(width=128, height=96, frame_count=1),)), path.with_name("a.mp4"))
        other.replace(path)
        return path, passed

    with pytest.MonkeyPatch.context() as disk:
        disk.setattr(pipeline, "_joined", cut)
        with InProcess(_load) as executor:
            return not refused(lambda: upscale_video(plan, executor, folder / "work", ignore), AuditFailed)


def _goes_on_with_another(folder: Path) -> bool:
    plan = _plan(folder)
    with Path(plan.source.path).open("ab") as file:
        file.write(b"\0\0\0\x08free")
    with InProcess(_load) as executor:
        return not refused(lambda: upscale_video(plan, executor, folder / "work", ignore), SourceCorrupt)


def _takes_a_damaged_segment(folder: Path) -> bool:
    plan = _plan(folder)
    work = WorkDir(folder / "work", plan.digest)
    with InProcess(_load) as executor:
        upscale_video(plan, executor, work.path, ignore)
    path = work.segment_path(0)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    return work.find(0) is not None


def _digest_is_believed(patch: pytest.MonkeyPatch) -> None:
    class Same(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, _: object) -> bool:
            return True

        def __ne__(self, _: object) -> bool:
            return False

    whole = checkpoint.digest_of
    patch.setattr(checkpoint, "digest_of", lambda path: Same(whole(path)))


def _finishes_from_the_dead(folder: Path) -> bool:
    """A server whose lease ran out comes back while another has the job."""
    now = [1000.0]
    with closing(JobStore(f"sqlite:///{folder}/jobs.sqlite", clock=lambda: now[0])) as store:
        store.add(NewJob(Asked(Source("url", "https://example.org/a.mp4")), None, ""), room=10)
        dead = store.claim("a", 30)
        now[0] += 60
        alive = store.claim("b", 30)
        assert dead is not None
        assert alive is not None
        return not refused(lambda: store.finish(dead, _OUTCOME), Conflict)


def _held_by_anybody(writer: Writer, claim: Claim) -> object:
    return writer.row(claim.job.id)


def _starts_twice(folder: Path) -> bool:
    with doors.only_one(folder):
        return not refused(lambda: _enter(folder), BadRequest)


def _enter(folder: Path) -> None:
    with doors.only_one(folder):
        return


def _forges_a_link(folder: Path) -> bool:
    store = LocalStore(folder / "results", folder / "links.key")
    forged = {"expires": "99999999999", "signature": "0" * 64}
    return not refused(lambda: store.check_link("results/x.mp4", forged), Forbidden)


def _removes_outside(folder: Path) -> bool:
    (folder / "results").mkdir()
    (folder / "victim").write_text("canary")
    with suppress(UpscaleError, ValueError):
        LocalStore(folder / "results", folder / "links.key").delete("../victim")
    return not (folder / "victim").exists()


def _anything(*_: object) -> bool:
    return True


_HELD: Remove = without(Writer, "held", _held_by_anybody)

RESULTS = (
    Guard("formats of pictures", without(image, "FORMATS", None), _opens_a_strange_format),
    Guard("pixels of pictures", without(image, "check_size", lambda *_, **__: None), _opens_a_large_picture),
    Guard("shapes of pictures from a cage", without(picture_cages, "_picture_of", _as_it_is), _says_four_channels),
    Guard("weights in one file", without(catalogue, "refuse_other_files", _anything), _opens_what_weights_name),
    Guard("the hash on a card", _hash_is_believed, _runs_tampered_weights),
    Guard("no pickles", without(catalogue, "PICKLES", ()), _opens_a_pickle),
    Guard("the audit of a result", without(pipeline, "audit", lambda *_: Audit(())), _publishes_what_is_cut_short),
    Guard("the source that was planned for", without(pipeline, "_is_unchanged", _anything), _goes_on_with_another),
    Guard("the hash of a segment", _digest_is_believed, _takes_a_damaged_segment),
    Guard("the fence of a lease", _HELD, _finishes_from_the_dead),
    Guard("one server to a state folder", without(doors, "_take", _anything), _starts_twice),
    Guard("signatures of links", without(hmac, "compare_digest", _anything), _forges_a_link),
    Guard("keys of results", without(local, "check_key", lambda key: key), _removes_outside),
)
