"""Where a result comes from: the code's commit, and settings without this machine's paths and user names."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# A POSIX or Windows path with a root, or one below the home folder; of a URL only the path of a sqlite or file one.
_ROOTED = re.compile(
    r"""(?<=:///)/[^\s'",\]\)]+|(?<![\w:/.\\])(?:~|[A-Za-z]:(?=[\\/]))?[\\/][^\s'",\]\)]+|(?<!\w)~[^\s'",\]\)]*"""
)
# A text that is itself a path with a root, below a home folder, or above the current directory.
_OUTSIDE = re.compile(r"/|~|\.\.(?:[/\\]|$)")
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")
GIT_TIMEOUT_S = 10


def git_commit(folder: str | Path) -> str | None:
    """Commit that ``folder`` belongs to, with ``-dirty`` when tracked files differ; None outside git.

    A folder inside a work tree that git does not track (an installed copy, for instance) has no commit.
    """
    root = Path(folder)
    if not root.is_dir() or not _git(root, "ls-files", "--", "."):
        return None
    commit = _git(root, "rev-parse", "HEAD")
    if not commit:
        return None
    return commit + ("-dirty" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=GIT_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def without_paths(text: str) -> str:
    """``text`` with rooted paths replaced: relative below the current directory, else ``path:`` and 12 hex digits.

    The digits are of SHA-256 of the path, so that equal paths stay recognisable. User names and passwords in URLs go.
    """

    return _ROOTED.sub(lambda match: _named(match.group()), _CREDENTIALS.sub("", text))


def _named(path: str) -> str:
    """A path below the current directory relative to it, any other as a hash."""
    expanded = os.path.expanduser(path)
    whole = os.path.abspath(expanded) if expanded.startswith("..") else os.path.normpath(expanded)
    here = os.getcwd()
    if whole == here or whole.startswith(here + os.sep):
        return Path(os.path.relpath(whole, here)).as_posix()
    return "path:" + hashlib.sha256(whole.encode()).hexdigest()[:12]


def publishable(value: Any) -> Any:
    """A copy of a config value fit for a tracking server: no rooted path, and no object but by its type's name."""
    if isinstance(value, Mapping):
        return {str(key): publishable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [publishable(item) for item in value]
    if isinstance(value, (str, os.PathLike)):
        text = os.fspath(value)
        # A value that is a path goes whole: the search for paths inside a text stops at a space.
        return _named(text) if _OUTSIDE.match(text) else without_paths(text)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return type(value).__qualname__
