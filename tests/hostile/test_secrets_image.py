"""The image server is handed secrets in every place that a caller has, and none is found in what it leaves or says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx

from tests.support.canaries import Canaries, found_below, found_in_texts
from tests.support.image_served import picture_file, running_images


def test_no_secret_is_left_or_told(tmp_path: Path, report: Callable[[str, dict[str, object]], None]) -> None:
    """Right and wrong keys, cookies, queries, names and texts of forms: nothing in the log, the folder, any answer."""
    canaries, state = Canaries(), tmp_path / "state"
    environment = {"UPSCALE_API_KEYS": canaries.api_key, "UPSCALE_LOG_LEVEL": "debug"}
    token, picture = f"token={canaries.query_token}", picture_file()
    comment = picture_file(kind="JPEG", comment=canaries.signature.encode())
    headers = {"X-API-Key": canaries.api_key, "Cookie": f"session={canaries.cookie}"}
    answers: list[httpx.Response] = []

    with (
        running_images(state, "--model", "lanczos", environment=environment) as server,
        httpx.Client(base_url=server.url, headers=headers, timeout=60, trust_env=False) as client,
    ):
        for name, content in (("a.png", picture), ("a.jpg", comment), (f"{canaries.source_user}.png", b"no picture")):
            for path in ("/upscale", "/upscale_batch", "/none"):
                field = "files" if path == "/upscale_batch" else "file"
                files = {field: (name, content)}
                answers.append(client.post(path, files=files))
                answers.append(client.post(f"{path}?{token}", files=files))
                answers.append(client.post(path, files=files, data={"note": canaries.source_token}))
                answers.append(client.post(path, files=files, data={"upscale": canaries.source_token}))
        wrong = ({"Authorization": f"Bearer {canaries.authorization}"}, {"X-API-Key": canaries.wrong_api_key})
        answers += [client.get("/info", headers={"X-API-Key": "", **one}) for one in wrong]
        answers += [client.get(f"{path}?{token}") for path in ("/health", "/info", "/stats", "/limits", "/metrics")]
        server.stop()

    told = [f"{reply.status_code} {dict(reply.headers)} {reply.text}" for reply in answers]
    assert {200, 400, 401, 404, 415} <= {reply.status_code for reply in answers}
    assert {} == found_below(tmp_path, canaries)
    assert {} == found_in_texts(server.lines, canaries)
    # A caller is told which value of its own was wrong, and the names of its own files.
    assert {"source_user", "source_token"} >= set().union(*found_in_texts(told, canaries).values())
    assert len((state / "server.log").read_bytes()) > 1000
    report("secrets_image", {"answers": len(told), "log_lines": len(server.lines), "found": 0})
