"""A batch that goes on after a failure, and stops at once when the user says so."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest
import typer

from upscale_server.cli.session import interruptible, run_each
from upscale_server.errors import Interrupted, NotMedia, OutOfMemory, StorageError, UpscaleError


def _deliver(number: int) -> None:
    """Call the handler that is installed, where the system would: a real signal could hit the test runner instead."""
    handler = signal.getsignal(number)
    assert callable(handler)
    handler(number, None)


def test_the_exit_code_is_that_of_the_worst(capsys: pytest.CaptureFixture[str]) -> None:
    """Every item is tried; the highest code of the failed ones is the command's."""
    faults: dict[str, UpscaleError | None] = {"a": NotMedia("is text"), "b": None, "c": StorageError("is full")}
    tried = []

    def work(item: str) -> None:
        tried.append(item)
        if (fault := faults[item]) is not None:
            raise fault

    with pytest.raises(typer.Exit) as caught:
        run_each(faults, work, str, as_json=False)

    assert 4 == caught.value.exit_code
    assert ["a", "b", "c"] == tried
    assert ["upscale: not_media: a: is text", "upscale: storage_error: c: is full"] == capsys.readouterr().err.split(
        "\n"
    )[:2]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_batch_at_once(number: int) -> None:
    """Ctrl-C and SIGTERM: the item is not reported as failed, the next one is not begun, the handlers are put back."""
    before = signal.getsignal(number)
    tried = []

    def work(item: int) -> None:
        tried.append(item)
        _deliver(number)

    with pytest.raises(Interrupted) as caught:
        run_each([1, 2], work, str, as_json=False, kept="run it again")

    assert [1] == tried
    assert "run it again" == caught.value.hint
    assert before == signal.getsignal(number)


@pytest.mark.parametrize("consequence", [ValueError("generator already executing"), StorageError("gone")])
def test_what_breaks_because_of_an_interrupt_is_not_a_fault_of_its_own(consequence: Exception) -> None:
    """An error that follows the signal, of whatever class, still means `interrupted`."""

    def work(item: int) -> None:
        del item
        try:
            _deliver(signal.SIGINT)
        finally:
            raise consequence

    with pytest.raises(Interrupted):
        run_each([1, 2], work, str, as_json=False)


def test_an_error_without_an_interrupt_stays_what_it_is() -> None:
    """Only a signal makes an interruption."""

    def fail(stopping: Callable[[], bool]) -> None:
        assert not stopping()
        message = "own fault"
        raise ValueError(message)

    with pytest.raises(ValueError, match="own fault"), interruptible("") as stopping:
        fail(stopping)


def test_too_little_memory_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """Python's MemoryError is out_of_memory with exit code 4."""

    def work(item: int) -> None:
        raise MemoryError(item)

    with pytest.raises(typer.Exit) as caught:
        run_each([1], work, str, as_json=False)

    assert OutOfMemory.exit_code == caught.value.exit_code
    assert capsys.readouterr().err.startswith("upscale: out_of_memory: ")
