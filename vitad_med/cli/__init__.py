"""The `vitad-med` command: a thin face over the package. Nothing in the package imports it."""

from vitad_med.cli.app import main

__all__ = ["main"]
