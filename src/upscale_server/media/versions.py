"""Which FFmpeg is inside: asked by `doctor`, because PyAV bundles its own and the system's says nothing about it."""

from __future__ import annotations

import av


def ffmpeg_libraries() -> list[tuple[str, str]]:
    """Return the bundled libraries and their versions."""
    versions: dict[str, tuple[int, int, int]] = av.library_versions
    return [(name, ".".join(map(str, number))) for name, number in sorted(versions.items())]
