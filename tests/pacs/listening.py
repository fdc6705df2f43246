"""A scorer that the tests can hold, and a listener that uses it, in this process or one that can be killed.

python -m tests.pacs.listening FOLDER PORT HOLD [SEND_TO]
"""

from __future__ import annotations

import os
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pydicom

from vitad_med.pacs.address import parse_address
from vitad_med.pacs.listener import Listener, Settings
from vitad_med.pacs.retry import Backoff
from vitad_med.pacs.scp import Port
from vitad_med.pacs.send import open_store
from vitad_med.site.key import read_key

SERIES = uuid.UUID("5a0f1c9e-7f7e-4f1c-9d55-0b8f2f6a3a11")


def result_uid(source: str) -> str:
    """UID of the result of an image; the same each time."""
    return f"2.25.{uuid.uuid5(SERIES, source).int}"


class Copying:
    """Gives for each image one secondary capture of it, with the time of creation that the environment names.

    Attributes:
        hold: while this file exists, scoring waits.
        calls: names of the images of each call, at its beginning.
        gave: results of each call that ended.
    """

    def __init__(self, hold: Path) -> None:
        self.hold = hold
        self.calls: list[list[str]] = []
        self.gave: list[int] = []

    def __call__(self, folder: Path, out: Path) -> Sequence[Path]:
        self.calls.append(sorted(path.name for path in folder.iterdir()))
        with self.hold.with_suffix(".calls").open("a") as log:
            log.write(f"{len(self.calls[-1])}\n")
        while self.hold.exists():
            time.sleep(0.02)
        made = []
        for path in sorted(folder.iterdir()):
            dataset = pydicom.dcmread(path)
            if dataset.get("StationName") == "BROKEN":
                raise ValueError(f"CANARY in a message about {dataset.PatientName}")
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = result_uid(dataset.SOPInstanceUID)
            dataset.SeriesInstanceUID = result_uid(dataset.SeriesInstanceUID)
            dataset.Manufacturer = "vitad_med"
            dataset.ContentTime = time.strftime("%H%M%S", time.gmtime(int(os.environ["SOURCE_DATE_EPOCH"])))
            made.append(out / f"{path.stem}_sc.dcm")
            dataset.save_as(made[-1], enforce_file_format=True)
        self.gave.append(len(made))
        return made


@contextmanager
def running() -> Iterator[Callable[[Listener], Listener]]:
    """Start listeners in threads of this process; they are stopped at the end."""
    started: list[tuple[Listener, threading.Thread]] = []

    def begin(listener: Listener) -> Listener:
        thread = threading.Thread(target=listener.run)
        thread.start()
        started.append((listener, thread))
        assert listener.ready.wait(10)
        return listener

    yield begin
    for listener, thread in started:
        listener.stop()
        thread.join(20)
        assert not thread.is_alive()


def main(folder: str, port: str, hold: str, *send_to: str) -> None:
    """Listen until SIGTERM."""
    store = open_store(parse_address(send_to[0]), backoff=Backoff(attempts=1)) if send_to else None
    settings = Settings(study_timeout=0.3, sending=Backoff(3, 0.1, 0.5))
    listener = Listener(
        Path(folder), Port(int(port)), Copying(Path(hold)), read_key(), settings, store, "".join(send_to)
    )
    listener.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
