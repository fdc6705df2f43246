"""What pydicom says of a file reaches no log, in any thread, and what it says to others does."""

from __future__ import annotations

import logging
import threading
import warnings

import pytest
from pydicom.dataset import Dataset

from vitad_med.data.dicom.quiet import quiet


def provoke() -> None:
    """A value that pydicom warns of, by logging and by a warning, and quotes."""
    dataset = Dataset()
    dataset.PatientAge = "CANARY"


def test_nothing_is_logged_or_warned(caplog: pytest.LogCaptureFixture) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        provoke()
        assert told
        assert "CANARY" in caplog.text
        told.clear()
        caplog.clear()
        with quiet(), quiet():
            provoke()
            logging.getLogger("pydicom.pixels.decoders.base").error("CANARY")
        assert not told
        assert not caplog.text
        provoke()
        assert told
        assert "CANARY" in caplog.text


def test_threads_that_overlap_restore_what_was(caplog: pytest.LogCaptureFixture) -> None:
    """The first to come is the first to go, and the second is still quiet; then all is as before."""
    level = logging.getLogger("pydicom").level
    first_in, second_in, first_out = threading.Event(), threading.Event(), threading.Event()

    def first() -> None:
        with quiet():
            first_in.set()
            second_in.wait(10)
        first_out.set()

    def second() -> None:
        first_in.wait(10)
        with quiet():
            second_in.set()
            first_out.wait(10)
            provoke()

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        filters = list(warnings.filters)
        threads = [threading.Thread(target=target) for target in (first, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not told
        assert not caplog.text
        assert warnings.filters == filters
        assert logging.getLogger("pydicom").level == level
        provoke()
        assert told
    assert "CANARY" in caplog.text
