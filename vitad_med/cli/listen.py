"""`vitad-med listen`: takes images by C-STORE, scores each study, sends the results."""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitad_med.cli.exit_codes import EPILOG, OK
from vitad_med.cli.fetch import EXPOSED
from vitad_med.cli.score import add_scoring_options, settings_of
from vitad_med.cli.values import whole_number

if TYPE_CHECKING:
    from vitad_med.pacs.listener import Settings, StudyScorer
    from vitad_med.pacs.objects import Store

logger = logging.getLogger(__name__)

DESCRIPTION = """\
A C-STORE SCP. An image counts as received when it is on disk; when no further one
of its study came for --study_timeout seconds, the study is scored with BUNDLE, and
the results are sent. A late image has the study scored anew, with all its images.
What was received survives a crash and is scored after the next start. Studies that
cannot be scored or sent end up in OUT/dead_letter with the reason.

Only programs on this machine can send, unless --host names another address and
--allow those who may. SIGTERM and Ctrl-C end it after the study in hand; a second
one at once. docs/pacs.md says how to set it up."""

EXAMPLES = """\
examples:
  vitad-med listen --bundle bundles/attn_synth --out /srv/vitad_med
  vitad-med listen --bundle bundles/attn_synth --out /srv/vitad_med --host 10.0.0.9 \\
      --allow ROUTER@10.0.0.5 --send_to dicom://ARCHIVE@10.0.0.5:104
"""


def add_command(commands: Any) -> None:
    """Add `listen` to the subparsers of `vitad-med`."""
    parser = commands.add_parser(
        "listen",
        help="score what an archive or modality sends",
        description=DESCRIPTION,
        epilog=f"{EXAMPLES}\n{EPILOG}",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for images, results, dead letters")
    parser.add_argument("--port", type=whole_number(1), default=11112, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--host", default="127.0.0.1", metavar="IP", help="of this machine (default: %(default)s)")
    parser.add_argument("--ae_title", default="VITADMED", metavar="AE", help="of this machine (default: %(default)s)")
    parser.add_argument("--allow", action="append", metavar="AE@IP", help="who may send; repeatable")
    parser.add_argument("--tls", action="store_true", help="encrypted associations only (VITAD_MED_DICOM_CERT, _KEY)")
    parser.add_argument("--send_to", metavar="URL", help="archive for the results: https://..., dicom://AE@host:port")
    parser.add_argument(
        "--study_timeout",
        type=whole_number(1),
        default=30,
        metavar="S",
        help="seconds after its last image when a study is complete (default: %(default)s)",
    )
    parser.add_argument(
        "--max_waiting",
        type=whole_number(1),
        default=2000,
        metavar="N",
        help="images not scored yet, above which further ones are refused for now (default: %(default)s)",
    )
    parser.add_argument(
        "--min_free_gb",
        type=whole_number(0),
        default=2,
        metavar="N",
        help="GB of the disk below which images are refused for now (default: %(default)s)",
    )
    parser.add_argument(
        "--keep_days",
        type=whole_number(1),
        default=7,
        metavar="N",
        help="days that a study stays after its last image, once its results are sent (default: %(default)s)",
    )
    add_scoring_options(parser)
    parser.set_defaults(run=run, after_interrupt="; what was received is scored after the next start")


def run(options: argparse.Namespace) -> int:
    """Listen until it is told to stop."""
    from vitad_med.pacs.address import check_ae_title
    from vitad_med.pacs.credentials import server_tls
    from vitad_med.pacs.listener import Listener
    from vitad_med.pacs.scp import Peer, Port
    from vitad_med.site.key import read_key

    allow = tuple(Peer.parse(text) for text in options.allow or ())
    tls = server_tls() if options.tls else None
    port = Port(options.port, options.host, check_ae_title(options.ae_title), allow, tls=tls)
    store, destination = _archive(options.send_to, port.ae_title)
    key = read_key()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", stream=sys.stderr)
    logging.getLogger("vitad_med.pacs").setLevel(logging.INFO)
    with _scorer(options) as scorer:
        Listener(Path(options.out).expanduser(), port, scorer, key, _settings(options), store, destination).run()
    return OK


def _settings(options: argparse.Namespace) -> Settings:
    from vitad_med.pacs.inbox import Limits
    from vitad_med.pacs.listener import Settings

    limits = Limits(options.max_waiting, options.min_free_gb * 10**9)
    return Settings(float(options.study_timeout), limits, keep=options.keep_days * 86400.0)


def _archive(text: str | None, ae_title: str) -> tuple[Store | None, str]:
    if text is None:
        return None, ""
    from vitad_med.pacs.address import WebAddress, parse_address
    from vitad_med.pacs.credentials import exposed, web_credentials
    from vitad_med.pacs.retry import Backoff
    from vitad_med.pacs.send import open_store

    address = parse_address(text)
    if isinstance(address, WebAddress) and exposed(address, web_credentials()):
        print(EXPOSED, file=sys.stderr)
    # One attempt: the listener itself tries again, study by study.
    return open_store(address, ae_title, Backoff(attempts=1)), str(address)


@contextmanager
def _scorer(options: argparse.Namespace) -> Iterator[StudyScorer]:
    """The pipeline of `vitad-med score`, its bundle loaded once."""
    from vitad_med.scoring.run import Session
    from vitad_med.scoring.state import RunDiffers

    # Folder and results are those of each study.
    settings = settings_of(options, Path(), Path(), resume=False)
    with Session(settings, tell=logger.debug) as session:

        def score(folder: Path, out: Path) -> Sequence[Path]:
            try:
                return session.score(folder, out, resume=any(out.iterdir())).objects()
            except RunDiffers:  # cut off, and then this program, its settings or its calibration changed
                for leftover in out.iterdir():
                    shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
                return session.score(folder, out).objects()

        yield score
