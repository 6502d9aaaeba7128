"""What is asked of a preview and what it is: values that are replaced as it grows, never changed.

Nothing here makes a picture.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from upscale_server.errors import BadRequest, UpscaleError
from upscale_server.media.types import Size
from upscale_server.plan import Plan
from upscale_server.quality import Quality
from upscale_server.wish import Wish

BEFORE = "before"
"""What the source enlarged by bicubic is called; the file is `before.mp4`."""

State = Literal["queued", "running", "succeeded", "failed"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model to look at: what it is called here, which names its file, and how the plan finds it."""

    name: str
    model: str | None

    @classmethod
    def named(cls, asked: Sequence[tuple[str, str | None]]) -> tuple[Candidate, ...]:
        """Return candidates for names and what each stands for.

        Raises:
            BadRequest: two of one name, or a name that is no file name.
        """
        names = [name for name, _ in asked]
        for name in names:
            if names.count(name) > 1:
                raise BadRequest(f"two models are called {name!r}; expected each once")
            if not _NAME.fullmatch(name) or name == BEFORE:
                raise BadRequest(f"a model is called {name!r}; expected letters, digits, '.', '_' or '-'")
        return tuple(cls(name, model) for name, model in asked)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for: sizes by the wish, models (none: the one that the plan chooses), and which seconds.

    `start_seconds` None is the middle. With `self_test` the models are also held against the original. `most_frames`
    bounds the frames of all sides together.
    """

    source: Path
    wish: Wish
    models: tuple[Candidate, ...] = ()
    start_seconds: float | None = None
    seconds: float = 3.0
    self_test: bool = False
    most_frames: int | None = None


@dataclass(frozen=True, slots=True)
class Crop:
    """The part of the result that is shown where all of it would be larger than browsers play, in its samples."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Shown:
    """One side of the comparison: its file and what making it took; `quality` is against the original.

    `fps` are the frames upscaled and encoded in a second once the model is loaded, None for fewer than two batches; of
    the part that is shown. `quality_fault` says why a side that is there could not be measured.
    """

    name: str
    state: State = "queued"
    path: Path | None = None
    plan: Plan | None = None
    seconds: float | None = None
    fps: float | None = None
    byte_count: int | None = None
    fault: UpscaleError | None = None
    quality: Quality | None = None
    quality_fault: UpscaleError | None = None


@dataclass(frozen=True, slots=True)
class Ranking:
    """Which model restored best: by which number, by how much, and which others are as good for the eye."""

    best: str
    by: Literal["VMAF", "PSNR-Y"]
    margin: float
    tied: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class SelfTest:
    """How the self-test was done: the original is of `size`, was made `scale` times smaller and restored."""

    scale: int
    size: Size
    ranking: Ranking | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """A preview as far as it is; all files are of one size and show their frames at `frame_times`, from 0.

    `size` is that of the files, `frame_count` what is planned until the first file is there. `whole_frames` are those
    of the whole video, `part` is the share of each of its pictures that is shown.
    """

    size: Size
    start_seconds: float
    seconds: float
    frame_count: int
    whole_frames: int
    before: Shown
    items: tuple[Shown, ...]
    frame_times: tuple[float, ...] = ()
    crop: Crop | None = None
    self_test: SelfTest | None = None
    warnings: tuple[tuple[str, str], ...] = ()
    part: float = 1.0

    def whole_seconds(self, fps: float) -> float:
        """Return how long the whole video takes at the speed of what is shown."""
        return self.whole_frames / (fps * self.part)

    def with_shown(self, shown: Shown) -> Preview:
        """Return the preview with another state of one of its sides."""
        if shown.name == BEFORE:
            return replace(self, before=shown)
        return replace(self, items=tuple(shown if one.name == shown.name else one for one in self.items))

    @property
    def frames_to_make(self) -> int:
        """Return the frames of all sides together, restored ones included."""
        return self.frame_count * (1 + len(self.items)) * (2 if self.self_test else 1)

    @property
    def best(self) -> str | None:
        """Return the model that restored best, None without a self-test."""
        ranking = self.self_test.ranking if self.self_test else None
        return ranking.best if ranking else None
