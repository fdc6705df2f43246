"""Imports inside the package point one way. docs/architecture.md gives the picture and the reasons."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "vitad_med"

# From the ground up. A unit (a module or sub-package directly under vitad_med) imports from lower levels only: never
# from its own level, so synthesis knows no network, and never from above, so nobody imports the command line.
LEVELS = (
    {"errors", "_torchvision_cpu"},
    {"checkpoint", "digests", "durable", "durations", "outputs", "reproducibility"},
    {"site"},
    {"data"},
    {"augmentation", "findings", "metrics", "networks", "objectives", "pacs", "synthesis"},
    {"adaptation", "normality"},
    {"engines"},
    {"predictions"},
    {"evaluation"},
    {"calibration"},
    {"reporting"},
    {"comparison"},
    {"bundles"},
    {"experiments", "scoring"},
    {"cli"},
)
LEVEL_OF = {unit: level for level, units in enumerate(LEVELS) for unit in units}


def source_files(package: Path) -> list[Path]:
    return sorted(package.rglob("*.py"))


def imported_modules(file: Path, package: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every import of the package, at any depth of the file, relative imports resolved."""
    parents = [package.name, *file.relative_to(package).parts[:-1]]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = parents[: len(parents) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}"


def unit_of(file: Path, package: Path) -> str | None:
    """The first name under the package; None for the package's own `__init__`."""
    first = file.relative_to(package).parts[0]
    return None if first == "__init__.py" else first.removesuffix(".py")


def violations(package: Path) -> list[str]:
    units = {unit_of(file, package) for file in source_files(package)}
    found = []
    for file in source_files(package):
        unit = unit_of(file, package)
        if unit is None:
            continue
        for line, name in imported_modules(file, package):
            root, _, rest = name.partition(".")
            target = rest.split(".")[0]
            if root != package.name or target not in units or target == unit:
                continue
            if LEVEL_OF[target] >= LEVEL_OF[unit]:
                found.append(f"{file.relative_to(package.parent)}:{line}: {unit} imports {name}")
    return found


@pytest.fixture(scope="module")
def package(repo_root: Path) -> Path:
    return repo_root / PACKAGE


def test_every_unit_has_a_level(package: Path) -> None:
    units = {unit_of(file, package) for file in source_files(package)} - {None}
    assert units <= LEVEL_OF.keys(), f"give {sorted(units - LEVEL_OF.keys())} a level here and in docs/architecture.md"


def test_imports_point_down(package: Path) -> None:
    assert violations(package) == []


def test_the_package_root_imports_only_the_torchvision_cure(package: Path) -> None:
    names = {name for _, name in imported_modules(package / "__init__.py", package)}
    assert names == {f"{PACKAGE}._torchvision_cpu"}


def test_operators_that_a_cpu_torch_lacks_are_not_used(package: Path) -> None:
    for file in source_files(package):
        for line, name in imported_modules(file, package):
            assert not name.startswith(("torchvision.io", "torchvision.ops")), f"{file}:{line} imports {name}"


@pytest.mark.parametrize(
    "statement",
    [
        "from vitad_med.networks.vit import Vit",
        "from vitad_med.networks import vit",
        "from vitad_med import networks",
        "import vitad_med.networks.vit",
        "from ..networks import vit",
        "def f():\n    from vitad_med.networks import vit",
    ],
)
@pytest.mark.parametrize("importer", ["synthesis", "data"])
def test_every_way_to_import_upwards_or_sideways_is_seen(tmp_path: Path, statement: str, importer: str) -> None:
    package = tmp_path / PACKAGE
    for unit in ("networks", importer):
        (package / unit).mkdir(parents=True)
    (package / "networks" / "vit.py").write_text("class Vit: ...\n")
    (package / importer / "patch.py").write_text(statement + "\n")
    assert len(violations(package)) == 1


def test_imports_downwards_and_of_neighbours_in_the_unit_pass(tmp_path: Path) -> None:
    package = tmp_path / PACKAGE
    (package / "synthesis").mkdir(parents=True)
    (package / "errors.py").write_text("")
    (package / "synthesis" / "dst.py").write_text("from vitad_med.errors import VitadError\n")
    (package / "synthesis" / "poisson.py").write_text("from vitad_med.synthesis.dst import dst\nimport numpy\n")
    assert violations(package) == []
