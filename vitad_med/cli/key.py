"""`vitad-med key`: the site's secret, with which patients, studies and images are named outside of it."""

from __future__ import annotations

import argparse
from typing import Any

from vitad_med.cli.exit_codes import EPILOG, OK
from vitad_med.site.key import key_path, new_key, read_key, rotate_key

DESCRIPTION = """\
Results name patients, studies and images by HMAC-SHA256 under a key of the site,
made once and kept in the user's configuration folder (VITAD_MED_CONFIG, else
~/.config/vitad_med), for its owner alone. Whoever has the key can find out who a
name is; without it names cannot be linked to other results.

  vitad-med key new     makes the key of a site that has none
  vitad-med key rotate  puts it aside and makes a new one: later results have
                        other names, earlier ones are found with `lookup` still
  vitad-med key check   says whether the key can be used, and its number

Keep a copy in a safe place. Nothing else prints or stores the key."""


def add_command(commands: Any) -> None:
    """Add `key` to the subparsers of `vitad-med`."""
    parser = commands.add_parser(
        "key", help="the site's secret key for hashed names", description=DESCRIPTION, epilog=EPILOG
    )
    parser.add_argument("what", choices=("new", "rotate", "check"), help="what to do")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Make, replace or check the key."""
    path = key_path()
    if options.what == "new":
        print(f"made key {new_key(path).id} at {path}: keep a copy in a safe place")
    elif options.what == "rotate":
        key, former = rotate_key(path)
        print(f"made key {key.id} at {path}; the former one lies at {former}")
    else:
        print(f"key {read_key(path).id} at {path} can be used")
    return OK
