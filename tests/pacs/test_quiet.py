"""The libraries that talk to archives say nothing while a command runs."""

from __future__ import annotations

import logging

import pytest
from pynetdicom import _config

from vitad_med.pacs.quiet import quiet_network

NAMES = (
    "pynetdicom.acse",
    "pynetdicom.service-c",
    "dicomweb_client.web",
    "retrying",
    "urllib3.connectionpool",
    "pydicom",
)


def test_nothing_is_logged_and_all_is_as_before_afterwards(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with quiet_network():
        assert _config.LOG_HANDLER_LEVEL == "none"
        for name in NAMES:
            logging.getLogger(name).error("CANARY 1.2.3")
    assert caplog.text == ""
    assert _config.LOG_HANDLER_LEVEL == "standard"
    for name in NAMES:
        logging.getLogger(name).error("heard")
    assert caplog.text.count("heard") == len(NAMES)
