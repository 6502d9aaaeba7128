"""What running work is asked again and again: may it go on, and if not, how soon does it have to end.

Who asks and who obeys is elsewhere; this is the one word that both must agree on.
"""

from __future__ import annotations

from collections.abc import Callable

Stop = Callable[[], str]
"""Empty text: go on. A reason made by `parking`: end what has begun, begin nothing more. Any other text is the reason
to stop now."""

_PARK = "park: "


def parking(reason: str) -> str:
    """Return the reason to stop where nothing is lost by it: after the segments that run now."""
    return _PARK + reason


def only_parks(reason: str) -> bool:
    """Tell whether what has begun may come to its end."""
    return reason.startswith(_PARK)
