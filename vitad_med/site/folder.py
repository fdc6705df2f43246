"""The folder of a site's secrets, outside of every data set, result and repository."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from vitad_med.errors import ConfigError, StorageError

VARIABLE = "VITAD_MED_CONFIG"


def site_folder() -> Path:
    """``$VITAD_MED_CONFIG``, else ``vitad_med`` in ``$XDG_CONFIG_HOME``, else ``~/.config/vitad_med``."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named).expanduser()
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "vitad_med"


def make_private_folder(folder: Path) -> None:
    """Create the folder, for its owner alone.

    Raises:
        StorageError: it cannot be created.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder} cannot be made: {error.strerror}; set {VARIABLE} to a folder that can") from error


def check_private(path: Path) -> None:
    """Refuse a file that others can read or change.

    Raises:
        ConfigError: naming the file and the command that mends it.
    """
    if os.name != "posix":
        return  # elsewhere the rights of the folder decide, which cannot be read in this way
    found = path.stat()
    others = stat.S_IMODE(found.st_mode) & 0o077
    if others:
        raise ConfigError(
            f"{path} can be read by other users (mode {stat.S_IMODE(found.st_mode):04o}): whoever has it can find out "
            f"who a hashed name is. Run: chmod 600 '{path}'; if others may have read it: vitad-med key rotate"
        )
    if found.st_uid not in (os.getuid(), 0):
        raise ConfigError(f"{path} belongs to another user; use a key of your own ({VARIABLE})")
