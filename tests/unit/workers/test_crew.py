"""What two deaths of the same order mean depends on who died."""

from __future__ import annotations

from typing import Any

import pytest

from upscale_server.cage import InmateDied
from upscale_server.errors import SourceCorrupt, UpscaleError
from upscale_server.events import ignore
from upscale_server.workers.crew import Crew, DiedTwice
from upscale_server.workers.messages import Greet
from upscale_server.workers.resident import Died, Patience


@pytest.mark.parametrize(
    ("deaths", "kind", "said"),
    [
        ((InmateDied("SIGSEGV"), InmateDied("SIGSEGV")), SourceCorrupt, "the source cannot be read: SIGSEGV"),
        ((Died("SIGKILL"), InmateDied("SIGSEGV")), SourceCorrupt, "the source cannot be read: SIGSEGV"),
        ((InmateDied("SIGSEGV"), Died("SIGKILL")), DiedTwice, "two worker processes died"),
        ((Died("SIGKILL"), Died("SIGKILL")), DiedTwice, "two worker processes died"),
    ],
)
def test_two_deaths_are_the_sources_doing_where_its_reader_died(
    deaths: tuple[Exception, ...], kind: type[UpscaleError], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decoder that a file crashes is no defect of the server, and another try would end the same way."""
    crew, left = Crew((), Patience(1.0, 1.0), Greet()), list(deaths)

    def dies(*_: Any) -> Exception:  # noqa: ANN401 - what an order is tried with
        return left.pop(0)

    monkeypatch.setattr(crew, "_try", dies)

    with pytest.raises(kind, match=said):
        crew.do(Greet(), "job", ignore, lambda: "")
