"""What pip installs: pins, licences, the contents of the wheel, and no trace of the machine it was written on."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from vitad_med import __version__

PIN = re.compile(r"([A-Za-z0-9_.-]+)==([0-9][0-9A-Za-z.]*)")


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def project(repo_root: Path) -> dict:
    return tomllib.loads((repo_root / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def pins(repo_root: Path) -> dict[str, str]:
    """Normalised name -> version."""
    lines = [line for line in (repo_root / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not PIN.fullmatch(line)] == []
    return {normal(name): version for name, version in (line.split("==") for line in lines)}


def requirements(project: dict) -> list[str]:
    extras = project["optional-dependencies"].values()
    return [*project["dependencies"], *(requirement for extra in extras for requirement in extra)]


def test_every_requirement_is_pinned_at_or_above_its_lower_bound(project: dict, pins: dict[str, str]) -> None:
    for requirement in requirements(project):
        _, _, bound = requirement.partition(">=")
        version = pins[normal(package_of(requirement))]
        if bound:
            numbers = [[int(part) for part in re.findall(r"\d+", text)] for text in (version, bound)]
            assert numbers[0] >= numbers[1], requirement


def imported_names(folders: list[Path]) -> set[str]:
    """Top-level names of every absolute import below the folders."""
    names: set[str] = set()
    for file in (file for folder in folders for file in folder.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.split(".")[0])
    return names


@pytest.fixture(scope="module")
def providers() -> dict[str, set[str]]:
    """Top-level import name -> the installed packages that provide it; mlflow, for one, comes from several."""
    provided = importlib.metadata.packages_distributions()
    return {name: {normal(package) for package in packages} for name, packages in provided.items()}


def declared(listed: list[str]) -> set[str]:
    return {normal(package_of(requirement)) for requirement in listed}


def package_of(requirement: str) -> str:
    """``ray[data]>=2.50`` -> ``ray``."""
    return requirement.split(">=")[0].split("[")[0]


def foreign(names: set[str]) -> set[str]:
    return names - sys.stdlib_module_names - {"vitad_med"}


def test_the_package_imports_exactly_what_it_declares(
    project: dict, repo_root: Path, providers: dict[str, set[str]]
) -> None:
    # timm imports the first, monai.bundle's command line the second, pydicom the decoders.
    needed_by_others = {"torchvision", "fire", "pylibjpeg", "pylibjpeg-openjpeg", "pyjpegls", "python-gdcm"}
    packages = declared(project["dependencies"])
    extras = project["optional-dependencies"]
    optional = declared([*extras["onnx"], *extras["openvino"], *extras["ray"]])
    names = foreign(imported_names([repo_root / "vitad_med"]))
    assert {name for name in names if not providers.get(name, set()) & (packages | optional)} == set()
    used = set().union(*(providers[name] for name in names))
    assert packages - used <= needed_by_others


def test_tests_and_tools_import_exactly_what_dev_declares(
    project: dict, repo_root: Path, providers: dict[str, set[str]]
) -> None:
    # Checkers, stubs and pytest's plugin are not imported; MONAI imports jsonschema when it verifies metadata.
    needed_by_others = {"ruff", "mypy", "pandas-stubs", "scipy-stubs", "jsonschema", "pytest-xdist"}
    dev = declared(project["optional-dependencies"]["dev"])
    packages = declared(requirements(project))
    own_helpers = {"conftest", "_machine", "contact_sheet", "tests", "scripts"}
    # What a benchmark compares with lies in an environment of its own: it brings other versions of torch and timm.
    peers = {"anomalib"}
    names = imported_names([repo_root / folder for folder in ("tests", "benchmarks", "scripts")])
    names = foreign(names) - own_helpers - peers
    assert {name for name in names if not providers.get(name, set()) & packages} == set()
    used = set().union(*(providers[name] for name in names))
    # The package imports its extras itself, where a user asks for them; the tests ask.
    extras = project["optional-dependencies"]
    optional = declared([*extras["onnx"], *extras["openvino"], *extras["ray"]])
    assert dev - used - optional <= needed_by_others


def test_torch_has_no_upper_bound(project: dict) -> None:
    assert [r for r in project["dependencies"] if re.match(r"torch\b", r)] == ["torch>=2.8"]


def test_the_version_is_one(project: dict) -> None:
    assert project["version"] == __version__


def test_only_the_tested_python_is_claimed(project: dict) -> None:
    claimed = [c.rsplit(" ", 1)[1] for c in project["classifiers"] if c.startswith("Programming Language :: Python")]
    assert claimed == ["3.11"]


def test_third_party_lists_every_pinned_package_with_a_licence(repo_root: Path, pins: dict[str, str]) -> None:
    page = (repo_root / "THIRD_PARTY.md").read_text()
    table = page[page.index("|---|---|---|---|", page.index("<!-- packages")) : page.index("<!-- end of packages")]
    rows = re.findall(r"^\| ([\w.-]+) \| ([\w.]+) \| ([^|]+) \| [^|]* \|$", table, re.M)
    listed = {normal(name): version for name, version, _ in rows}
    assert listed == pins
    assert all(licence.strip() for _, _, licence in rows)


def test_tracked_text_names_no_machine_path_or_registry_host(repo_root: Path) -> None:
    if not (repo_root / ".git").exists():
        pytest.skip("not a git checkout, so there is no list of tracked files")
    # Joined at run time, so that this file does not find itself.
    forbidden = ["/" + "work/", "/" + "opt/wheels", "/" + "opt/pypi", "files.python" + "hosted.org", "index" + "-url"]
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=repo_root, capture_output=True, text=True, check=True).stdout
    found = []
    for name in listed.split("\0"):
        path = repo_root / name
        if not name or not path.is_file():
            continue
        content = path.read_bytes()
        found += [f"{name}: {word}" for word in forbidden if b"\0" not in content and word.encode() in content]
    assert found == []


@pytest.mark.slow
def test_the_wheel_holds_the_whole_package(repo_root: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    shutil.copytree(repo_root / "vitad_med", source / "vitad_med", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "THIRD_PARTY.md"):
        shutil.copy(repo_root / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", tmp_path]
    result = subprocess.run([*command, source], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    (wheel,) = tmp_path.glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("vitad_med/")}
    kinds = (".py", ".safetensors", ".html", ".css", ".js", ".j2", ".toml")
    code = {path for path in (repo_root / "vitad_med").rglob("*") if path.suffix in kinds}
    expected = {path.relative_to(repo_root).as_posix() for path in code} | {"vitad_med/py.typed"}
    assert held == expected


def test_third_party_lists_every_weights_file(repo_root: Path) -> None:
    page = (repo_root / "THIRD_PARTY.md").read_text()
    folders = (repo_root / "bundles", repo_root / "vitad_med" / "weights")
    files = [path for folder in folders for suffix in ("pt", "safetensors") for path in folder.rglob(f"*.{suffix}")]
    stored = [path.relative_to(repo_root).as_posix() for path in files if "golden" not in path.name]
    assert len(stored) > 4
    assert [name for name in stored if f"| `{name}` |" not in page] == []
