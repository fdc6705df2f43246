"""An argument parser that refuses abbreviated and mistyped names and says which name was probably meant."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from vitad_med.cli.exit_codes import USER_ERROR


class StrictParser(argparse.ArgumentParser):
    """`argparse.ArgumentParser` without abbreviations; its errors are one sentence with a suggestion, exit status 2."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **kwargs)

    def add_commands(self) -> Any:
        """Sub-commands, one of which is required.

        argparse's own `required` is not used: it would report a missing command before a mistyped option.
        """
        self.set_defaults(run=self._refuse_missing_command)
        self._commands = self.add_subparsers(metavar="COMMAND")
        return self._commands

    def _refuse_missing_command(self, _: argparse.Namespace) -> NoReturn:
        self.error(f"name a command: {', '.join(self._commands.choices)}")

    def parse_known_args(  # type: ignore[override]  # argparse types this with overloads on the namespace
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Parse, and refuse what is left over here, where the options of this very command are known."""
        known, extras = super().parse_known_args(args, namespace)
        if extras:
            option = extras[0].split("=", 1)[0]
            kind = "option" if option.startswith("-") else "argument"
            self.error(f"unknown {kind} {option}{_suggestion(option, self._option_string_actions)}")
        return known, extras

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            names = [str(choice) for choice in action.choices]
            raise argparse.ArgumentError(
                action, f"{value!r} is not one of {', '.join(names)}{_suggestion(str(value), names)}"
            )

    def error(self, message: str) -> NoReturn:
        """Print one sentence on stderr and leave with the status of a user's mistake."""
        self.exit(USER_ERROR, f"error: {message}; see `{self.prog} --help`.\n")


def _suggestion(given: str, known: Iterable[str]) -> str:
    # Dashes and underscores are read alike here, so that --output-dir finds --output_dir.
    normal = {name.replace("-", "_"): name for name in known}
    close = difflib.get_close_matches(given.replace("-", "_"), normal, n=1, cutoff=0.6)
    return f"; did you mean {normal[close[0]]}?" if close else ""
