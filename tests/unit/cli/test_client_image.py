"""`upscale client image`: flags, what goes to stdout and stderr, exit codes, the batch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.support.cli_runner import COMMAND, Ran, environment_for, run_here
from tests.support.image_server import Handler, begin, busy, page, problem, standing_in, well
from upscale_server.cli.client import addresses
from upscale_server.cli.counting import DONE, FAILED, SKIPPED, Count
from upscale_server.errors import BadRequest

LIMIT_SECONDS = 60
"""A wait must end; no expectation."""


def client(*arguments: str | Path) -> Ran:
    """Run `upscale client image`."""
    return run_here("client", "image", *arguments)


def records(ran: Ran) -> list[dict[str, Any]]:
    """Return the objects on stdout."""
    return [json.loads(line) for line in ran.stdout.splitlines()]


def pictures(folder: Path, *names: str) -> Path:
    """Make small pictures, all different."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (10, 6), (number, 30, 30)).save(path)
    return folder


def test_one_picture(tmp_path: Path) -> None:
    """The record on stdout names what was made of what, and by whom; the talk is on stderr."""
    source = pictures(tmp_path, "in.png") / "in.png"
    with standing_in() as server:
        ran = client("-i", source, "-o", tmp_path / "out.png", "-u", 4, "-ps", 256, "--port", server.port)

    assert 0 == ran.exit_code
    assert [{"upscale": "4", "process_size": "256"}] == server.asked
    (record,) = records(ran)
    assert str(source) == record["source"]
    assert str(tmp_path / "out.png") == record["output"]
    assert ("40x24", "stand-in", server.url) == (record["size"], record["model"], record["server"])
    with Image.open(tmp_path / "out.png") as image:
        assert (40, 24) == image.size


@pytest.mark.slow
def test_the_result_is_called_upscaled_where_no_name_is_given(tmp_path: Path) -> None:
    """Beside the input, or in a folder that is given; always a PNG."""
    source = pictures(tmp_path, "photo.bmp") / "photo.bmp"
    (tmp_path / "there").mkdir()
    with standing_in() as server:
        client("-i", source, "--port", server.port)
        client("-i", source, "-o", tmp_path / "there", "--port", server.port)

    assert (tmp_path / "photo_upscaled.png").is_file()
    assert (tmp_path / "there" / "photo_upscaled.png").is_file()


@pytest.mark.slow
def test_running_it_again_replaces_the_result(tmp_path: Path) -> None:
    """The documented command can be repeated; the source itself is never written over."""
    source = pictures(tmp_path, "in.png") / "in.png"
    with standing_in() as server:
        codes = [client("-i", source, "-o", tmp_path / "out.png", "--port", server.port).exit_code for _ in range(2)]
        itself = client("-i", source, "-o", source, "--port", server.port)

    assert [0, 0] == codes
    assert 2 == itself.exit_code
    assert "is the source itself" in itself.stderr


@pytest.mark.slow
def test_a_suffix_asks_for_its_format(tmp_path: Path) -> None:
    """`-o x.webp` comes as WebP; what servers do not write is refused before anything is sent."""
    source = pictures(tmp_path, "in.png") / "in.png"
    with standing_in() as server:
        done = client("-i", source, "-o", tmp_path / "out.webp", "--port", server.port)
        refused = client("-i", source, "-o", tmp_path / "out.tiff", "--port", server.port)
        client("-i", source, "--bits", 16, "--port", server.port)

    assert (0, 2) == (done.exit_code, refused.exit_code)
    assert [{"format": "webp"}, {"bits": "16"}] == server.asked
    with Image.open(tmp_path / "out.webp") as image:
        assert "WEBP" == image.format


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((), "nothing was asked for"),
        (("-i", "a.png", "--health"), "-i and --health were given together"),
        (("--batch", "x", "--watch", "y"), "--batch and --watch were given together"),
        (("--health", "--port", "eighty"), "port is 'eighty'"),
        (("--health", "--port", "0"), "port is '0'"),
        (("--health", "--port", "1-2000"), "64 servers are the most"),
        (("--no-such-flag",), "no such option"),
        (("-u", "two", "--health"), "valid integer"),
    ],
)
def test_wrong_words_are_exit_code_2(flags: tuple[str, ...], said: str) -> None:
    """One line on stderr says what was expected, and nothing is on stdout."""
    ran = client(*flags)

    assert 2 == ran.exit_code
    assert said in ran.stderr
    assert "" == ran.stdout


def test_a_refused_connection_is_exit_code_1(tmp_path: Path) -> None:
    """The message names the address, the reason and what to check; no file appears."""
    source = pictures(tmp_path, "in.png") / "in.png"
    with standing_in() as gone:
        pass

    for asked in (("-i", source), ("--health",), ("--batch", tmp_path)):
        ran = client(*asked, "--port", gone.port)

        assert 1 == ran.exit_code
        assert f"{gone.url} does not answer: connection refused" in ran.stderr
        assert "check that the server runs, and --host and --port" in ran.stderr
        assert "server_unreachable" == records(ran)[0]["fault"]["code"]
    assert {"in.png"} == {path.name for path in tmp_path.iterdir()}


def test_a_wrong_server_is_exit_code_1(tmp_path: Path) -> None:
    """A web page in place of a picture is shown with its beginning; no file appears."""
    source = pictures(tmp_path, "in.png") / "in.png"
    with standing_in(page) as server:
        ran = client("-i", source, "--port", server.port)

    assert 1 == ran.exit_code
    assert "answered with text/html and not with a picture" in ran.stderr
    assert {"in.png"} == {path.name for path in tmp_path.iterdir()}


def test_a_refused_picture_is_exit_code_1(tmp_path: Path) -> None:
    """Whatever code our own commands have for it: the document knows one."""
    source = pictures(tmp_path, "in.png") / "in.png"
    with standing_in(problem(415, "not_media")) as server:
        refused = client("-i", source, "--port", server.port)
        missing = client("-i", tmp_path / "gone.png", "--port", server.port)

    assert (1, 1) == (refused.exit_code, missing.exit_code)
    assert "not_media" in refused.stderr
    assert "does not exist" in missing.stderr


@pytest.mark.slow
def test_health_info_and_stats_are_json_on_stdout() -> None:
    """One server: its own object as it is; several: an object each, with its address."""
    with standing_in() as one, standing_in() as two:
        for what, field in (("health", "status"), ("info", "name"), ("stats", "timestamp")):
            ran = client(f"--{what}", "--port", one.port)
            assert 0 == ran.exit_code
            assert field in records(ran)[0]
            assert "" == ran.stderr
        both = client("--health", "--port", f"{one.port},{two.port}")

    assert [one.url, two.url] == [record["server"] for record in records(both)]


def test_one_of_several_that_is_away_is_said_and_the_others_answer() -> None:
    """Exit code 1, the others' objects on stdout."""
    with standing_in() as gone:
        pass
    with standing_in() as here:
        ran = client("--health", "--port", f"{gone.port},{here.port}")

    assert 1 == ran.exit_code
    assert [gone.url, None] == [record.get("source") for record in records(ran)]
    assert here.url == records(ran)[1]["server"]


@pytest.mark.slow
def test_a_batch_writes_a_result_for_each_picture_that_matches(tmp_path: Path) -> None:
    """Default pattern *.png; results in the output folder, which is made."""
    folder = pictures(tmp_path / "images", "a.png", "b.png", "c.jpg")
    with standing_in() as server:
        ran = client("--batch", folder, "--output", tmp_path / "new" / "out", "-u", 2, "--port", server.port)
        jpegs = client("--batch", folder, "--pattern", "*.jpg", "--port", server.port)

    assert (0, 0) == (ran.exit_code, jpegs.exit_code)
    assert {"a_upscaled.png", "b_upscaled.png"} == {path.name for path in (tmp_path / "new" / "out").iterdir()}
    assert (folder / "c_upscaled.png").is_file()
    assert "2 pictures: 2 upscaled" in ran.stderr


def test_a_batch_keeps_the_folders_of_a_deep_pattern(tmp_path: Path) -> None:
    """Two pictures of one name in two folders do not meet."""
    folder = pictures(tmp_path / "images", "a.png", "below/a.png")
    with standing_in() as server:
        ran = client("--batch", folder, "--pattern", "**/*.png", "-o", tmp_path / "out", "--port", server.port)

    assert 0 == ran.exit_code
    assert (tmp_path / "out" / "a_upscaled.png").is_file()
    assert (tmp_path / "out" / "below" / "a_upscaled.png").is_file()


@pytest.mark.slow
def test_a_repeated_batch_does_what_is_missing(tmp_path: Path) -> None:
    """Finished ones are skipped; changed sources, other factors and damaged results are done again; so is all by -y."""
    folder = pictures(tmp_path, "a.png", "b.png", "c.png", "d.png")
    with standing_in() as server:
        flags = ("--batch", folder, "-u", 2, "--port", server.port)
        client(*flags)
        os.utime(folder / "b.png", (time.time() + 10, time.time() + 10))
        (folder / "c_upscaled.png").write_bytes(b"damaged")
        pictures(folder, "e.png")
        second = client(*flags)
        third = client("--batch", folder, "-u", 4, "--port", server.port)
        everything = client(*flags, "-y")

    assert {"a.png", "d.png"} == {Path(one["source"]).name for one in records(second) if "skipped" in one}
    assert {"b.png", "c.png", "e.png"} == {Path(one["source"]).name for one in records(second) if "size" in one}
    assert ["40x24"] * 5 == [one["size"] for one in records(third)]
    assert ["20x12"] * 5 == [one["size"] for one in records(everything)]
    assert not list(folder.glob("*_upscaled_upscaled.png"))


def test_one_failure_does_not_stop_a_batch(tmp_path: Path) -> None:
    """Corrupt and empty files get their record; the others their result; exit code 1."""
    folder = pictures(tmp_path, "a.png", "z.png")
    (folder / "corrupt.png").write_bytes(b"no picture")
    (folder / "empty.png").write_bytes(b"")
    with standing_in() as server:
        ran = client("--batch", folder, "--port", server.port)

    assert 1 == ran.exit_code
    assert {"corrupt.png", "empty.png"} == {Path(one["source"]).name for one in records(ran) if "fault" in one}
    assert (folder / "a_upscaled.png").is_file()
    assert (folder / "z_upscaled.png").is_file()
    assert "4 pictures: 2 upscaled, 2 failed" in ran.stderr


def test_a_batch_sends_several_pictures_at_once_to_several_servers(tmp_path: Path) -> None:
    """Two a server: four uploads meet, which would otherwise wait for each other for ever."""
    meeting = threading.Barrier(4, timeout=LIMIT_SECONDS)

    def together(handler: Handler) -> None:
        meeting.wait()
        well(handler)

    folder = pictures(tmp_path, *(f"{number}.png" for number in range(8)))
    with standing_in(*[together] * 4) as one, standing_in(*[together] * 4) as two:
        ran = client("--batch", folder, "--port", f"{one.port},{two.port}")

    assert 0 == ran.exit_code, ran.stderr
    assert (4, 4) == (one.served, two.served)


@pytest.mark.slow
def test_a_batch_outlives_a_server(tmp_path: Path) -> None:
    """One of two is not there: every picture comes from the other."""
    folder = pictures(tmp_path, *(f"{number}.png" for number in range(8)))
    with standing_in() as gone:
        pass
    with standing_in() as alive:
        ran = client("--batch", folder, "--port", f"{gone.port},{alive.port}")

    assert 0 == ran.exit_code
    assert 8 == alive.served


@pytest.mark.slow
def test_a_batch_of_nothing_is_a_failure(tmp_path: Path) -> None:
    """A mistyped folder or pattern is not a success."""
    empty = client("--batch", pictures(tmp_path, "a.png"), "--pattern", "*.gif")
    missing = client("--batch", tmp_path / "gone")
    wrong = client("--batch", tmp_path, "--pattern", "/etc/*")

    assert (1, 1, 2) == (empty.exit_code, missing.exit_code, wrong.exit_code)
    assert "no file in" in empty.stderr
    assert "there is no folder" in missing.stderr


def test_two_sources_of_one_result_are_refused_before_any_work(tmp_path: Path) -> None:
    """a.png and a.jpg would both be a_upscaled.png."""
    with standing_in() as server:
        ran = client("--batch", pictures(tmp_path, "a.png", "a.jpg"), "--pattern", "*", "--port", server.port)

    assert 2 == ran.exit_code
    assert "would both be written to" in ran.stderr
    assert [] == server.asked


@pytest.mark.slow
def test_verbose_says_each_step_and_keeps_stdout_clean(tmp_path: Path) -> None:
    """Which server, what it answered, and what is done next."""
    source = pictures(tmp_path, "in.png") / "in.png"
    with standing_in(busy) as server:
        ran = client("-i", source, "--port", server.port, "--verbose")

    assert 1 == len(records(ran))
    assert f"servers: {server.url}" in ran.stderr
    assert f"in.png <- {server.url}: busy: refused with queue_full" in ran.stderr
    assert f"in.png <- {server.url}: 20x12" in ran.stderr


def test_the_key_is_sent(tmp_path: Path) -> None:
    """`--api-key` as a bearer token."""
    source = pictures(tmp_path, "in.png") / "in.png"
    with standing_in() as server:
        client("-i", source, "--port", server.port, "--api-key", "secret")

    assert ["Bearer secret"] == server.keys


def test_addresses_of_one_or_more_ports() -> None:
    """Lists and ranges of ports, names, IPv6 and TLS."""
    assert ["http://127.0.0.1:8090"] == addresses("127.0.0.1", "8090")
    assert ["http://h:8090", "http://h:8092", "http://h:8093"] == addresses("h", "8090,8092-8093, 8090")
    assert ["http://[::1]:1"] == addresses("::1", "1")
    assert ["https://h:443"] == addresses("https://h/", "443")
    with pytest.raises(BadRequest):
        addresses("h", "2-1")
    with pytest.raises(BadRequest, match="names 200 ports"):
        addresses("h", "1-200")


@pytest.mark.slow
def test_an_interrupt_leaves_no_half_file(tmp_path: Path) -> None:
    """Ctrl-C in the middle of answers: exit code 130 at once, though their ends will never come."""
    over = threading.Event()

    def never(handler: Handler) -> None:
        begin(handler)
        over.wait(LIMIT_SECONDS)

    folder = pictures(tmp_path, "a.png", "b.png", "c.png")
    with standing_in(*[never] * 3) as server:
        command = [*COMMAND, "client", "image", "--batch", str(folder), "--port", str(server.port)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment_for()
        ) as process:
            until(lambda: len(list(folder.glob(".*.part"))) == 2)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=LIMIT_SECONDS)
        over.set()

    assert 130 == process.returncode
    assert "interrupted: stopped before the end" in said
    assert {"a.png", "b.png", "c.png"} == {path.name for path in folder.iterdir()}


def until(fact: Any) -> None:  # noqa: ANN401 - a question
    """Wait for a fact."""
    end = time.monotonic() + LIMIT_SECONDS
    while not fact():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_counts_are_said_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    """A plain line every few seconds where stderr is no terminal."""
    now = [0.0]
    with Count(10, clock=lambda: now[0]) as count:
        for how in (SKIPPED, FAILED, DONE):
            count.add(how)
        now[0] = 10.0
        count.add(DONE)

    assert "4 of 10 pictures: 2 upscaled, 1 skipped, 1 failed, 0.20 per second\n" == capsys.readouterr().err


@pytest.mark.slow
def test_a_terminal_gets_a_bar_and_a_pipe_the_data(tmp_path: Path) -> None:
    """A terminal on stderr and a pipe on stdout: the bar is drawn on the one, the other has one record a picture."""
    folder = pictures(tmp_path, "a.png", "b.png")
    ours, theirs = os.openpty()
    with standing_in() as server:
        command = [*COMMAND, "client", "image", "--batch", str(folder), "--port", str(server.port)]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=theirs, text=True, check=False, env=environment_for()
        )
    os.close(theirs)
    drawn = os.read(ours, 1 << 20).decode()
    os.close(ours)

    assert 0 == done.returncode, drawn
    assert {"20x12"} == {json.loads(line)["size"] for line in done.stdout.splitlines()}
    assert 2 == len(done.stdout.splitlines())
    assert "2/2" in drawn
