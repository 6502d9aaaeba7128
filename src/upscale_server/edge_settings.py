"""The settings of what both servers ask of those who call them: how fast, from which pages, and how much a day.

It holds values and their reasons; nothing here reads the environment. Every bound has a ceiling or a floor that no
setting passes, so that a typing mistake does not open the door.
"""

from __future__ import annotations

import re

from pydantic import BaseModel, ConfigDict, Field, field_validator

_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:.]+\](:[0-9]{1,5})?")


class Http(BaseModel):
    """What one connection may take."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    head_seconds: float = Field(10.0, gt=0, le=120, description="longest time until a request's head is whole")
    body_idle_seconds: float = Field(10.0, gt=0, le=300, description="longest pause within a request's body")
    body_bytes_per_second: float = Field(
        10_000.0, ge=0, description="slowest body, as the mean of ten seconds; a slower one is holding a place"
    )
    keep_alive_seconds: int = Field(
        15, ge=0, le=300, description="how long an idle connection stays; longer than the usual pause of two polls"
    )
    connections: int = Field(
        512, ge=4, le=16_384,
        description="connections of a process at once; of more, those that ask for nothing go, then only probes are "
        "answered",
    )  # fmt: skip
    cors_origins: tuple[str, ...] = Field(
        (), description='sites whose pages may ask from a browser, a JSON list such as `["https://app.example"]`'
    )

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        """Refuse what a browser never sends, and `*`: any page could then use a key that it is given."""
        for one in given:
            if not _ORIGIN.fullmatch(one):
                raise ValueError(f"{one!r} is no origin; expected for example https://app.example:8443")
        return given


class Quotas(BaseModel):
    """What one API key may ask for; callers of a server without keys count as one. 0 means no bound."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests_per_minute: int = Field(
        0, ge=0, description="requests of a key in a minute; each process of an image server counts for itself"
    )
    queued: int = Field(0, ge=0, description="jobs of a key that may wait; one more is answered with 429")
    running: int = Field(0, ge=0, description="jobs of a key that are carried at once; others' go first meanwhile")
    bytes_a_day: int = Field(
        0, ge=0, description="bytes of sources that a key may bring in a day (UTC); what came last may go beyond it"
    )
    pixels_a_day: int = Field(
        0, ge=0, description="pixels of results, of all frames, that a key may ask for in a day (UTC); as above"
    )
