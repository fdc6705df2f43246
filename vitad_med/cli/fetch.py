"""`vitad-med fetch`: radiographs from an archive into a folder, by DICOMweb."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from vitad_med.cli.exit_codes import EPILOG, FINDINGS, OK
from vitad_med.cli.values import whole_number
from vitad_med.errors import ConfigError

DESCRIPTION = """\
Finds studies by QIDO and fetches their CR and DX images by WADO, in the transfer
syntax that the archive stores them in. Each file is called by the keyed hash of
its SOP Instance UID (`vitad-med key new`, `vitad-med lookup`); the files themselves
name patients as before. What lies in OUT whole is not fetched again: after an
interruption run the same command.

Passwords and certificates come from the environment alone:
  VITAD_MED_DICOMWEB_USER and _PASSWORD, or _TOKEN   who is asking
  VITAD_MED_DICOMWEB_CA                              certificates to trust
  VITAD_MED_DICOMWEB_CERT and _KEY                   certificate of this machine
docs/pacs.md has the rest."""

EXAMPLES = """\
examples:
  vitad-med fetch https://archive.example/dicom-web --out incoming --date 20260101-20260131
  vitad-med fetch https://archive.example/dicom-web --out incoming --study 1.2.840.99.7
  vitad-med fetch https://archive.example/dicom-web --out incoming --filter StationName=ROOM1
"""


def add_command(commands: Any) -> None:
    """Add `fetch` to the subparsers of `vitad-med`."""
    parser = commands.add_parser(
        "fetch",
        help="radiographs from an archive into a folder",
        description=DESCRIPTION,
        epilog=f"{EXAMPLES}\n{EPILOG}",
    )
    parser.add_argument("url", metavar="URL", help="root of the DICOMweb service")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the files")
    parser.add_argument("--study", action="append", metavar="UID", help="one study; repeatable")
    parser.add_argument("--date", default="", metavar="DATE", help="day or range of days, 20260101-20260131")
    parser.add_argument("--modality", default="CR,DX", metavar="LIST", help="of series (default: %(default)s)")
    parser.add_argument(
        "--filter", action="append", metavar="KEYWORD=VALUE", help="another attribute of studies; repeatable"
    )
    parser.add_argument(
        "--attempts", type=whole_number(1), default=6, metavar="N", help="of each request (default: %(default)s)"
    )
    parser.set_defaults(run=run, after_interrupt="; the same command goes on where it stopped")


def run(options: argparse.Namespace) -> int:
    """Find, fetch, say how many; 1 where something that was found could not be fetched."""
    from vitad_med.pacs.address import parse_web_address
    from vitad_med.pacs.credentials import exposed, web_credentials
    from vitad_med.pacs.dicomweb import DicomWeb
    from vitad_med.pacs.fetch import Fetched, Query, fetch
    from vitad_med.pacs.quiet import quiet_network
    from vitad_med.pacs.retry import Backoff
    from vitad_med.site.key import read_key

    address = parse_web_address(options.url)
    query = Query(tuple(options.study or ()), options.date, _modalities(options.modality), _filters(options.filter))
    credentials = web_credentials()
    if exposed(address, credentials):
        print(EXPOSED, file=sys.stderr)

    def progress(state: Fetched) -> None:
        done = state.before + state.fetched
        if done % 100 == 0:
            print(f"{done} images of {state.studies} studies so far", file=sys.stderr)

    with quiet_network():
        archive = DicomWeb(address, credentials, Backoff(options.attempts))
        found = fetch(archive, query, Path(options.out).expanduser(), read_key(), progress)
    for name, why in found.problems:
        print(f"not fetched: {name}: {why}", file=sys.stderr)
    print(
        f"{found.studies} studies: {found.fetched} images fetched, {found.before} were there, "
        f"{len(found.problems)} could not be fetched"
    )
    return FINDINGS if found.problems else OK


EXPOSED = (
    "warning: the password or token crosses the network in the clear, for the address is http: and not of this "
    "machine; use https:"
)


def _modalities(text: str) -> tuple[str, ...]:
    names = tuple(name.strip().upper() for name in text.split(",") if name.strip())
    if not names or not all(name.isalnum() for name in names):
        raise ConfigError(f"--modality '{text}' is no list of modalities, e.g. CR,DX")
    return names


def _filters(pairs: list[str] | None) -> tuple[tuple[str, str], ...]:
    found = []
    for pair in pairs or ():
        keyword, sign, value = pair.partition("=")
        if not sign or not value:
            raise ConfigError("--filter needs KEYWORD=VALUE, e.g. StationName=ROOM1")
        found.append((keyword, value))
    return tuple(found)
