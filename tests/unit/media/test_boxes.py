"""Padding makes a file longer by exactly what was asked, and every reader still finds the same in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.clip_spec import Clip
from tests.support.clip_writer import write_clip
from upscale_server.errors import UpscaleError
from upscale_server.media.boxes import outer_boxes, pad
from upscale_server.media.probe import probe_with_index


@pytest.mark.parametrize(("suffix", "container"), [(".mp4", "mp4"), (".mov", "mov"), (".mkv", "matroska")])
@pytest.mark.parametrize("length", [9, 10, 300, 70_000])
def test_padding_adds_its_bytes_and_changes_nothing_that_is_read(
    suffix: str, container: str, length: int, tmp_path: Path
) -> None:
    """The size grows by the padding, and frames, times and facts are those from before."""
    path = write_clip(Clip(suffix=suffix), tmp_path / f"clip{suffix}")
    before, size = probe_with_index(path), path.stat().st_size

    pad(path, length, container)

    after = probe_with_index(path)
    assert size + length == path.stat().st_size
    assert before.index == after.index
    assert (before.info.frame_count, before.info.size) == (after.info.frame_count, after.info.size)
    assert () == after.info.warnings


def test_the_padding_is_an_empty_box_at_the_end(tmp_path: Path) -> None:
    """The last box is `free`, of the length asked for, and the boxes fill the file without a gap."""
    path = write_clip(Clip(), tmp_path / "clip.mp4")

    pad(path, 500, "mp4")

    boxes = outer_boxes(path)
    assert ("free", 500) == (boxes[-1].kind, boxes[-1].length)
    assert path.stat().st_size == sum(box.length for box in boxes)
    assert "ftyp" == boxes[0].kind


def test_no_padding_leaves_the_file_alone(tmp_path: Path) -> None:
    """Zero writes nothing, and a length that no box can have is refused before the file is touched."""
    path = write_clip(Clip(), tmp_path / "clip.mp4")
    content = path.read_bytes()

    pad(path, 0, "mp4")
    with pytest.raises(UpscaleError, match="padding is 5 bytes"):
        pad(path, 5, "mp4")

    assert content == path.read_bytes()


def test_what_is_no_box_ends_the_list(tmp_path: Path) -> None:
    """A file of another kind, or one cut short, does not lead outside of it."""
    path = tmp_path / "odd"
    path.write_bytes(b"\x00\x00\x00\x08free\x00\x00\xff\xffmdatabc")

    assert ["free"] == [box.kind for box in outer_boxes(path)]
