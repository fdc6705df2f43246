"""A bundle's ``configs/metadata.json``, by MONAI's schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vitad_med.errors import ConfigError


def read_metadata(folder: str | Path) -> dict[str, Any]:
    """``configs/metadata.json`` of a bundle.

    Args:
        folder: of the bundle.

    Raises:
        ConfigError: the folder is no bundle, or the file holds no JSON object.
    """
    path = Path(folder) / "configs" / "metadata.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ConfigError(f"--bundle '{folder}' has no configs/metadata.json: give e.g. bundles/attn_synth") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"'{path}' cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"'{path}' holds no JSON object")
    return content
