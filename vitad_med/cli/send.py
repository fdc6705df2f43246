"""`vitad-med send`: DICOM files of a folder to an archive, by STOW or C-STORE."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from vitad_med.cli.exit_codes import EPILOG, FINDINGS, OK
from vitad_med.cli.fetch import EXPOSED
from vitad_med.cli.values import whole_number

DESCRIPTION = """\
Sends every DICOM file of FOLDER, or of its folder `dicom`, byte for byte: by STOW
to http:// and https://, by C-STORE to dicom:// and dicom-tls://. FOLDER/sent.jsonl
keeps what the archive took, so that the same command sends what is missing: after
an interruption, or when the archive stopped answering. An object that the archive
refuses is reported and stops no other.

Passwords and certificates come from the environment alone:
  VITAD_MED_DICOMWEB_USER and _PASSWORD, or _TOKEN   who is sending
  VITAD_MED_DICOMWEB_CA, _CERT and _KEY              certificates, for https://
  VITAD_MED_DICOM_CA, _CERT and _KEY                 certificates, for dicom-tls://
docs/pacs.md has the rest."""

EXAMPLES = """\
examples:
  vitad-med send outputs/scored --to https://archive.example/dicom-web
  vitad-med send outputs/scored --to dicom://ARCHIVE@10.0.0.5:104
"""


def add_command(commands: Any) -> None:
    """Add `send` to the subparsers of `vitad-med`."""
    parser = commands.add_parser(
        "send", help="DICOM files to an archive", description=DESCRIPTION, epilog=f"{EXAMPLES}\n{EPILOG}"
    )
    parser.add_argument("folder", metavar="FOLDER", help="DICOM files, or the OUT of `vitad-med score`")
    parser.add_argument("--to", required=True, metavar="URL", help="the archive: https://..., dicom://AE@host:port")
    parser.add_argument("--ledger", metavar="FILE", help="what was sent (default: FOLDER/sent.jsonl)")
    parser.add_argument(
        "--ae_title", default="VITADMED", metavar="AE", help="of this machine, for C-STORE (default: %(default)s)"
    )
    parser.add_argument(
        "--attempts", type=whole_number(1), default=6, metavar="N", help="of each object (default: %(default)s)"
    )
    parser.set_defaults(run=run, after_interrupt="; the same command sends the rest")


def run(options: argparse.Namespace) -> int:
    """Send, say what became of the files; 1 where the archive refused some."""
    from vitad_med.pacs.address import WebAddress, check_ae_title, parse_address
    from vitad_med.pacs.credentials import exposed, web_credentials
    from vitad_med.pacs.folders import only_one
    from vitad_med.pacs.ledger import NAME, Ledger
    from vitad_med.pacs.objects import DicomFile, Outcome, find_objects
    from vitad_med.pacs.quiet import quiet_network
    from vitad_med.pacs.retry import Backoff
    from vitad_med.pacs.send import open_store, send
    from vitad_med.site.key import read_key

    address = parse_address(options.to)
    folder = Path(options.folder).expanduser()
    if isinstance(address, WebAddress) and exposed(address, web_credentials()):
        print(EXPOSED, file=sys.stderr)
    files, others = find_objects(folder)
    key = read_key()

    def report(file: DicomFile, outcome: Outcome) -> None:
        if outcome.detail:
            what = "stored with a warning" if outcome.stored else "refused"
            print(f"{what}: {key.name('image', file.sop_instance)}: {outcome.detail}", file=sys.stderr)

    path = Path(options.ledger).expanduser() if options.ledger else folder / NAME
    lock = path.with_name(f".{path.name}.lock")
    with quiet_network(), only_one(lock, "send"), Ledger(path, str(address), key) as ledger:
        store = open_store(address, check_ae_title(options.ae_title), Backoff(options.attempts))
        sent = send(files, store, ledger, report)
    ignored = sum(other not in (path, lock) for other in others)
    print(
        f"{sent.stored} objects sent, {sent.before} were there, {len(sent.refused)} refused, {sent.unsent} left"
        + (f"; {ignored} files are no DICOM files" if ignored else "")
    )
    if sent.stopped is not None:
        raise sent.stopped
    return FINDINGS if sent.refused else OK
