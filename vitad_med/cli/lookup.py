"""`vitad-med lookup`: who a hashed name is, inside the site."""

from __future__ import annotations

import argparse
from typing import Any

from vitad_med.cli.exit_codes import EPILOG, FINDINGS, OK
from vitad_med.site.linkage import look_up

DESCRIPTION = """\
Reads the linkage table beside the site's key (VITAD_MED_CONFIG, else
~/.config/vitad_med) and prints what a hashed name stands for: a patient's
number, or the UID of a study or image. The output names a patient."""

EXAMPLES = """\
examples:
  vitad-med lookup 3f0c9a12b7e4d5ff00112233445566aa
  vitad-med lookup 3f0c9a12
"""


def add_command(commands: Any) -> None:
    """Add `lookup` to the subparsers of `vitad-med`."""
    parser = commands.add_parser(
        "lookup", help="who a hashed name is", description=DESCRIPTION, epilog=f"{EXAMPLES}\n{EPILOG}"
    )
    parser.add_argument("name", metavar="HASH", help="a hashed name, or at least its first 8 digits")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print what the name stands for; 1 where it is not known."""
    links = look_up(options.name)
    for link in links:
        print(f"{link.domain:8} {link.name}  {link.identifier}")
    if not links:
        print("not known: no result of this site's key folder has that name")
    return OK if links else FINDINGS
