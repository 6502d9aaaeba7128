"""The house keeps its own rules: what the documents say about the project is held against the project.

It reads files only; behaviour is tested elsewhere.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import upscale_server
from docs.reference import generate
from upscale_server import errors

MAX_MODULE_LINES = 300
MAX_FUNCTION_LINES = 40
# Installed before their rooms are built, so that a later release does not change what an installation brings.
AHEAD_OF_THEIR_ROOMS: set[str] = set()
IMPORT_NAMES = {
    "pillow": "PIL", "prometheus-client": "prometheus_client", "pydantic-settings": "pydantic_settings",
    "python-multipart": "python_multipart",
}  # fmt: skip
# pydantic comes with pydantic-settings, Starlette with FastAPI and h11 with uvicorn, by design of all.
COMES_WITH = {
    "pydantic": "pydantic-settings", "click": "typer", "pydantic_core": "pydantic-settings",
    "starlette": "fastapi", "h11": "uvicorn",
}  # fmt: skip


@pytest.fixture(scope="module")
def project(repository: Path) -> dict[str, Any]:  # TOML has no narrower type
    """Read pyproject.toml."""
    return tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def files(repository: Path) -> list[Path]:
    """List what is in the project: what git tracks or would track, or all sources where there is no git."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    if listed.returncode == 0 and listed.stdout:
        return [path for name in listed.stdout.splitlines() if (path := repository / name).is_file()]
    top = [path for path in repository.iterdir() if path.is_file()]
    folders = ("src", "tests", "docs", "training", "benchmarks", "examples")
    return top + [p for name in folders for p in (repository / name).rglob("*") if p.is_file()]


def requirement_name(requirement: str) -> str:
    """Return the package's name in a requirement such as `psycopg[binary]>=3.2`."""
    return re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0].lower()


def sources(repository: Path) -> list[Path]:
    """List the modules that are installed."""
    return sorted((repository / "src").rglob("*.py"))


def imported_packages(path: Path) -> set[str]:
    """Return the top-level names that a module imports, wherever in the module it does."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module.split(".")[0])
    return found


def test_version_is_said_in_one_place_and_the_changelog_has_it(repository: Path, project: dict[str, Any]) -> None:
    """The package's attribute is the only version; the changelog and an installation agree with it."""
    changelog = (repository / "CHANGELOG.md").read_text(encoding="utf-8")

    assert "version" not in project["project"]
    assert project["tool"]["hatch"]["version"]["path"] == "src/upscale_server/__init__.py"
    assert f"## [{upscale_server.__version__}]" in changelog
    try:
        installed = metadata.version("upscale-server")
    except metadata.PackageNotFoundError:
        pytest.skip("upscale-server is not installed here; only the sources agree")
    assert upscale_server.__version__ == installed


def test_default_install_brings_no_torch_and_no_second_engine(project: dict[str, Any]) -> None:
    """OpenVINO is the only engine that everybody has to download."""
    names = {requirement_name(text) for text in project["project"]["dependencies"]}

    assert set() == names & {
        "torch",
        "onnxruntime",
        "onnxruntime-gpu",
        "ray",
        "boto3",
        "bittensor",
        "opencv-python",
    }
    assert "openvino" in names


def test_every_third_party_import_is_declared(repository: Path, project: dict[str, Any]) -> None:
    """What the sources import is a dependency or an extra, and what everybody installs is imported."""
    extras = project["project"]["optional-dependencies"]
    default = {requirement_name(text) for text in project["project"]["dependencies"]}
    every = default | {requirement_name(text) for texts in extras.values() for text in texts}
    declared = {IMPORT_NAMES.get(name, name.replace("-", "_")) for name in every}
    imported = set().union(*(imported_packages(path) for path in sources(repository)))
    foreign = imported - set(sys.stdlib_module_names) - {"upscale_server"}

    undeclared = {name for name in foreign - declared if COMES_WITH.get(name) not in default}
    unused = {name for name in default if IMPORT_NAMES.get(name, name) not in foreign} - AHEAD_OF_THEIR_ROOMS

    assert set() == undeclared
    assert set() == unused


def test_every_extra_is_explained_in_the_readme(repository: Path, project: dict[str, Any]) -> None:
    """A person can find out what each extra is for without reading pyproject.toml."""
    readme = (repository / "README.md").read_text(encoding="utf-8")
    table = readme.split("## Extras", maxsplit=1)[1].split("\n## ", maxsplit=1)[0]

    for extra in project["project"]["optional-dependencies"]:
        assert f"`{extra}`" in table, f"README's table of extras lacks {extra}"


def test_constraints_pin_every_default_dependency_without_hash_or_address(
    repository: Path, project: dict[str, Any]
) -> None:
    """An installation is repeatable from any index, because the pins name versions and nothing else."""
    lines = (repository / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    pinned = {requirement_name(pin) for pin in pins}

    for pin in pins:
        assert re.fullmatch(r"[a-z0-9._-]+==[0-9a-z.]+( ; .+)?", pin), f"{pin!r} is not a plain exact version"
    assert set() == {requirement_name(text) for text in project["project"]["dependencies"]} - pinned
    assert "torch==2.13.0" in pins


def test_every_make_target_says_what_it_is_for(repository: Path) -> None:
    """`make help` lists every target that is meant for people."""
    makefile = (repository / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^\.PHONY: (\S+)$", makefile, re.MULTILINE)

    for target in targets:
        assert re.search(rf"^{target}:[^#\n]*## \S", makefile, re.MULTILINE), f"target {target} has no help text"
    assert {
        "help",
        "install",
        "run",
        "test",
        "check",
        "fmt",
        "lint",
        "types",
        "imports",
        "bench",
        "train",
    } <= set(targets)


@pytest.mark.parametrize("extra", ["torch", "tsdsr"])
def test_what_skips_without_torch_has_a_make_target_and_pins(
    repository: Path, project: dict[str, Any], extra: str
) -> None:
    """`make test` installs neither extra: a test that asks for one and is in no target would never be run."""
    makefile = (repository / "Makefile").read_text(encoding="utf-8")
    asking = {
        path
        for path in (repository / "tests").rglob("*.py")
        if f'"the extra [{extra}] is not installed' in path.read_text(encoding="utf-8")
    }
    patterns = re.search(rf"^{extra.upper()}_TESTS = \$\(sort \$\(wildcard (.*)\)\)$", makefile, re.MULTILINE)
    pins = {requirement_name(line) for line in (repository / "constraints.txt").read_text(encoding="utf-8").split("\n")}
    wanted = {requirement_name(one) for one in project["project"]["optional-dependencies"][extra]}

    assert patterns is not None
    assert asking
    assert set() == asking - {path for one in patterns[1].split() for path in repository.glob(one)}
    assert re.search(
        rf"^test-{extra}: .venv/.{extra} ##.*\n.*pytest.*\$\({extra.upper()}_TESTS\)$", makefile, re.MULTILINE
    )
    assert f"`make test-{extra}`" in (repository / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert set() == wanted - pins


def test_links_between_documents_lead_somewhere(repository: Path, files: list[Path]) -> None:
    """Every relative link in a document points to a file that is there."""
    broken = []
    for page in (path for path in files if path.suffix == ".md"):
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            local = target.split("#")[0]
            if local and "://" not in target and not (page.parent / local).exists():
                broken.append(f"{page.relative_to(repository)} -> {target}")

    assert [] == broken


def test_every_decision_is_in_the_index(repository: Path) -> None:
    """The list of decisions has each page once, under its own title."""
    folder = repository / "docs" / "decisions"
    index = (folder / "README.md").read_text(encoding="utf-8")

    for page in sorted(folder.glob("[0-9]*.md")):
        title = page.read_text(encoding="utf-8").splitlines()[0].removeprefix(f"# {page.name[:4]}. ")
        assert 1 == index.count(f"| [{title}]({page.name}) |"), f"{page.name} is not in docs/decisions/README.md"


def test_nothing_in_the_project_names_the_machine_it_was_written_on(repository: Path, files: list[Path]) -> None:
    """No file holds an absolute path or a package host of one developer's machine."""
    # Put together here so that this file does not hold what it looks for.
    roots = "|".join(("work", "opt/" + "wheels", "opt/" + "pypi", "home/[a-z]+", "tmp/bash"))
    pattern = re.compile(rf"(?<![\w.$}}*]){'/'}(?:{roots})/|files\.pythonhosted" + r"\.org|--(?:extra-)?index" + "-url")
    texts = (".py", ".md", ".toml", ".txt", ".json", ".yaml", ".sh", ".sql", ".html", "")

    found = [
        f"{path.relative_to(repository)}: {match[0]}"
        for path in files
        if path.suffix in texts
        for match in pattern.finditer(path.read_text(encoding="utf-8", errors="replace"))
    ]

    assert [] == found


def test_every_module_says_why_it_exists(repository: Path) -> None:
    """Installed modules and the training program open with a docstring."""
    modules = sources(repository) + sorted((repository / "training").glob("*.py"))

    silent = [path.name for path in modules if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]

    assert [] == silent


def test_modules_and_functions_stay_small(repository: Path) -> None:
    """No installed module is longer than 300 lines and no function's code longer than 40.

    Signatures and docstrings do not count: a command's signature is its list of options.
    """
    long = []
    for path in sources(repository):
        text = path.read_text(encoding="utf-8")
        name = str(path.relative_to(repository))
        if text.count("\n") > MAX_MODULE_LINES:
            long.append(f"{name}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                code = node.body[1:] if ast.get_docstring(node) and node.body[1:] else node.body
                lines = (node.end_lineno or node.lineno) - code[0].lineno + 1
                if lines > MAX_FUNCTION_LINES:
                    long.append(f"{name}: {node.name} has {lines} lines")

    assert [] == long


def test_every_test_says_what_it_proves(repository: Path) -> None:
    """Each test function has a docstring."""
    silent = []
    for path in sorted((repository / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_test = isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
            if is_test and not ast.get_docstring(node):
                silent.append(f"{path.relative_to(repository)}: {node.name}")

    assert [] == silent


@pytest.mark.parametrize("name", generate.PAGES)
def test_reference_pages_say_what_the_code_says(repository: Path, name: str) -> None:
    """The pages under docs/reference are what `make docs` writes today."""
    page = (repository / "docs" / "reference" / name).read_text(encoding="utf-8")

    assert generate.PAGES[name]() == page, "run `make docs`"


def test_the_page_of_errors_has_every_error(repository: Path) -> None:
    """Each public class's code is there; a page that the generator wrote too short would agree with itself."""
    page = (repository / "docs" / "reference" / "errors.md").read_text(encoding="utf-8")

    codes = {kind.code for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)}

    assert set() == {code for code in codes if f"| `{code}` |" not in page}
    assert 30 < len(codes)
