"""`import torchvision` works beside every build of torch, and a healthy install is left alone.

Each case runs in its own interpreter: an import that failed or a library that was defined cannot be taken back.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

REPORT = "from vitad_med import _torchvision_cpu; print(_torchvision_cpu.applied)"


def run_python(code: str, cwd: Path, first_on_path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ)
    if first_on_path is not None:
        environment["PYTHONPATH"] = os.pathsep.join([str(first_on_path), environment.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env=environment, capture_output=True, text=True, timeout=600
    )


def package_with_extension(folder: Path, extension: bytes | Path | None) -> Path:
    """A package named torchvision whose compiled operators are the given file."""
    package = folder / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("")
    if isinstance(extension, bytes):
        (package / "_C.so").write_bytes(extension)
    elif extension is not None:
        shutil.copy(extension, package / "_C.so")
    return folder


def test_the_package_timm_and_torchvision_import_together(tmp_path: Path) -> None:
    code = (
        "import vitad_med, timm, torchvision, torch\n"
        "from torchvision.transforms.v2.functional import resize\n"
        "print(tuple(resize(torch.zeros(1, 8, 8), [4, 4]).shape))"
    )
    result = run_python(code, tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "(1, 4, 4)"


def test_the_cure_is_applied_exactly_where_the_plain_import_fails(tmp_path: Path) -> None:
    plain_import_fails = run_python("import torchvision", tmp_path).returncode != 0
    result = run_python(REPORT, tmp_path)
    assert result.stdout.strip() == str(plain_import_fails), result.stderr


def test_a_loadable_extension_is_left_alone(tmp_path: Path) -> None:
    shared_library = getattr(zlib, "__file__", None)
    if shared_library is None:
        pytest.skip("this Python has zlib built in, so there is no shared library at hand that surely loads")
    path = package_with_extension(tmp_path, Path(shared_library))
    result = run_python(REPORT + "; import torch; print(hasattr(torch.ops.torchvision, 'nms'))", tmp_path, path)
    assert result.stdout.split() == ["False", "False"], result.stderr


@pytest.mark.parametrize("extension", [b"not a shared library", None], ids=["does not load", "missing"])
def test_schemas_are_defined_when_the_extension_is_unusable(tmp_path: Path, extension: bytes | None) -> None:
    path = package_with_extension(tmp_path, extension)
    code = (
        REPORT + "; import torch\n"
        "for name in ('nms', 'qnms'):\n"
        "    print([a.name for a in getattr(torch.ops.torchvision, name).default._schema.arguments])\n"
        "print(_torchvision_cpu.ensure_importable())"
    )
    result = run_python(code, tmp_path, path)
    arguments = "['dets', 'scores', 'iou_threshold']"
    assert result.stdout.splitlines() == ["True", arguments, arguments, "True"], result.stderr


def test_nothing_happens_without_torchvision(tmp_path: Path) -> None:
    result = run_python("import sys; sys.modules['torchvision'] = None; " + REPORT, tmp_path)
    assert result.stdout.strip() == "False", result.stderr
