"""Brings TSD-SR's weights here: asks for consent to their licences, fetches or finds them, and holds them to account.

It downloads no weights without a yes, only the licence that is shown for it. It loads nothing: `tsdsr` does, from
where this puts it.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from upscale_server.disk import naming_write_faults
from upscale_server.errors import BadRequest, Forbidden, ModelInvalid, ModelMissing
from upscale_server.models.catalogue import sha256_of
from upscale_server.models.hub import Hub, HubFile, Repository, check_room, forget_traces, require_library
from upscale_server.models.tsdsr.files import NETWORK
from upscale_server.models.weights_check import (
    PINS,
    check_embeddings,
    check_lora,
    check_sd3,
    hashes_of,
    hold_against,
    read_pins,
    write_pins,
)

SD3 = "stabilityai/stable-diffusion-3-medium-diffusers"
NOTICE = """TSD-SR is made of two works by others; neither comes with this software.

* Stable Diffusion 3 Medium, by Stability AI. Its terms are the Stability AI Community License: free for research and
  non-commercial use, and for commercial use while your yearly revenue is at most USD 1 million; beyond that you need a
  licence from Stability AI. Its Acceptable Use Policy holds. A copy of the model may come with another text, shown
  below where there is one: some copies carry an older, non-commercial licence, which does not let you offer the model
  to others as a service. Which one holds for you is for you to find out before you do.
* TSD-SR's LoRA and prompt embeddings, by the authors of TSD-SR (github.com/Microtreei/TSD-SR, code: Apache-2.0). Their
  weights carry no statement of their own; as a derivative of SD3 they are under its terms.
"""
_PARTS: Mapping[str, tuple[str, ...]] = {
    "sd3": tuple(f"{part}/{name}" for part in ("transformer", "vae") for name in NETWORK),
    "lora": ("transformer.safetensors", "vae.safetensors"),
    "embeddings": ("prompt_embeds.pt", "pool_embeds.pt"),
}
_CHECKS: Mapping[str, Callable[[Path], None]] = {"sd3": check_sd3, "lora": check_lora, "embeddings": check_embeddings}
_SETTINGS = {
    "sd3": "UPSCALE_TSDSR__SD3_DIR",
    "lora": "UPSCALE_TSDSR__LORA_DIR",
    "embeddings": "UPSCALE_TSDSR__EMBEDDINGS_DIR",
}
_LICENCES = ("LICENSE*", "LICENCE*", "license*", "licence*")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


@dataclass(frozen=True, slots=True)
class Pull:
    """What is to be brought, and to where.

    `sd3`, `lora` and `embeddings` are a folder or a repository of the hub; empty is where `everything` has it, or SD3's
    own repository. `pins` is a file of SHA-256s, `revision` a commit of SD3's repository.
    """

    folder: Path
    sd3: str = ""
    lora: str = ""
    embeddings: str = ""
    everything: Path | None = None
    revision: str = ""
    pins: Path | None = None


@dataclass(frozen=True, slots=True)
class Pulled:
    """Where things are: the folders by part, and each file's bytes and SHA-256 by its name."""

    folders: Mapping[str, Path]
    files: Mapping[str, tuple[int, str]]

    @property
    def settings(self) -> dict[str, str]:
        """Return the settings that make a server find them."""
        return {_SETTINGS[part]: str(folder) for part, folder in self.folders.items()}


Consent = Callable[[str], bool]
"""Shows the licences to the user and tells whether they were accepted."""


def pull(asked: Pull, hub: Hub, consent: Consent, tell: Callable[[str], None] = lambda _: None) -> Pulled:
    """Bring the weights and check them: sizes, SHA-256, the kind of each file, and the user's pins.

    Raises:
        MissingExtra: something is to be fetched, and the hub's library is not installed.
        BadRequest: it was not said where a part comes from.
        Forbidden: the licences were not accepted, or the hub wants to know its user.
        ModelMissing, ModelInvalid: a file is not there, or not what it should be.
        DiskFull, StorageError: the folder cannot be written.
    """
    pins = _pins_of(asked)
    sources = {part: _source_of(part, asked) for part in _PARTS}
    if any(isinstance(source, str) for source in sources.values()):
        require_library()
    for part, source in sources.items():
        if isinstance(source, Path):
            _CHECKS[part](source)  # before gigabytes are fetched for it
    found = {part: _look(part, source, asked, hub) for part, source in sources.items() if isinstance(source, str)}
    with naming_write_faults(asked.folder):
        asked.folder.mkdir(parents=True, exist_ok=True)
        if not consent(NOTICE + _licence_of(sources["sd3"], found.get("sd3"), asked.folder / "sd3", hub)):
            raise Forbidden("the licences were not accepted, so no weights were fetched", hint="see --accept-licence")
        folders = {part: _bring(part, sources[part], found.get(part), asked, (hub, tell)) for part in _PARTS}
        for part, folder in folders.items():
            _CHECKS[part](folder)
        files = {f"{part}/{name}": folders[part] / name for part in _PARTS for name in _PARTS[part]}
        tell(f"computing the SHA-256 of {len(files)} files")
        hashes = hashes_of(files)
        for source, pinned in pins.items():
            hold_against(pinned, hashes, source)
        write_pins(asked.folder / PINS, hashes)
    return Pulled(folders, {name: (path.stat().st_size, hashes[name]) for name, path in files.items()})


def _pins_of(asked: Pull) -> dict[str, dict[str, str]]:
    """Return the pins to hold against, by where they come from: the user's file, and an earlier run's."""
    own = asked.folder / PINS
    paths = [path for path in (asked.pins, own if own.is_file() else None) if path is not None]
    return {str(path): read_pins(path) for path in paths}


def _source_of(part: str, asked: Pull) -> Path | str:
    """Return the folder of a part, or the name of its repository."""
    named = {"sd3": asked.sd3, "lora": asked.lora, "embeddings": asked.embeddings or asked.lora}[part]
    if not named and asked.everything is not None:
        return _found_under(asked.everything, part)
    if not named and part == "sd3":
        return SD3
    if not named:
        raise BadRequest(
            f"it was not said where TSD-SR's {part} comes from; its authors have no repository on the hub",
            hint="get the folders `tsdsr` and `default` by the links on github.com/Microtreei/TSD-SR, then give "
            "--lora FOLDER and --embeddings FOLDER, or --from FOLDER where everything is below one",
        )
    folder = Path(named).expanduser()
    if folder.is_dir():
        return _found_under(folder, part)
    if _REPOSITORY.fullmatch(named):
        return named
    raise ModelMissing(f"{named} is neither a folder nor the name of a repository such as {SD3}")


def _found_under(root: Path, part: str) -> Path:
    """Return the folder at or below a root that holds a part's files.

    Raises:
        ModelMissing: there is none.
        BadRequest: there are several.
    """
    first, last = next(iter(_PARTS[part])), _PARTS[part][-1]
    if not root.is_dir():
        raise ModelMissing(f"there is no folder {root}")
    ends = {path.parents[first.count("/")] for path in root.rglob(Path(first).name) if path.match(first)}
    homes = sorted(home for home in ends if any(home.glob(last)))
    homes = [root] if root in homes else homes
    if part == "lora" and len(homes) > 1:  # the authors' folder has a second one, for the tables of their paper
        homes = [home for home in homes if home.name == "tsdsr"] or homes
    if not homes:
        raise ModelMissing(f"{root} holds no {part}: expected {', '.join(_PARTS[part])}")
    if len(homes) > 1:
        raise BadRequest(f"{root} holds several of {part}: {', '.join(map(str, homes))}", hint=f"name one by --{part}")
    return homes[0].resolve()


def _look(part: str, repository: str, asked: Pull, hub: Hub) -> Repository:
    """Return a repository in which the files of a part are."""
    seen = hub.look(repository, asked.revision if part == "sd3" else "")
    missing = [name for name in _PARTS[part] if name not in seen.files]
    if missing:
        raise ModelMissing(f"{repository} has no {missing[0]}; expected {', '.join(_PARTS[part])}")
    return seen


def _licence_of(source: Path | str, seen: Repository | None, folder: Path, hub: Hub) -> str:
    """Return the licence text that comes with the model itself, or a line that says there is none."""
    if isinstance(source, Path):
        paths = sorted({path for one in _LICENCES for path in source.glob(one) if path.is_file()})
    else:
        names = sorted({name for one in _LICENCES for name in (_matching(seen, one) if seen else ())})
        paths = [hub.fetch(seen, name, folder) for name in names] if seen else []
    texts = [
        f"\n---- {path.name}, from {source}\n\n{path.read_text(encoding='utf-8', errors='replace')}" for path in paths
    ]
    return "".join(texts) or f"\n{source} comes without a licence text of its own.\n"


def _bring(
    part: str, source: Path | str, seen: Repository | None, asked: Pull, with_: tuple[Hub, Callable[[str], None]]
) -> Path:
    """Return the folder of a part, after fetching what is not there yet; a local folder is used where it is."""
    if isinstance(source, Path) or seen is None:
        return Path(source)
    hub, tell = with_
    folder = asked.folder / part
    missing = [name for name in _PARTS[part] if not _is_there(folder / name, seen.files[name])]
    check_room(folder, sum(seen.files[name].bytes for name in missing))
    for name in missing:
        tell(f"fetching {source}/{name}: {seen.files[name].bytes} bytes")
        path = hub.fetch(seen, name, folder)
        if not _is_there(path, seen.files[name]):
            path.unlink()
            raise ModelInvalid(
                f"{source}/{name} did not come as the hub describes it: {seen.files[name].bytes} bytes, "
                f"SHA-256 {seen.files[name].sha256 or 'not told'}",
                hint="run it again; if it stays so, the hub or mirror is not to be trusted",
            )
    forget_traces(folder)
    return folder.resolve()


def _matching(seen: Repository, pattern: str) -> list[str]:
    """Return the files that match, in the pattern's own depth: a hub must not choose where we write."""
    found = fnmatch.filter(seen.files, pattern)
    return [name for name in found if name.count("/") == pattern.count("/") and not {"..", "."} & set(name.split("/"))]


def _is_there(path: Path, facts: HubFile) -> bool:
    if not path.is_file() or path.stat().st_size != facts.bytes:
        return False
    return not facts.sha256 or sha256_of(path) == facts.sha256
