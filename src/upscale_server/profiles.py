"""What an output must be for those who take it: the house's own profile, the subnet's, and that of previews.

Values only; `plan` and `encoding` obey them, `audit_subnet` holds the finished file against them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from upscale_server.errors import BadRequest


@dataclass(frozen=True, slots=True)
class Profile:
    """Bounds on an output; None and empty mean that the source or the wish decides.

    `crf` is the default for each encoder that the profile takes. `most_times_source` gives, for each scale that is
    taken, the largest output in multiples of the source's bytes. `kept_kinds` are the tracks besides the picture that
    may stay. `whole` forbids taking a part of the video.
    """

    name: str
    crf: Mapping[str, int] = field(default_factory=dict)
    container: str | None = None
    pixel_format: str | None = None
    limited_range: bool = False
    most_gop_frames: int | None = None
    b_frames: bool = True
    most_times_source: Mapping[int, int] = field(default_factory=dict)
    kept_kinds: frozenset[str] | None = None
    whole: bool = False


PROFILES = {
    "general": Profile("general"),
    # The validators decode with tools that seek by frame number and read one picture stream of 8 bits; a second
    # picture (a cover) could be taken for the video, a data track has no reader there. Sound and texts do no harm and
    # belong to the work of whoever ordered it, so they stay.
    # The CRFs were measured on four real clips made as the validators make theirs (bicubic reduction by 2 or 4, then
    # x264 ultrafast CRF 23) and upscaled by the `fast` models: there PSNR against the original is at its best (finer
    # coding keeps more of the source's own blocks), VMAF within 0.4 of its best, and the output has 1.7 to 4.9
    # times the source's bytes, at most 45 % of what is allowed.
    "subnet": Profile(
        "subnet",
        crf={"libx265": 17, "libsvtav1": 22},
        container="mp4",
        pixel_format="yuv420p",
        limited_range=True,
        most_gop_frames=30,
        b_frames=False,
        most_times_source={2: 8, 4: 20},
        kept_kinds=frozenset({"audio", "subtitle"}),
        whole=True,
    ),
    # What every browser plays: 8 bits, 4:2:0, limited range, and no other track, so that all files of a preview are
    # alike. Without B-frames no edit list hides a beginning, and short GOPs make stepping back quick.
    # Encoding must not be what is compared: CRF 12 by `veryfast` leaves over 50 dB of PSNR-Y on upscaled frames.
    "preview": Profile(
        "preview",
        crf={"libx264": 12},
        container="mp4",
        pixel_format="yuv420p",
        limited_range=True,
        most_gop_frames=12,
        b_frames=False,
        kept_kinds=frozenset(),
    ),
}


def profile_named(name: str) -> Profile:
    """Return a profile by its name.

    Raises:
        BadRequest: there is none of that name.
    """
    if name not in PROFILES:
        raise BadRequest(f"profile is {name!r}; expected one of {', '.join(PROFILES)}")
    return PROFILES[name]
