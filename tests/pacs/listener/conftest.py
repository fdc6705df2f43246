"""Listeners in threads of the test, a scorer that can be held, and an archive that can be away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE, evt
from pynetdicom.events import Event

from tests.pacs.conftest import free_port
from tests.pacs.listener.modality import DX, FAST, Start
from tests.pacs.listening import Copying, running
from vitad_med.pacs.address import DimseAddress
from vitad_med.pacs.dimse import StoreUser
from vitad_med.pacs.listener import Listener, Settings
from vitad_med.pacs.retry import Backoff
from vitad_med.pacs.scp import Port
from vitad_med.site.key import SiteKey


@pytest.fixture
def scorer(tmp_path: Path) -> Copying:
    """Copies images, and waits while ``hold`` exists."""
    return Copying(tmp_path / "hold")


@pytest.fixture
def start(tmp_path: Path, key: SiteKey, scorer: Copying) -> Iterator[Start]:
    """Start listeners in threads of this process."""
    with running() as begin:

        def made(settings: Settings = FAST, store: Any = None, **port: Any) -> Listener:
            folder = port.pop("folder", tmp_path / "listener")
            return begin(Listener(folder, Port(0, **port), scorer, key, settings, store, "there"))

        yield made
        scorer.hold.unlink(missing_ok=True)


class Archive:
    """A C-STORE SCP that can be away, and that refuses what it is told to.

    Attributes:
        taken: SOP Instance UIDs, in their order.
        refuse: those that it refuses.
    """

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.refuse: set[str] = set()
        self.port = free_port()
        self._server: Any = None

    @property
    def store(self) -> StoreUser:
        """The way to it, with one attempt, as the listener wants it."""
        return StoreUser(DimseAddress("ARCHIVE", "127.0.0.1", self.port), backoff=Backoff(attempts=1))

    def open(self) -> None:
        """Answer from now on."""
        entity = AE(ae_title="ARCHIVE")
        entity.add_supported_context(DX)
        self._server = entity.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._take)]
        )

    def close(self) -> None:
        """Answer no longer."""
        if self._server is not None:
            self._server.shutdown()

    def _take(self, event: Event) -> int:
        name = str(event.dataset.SOPInstanceUID)
        if name in self.refuse:
            return 0xA900
        self.taken.append(name)
        return 0


@pytest.fixture
def archive() -> Iterator[Archive]:
    """One that answers."""
    made = Archive()
    made.open()
    yield made
    made.close()
