"""The generated corpus: every trait of real files, alone and in nasty combinations, by name.

`CASES` must come through whole; of `DAMAGED` all that decodes must. Neither writes a file by itself.
"""

from __future__ import annotations

from tests.support.case import Case
from tests.support.clips_of_pictures import COLOURS, SHAPES
from tests.support.clips_of_time import TIME
from tests.support.clips_of_tracks import CODECS, DAMAGED, TRACKS

CASES: dict[str, Case] = TIME | SHAPES | COLOURS | CODECS | TRACKS

__all__ = ["CASES", "DAMAGED"]
