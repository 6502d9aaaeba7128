"""What all tests share: the tier of a test follows from its folder, and nobody's settings leak in.

Test pictures and clips are made in `tests/support`, not here.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import structlog

from tests.support.postgres_server import Postgres, running_postgres
from upscale_server.media.scheduling import ordinary_priority

# The same examples in every run, so that a red build is red again; no deadline, because machines differ.
# `HYPOTHESIS_PROFILE=explore` looks for new examples.
hypothesis.settings.register_profile("same", deadline=None, derandomize=True)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=1000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

TESTS = Path(__file__).parent
REPOSITORY = TESTS.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything under the folders of the second tier, so that no file there can forget to."""
    heavy = {TESTS / name for name in ("integration", "compat", "browser", "hostile")}
    for item in items:
        if heavy & set(item.path.parents):
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session", autouse=True)
def _ordinary_priority() -> Iterator[None]:
    """Keep the process of the tests from real time: as root, a clip in AV1 that a test writes would make it that."""
    with ordinary_priority():
        yield


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the settings of the person who runs the tests."""
    for name in [name for name in os.environ if name.startswith("UPSCALE_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def _state_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give one state folder for the whole run, so that engines are measured once."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture(autouse=True)
def _no_state_of_the_user(monkeypatch: pytest.MonkeyPatch, _state_home: Path) -> None:
    """Keep what commands remember out of the home of the person who runs the tests."""
    monkeypatch.setenv("XDG_STATE_HOME", str(_state_home))


@pytest.fixture(autouse=True)
def _nobody_else_on_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let jobs and pieces have a time of their own, whatever else runs beside the tests."""
    monkeypatch.setattr("upscale_server.bystanders.spent_now", lambda: None)


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    """Undo what a test does to the log, for those that run after it in this process."""
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    structlog.configure(**before)


@pytest.fixture(scope="session")
def repository() -> Path:
    """Give the root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def bundled_clip() -> Path:
    """Give the clip that is shipped in the package."""
    return REPOSITORY / "src" / "upscale_server" / "clips" / "nasa.mp4"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Give a running Postgres, in which each test makes a database of its own."""
    with running_postgres() as started:
        yield started
