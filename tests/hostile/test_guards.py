"""Each guard is taken out in turn, and the attack that it is there for then gets through: none is there for nothing.

Here are those of the cage, the edge, pictures, weights, leases, links and results; those of sources, media and faults
are taken out beside their attacks, and counted here. The switches are in tests; the product has none.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.guard_cases import Guard
from tests.support.guards_of_cage import CAGE
from tests.support.guards_of_edge import EDGE
from tests.support.guards_of_results import RESULTS

GUARDS = (*CAGE, *EDGE, *RESULTS)
ENOUGH = 30
HERE = Path(__file__).parent
BESIDE_THEIR_ATTACKS = ("test_fetch_teeth.py", "test_media_teeth.py", "test_fault_teeth.py", "test_source_teeth.py")
"""Where other guards are taken out, one function for each and more by parameters."""


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_attack_gets_through_only_without_its_guard(
    guard: Guard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First with the guard, then without it: the attack is a real one, and nothing else stops it."""
    guarded, bare = tmp_path / "guarded", tmp_path / "bare"
    guarded.mkdir()
    bare.mkdir()

    assert not guard.attack(guarded), "the guard does not keep it out"
    guard.remove(monkeypatch)
    assert guard.attack(bare), "nobody would notice if the guard were gone"


def test_there_are_thirty_guards_and_more(report: Callable[[str, dict[str, object]], None]) -> None:
    """Counted by name here, and by test where they are taken out beside their attacks."""
    others = sum(_taken_out(HERE / name) for name in BESIDE_THEIR_ATTACKS)

    assert len(GUARDS) == len({guard.name for guard in GUARDS})
    assert len(GUARDS) + others >= ENOUGH, (len(GUARDS), others)
    report("guards", {"taken_out_by_name": len(GUARDS), "taken_out_beside_their_attacks": others})


def _taken_out(path: Path) -> int:
    """Return how many tests of a file take out a guard: what they replace goes back by `monkeypatch`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tests = [one for one in tree.body if isinstance(one, ast.FunctionDef) and one.name.startswith("test_")]
    return sum(any(given.arg == "monkeypatch" for given in one.args.args) for one in tests)
