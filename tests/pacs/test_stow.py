"""What the answers of different archives to STOW mean."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests

from vitad_med.pacs.retry import Transient
from vitad_med.pacs.stow import read_answer

UID = "1.2.3"


def answer(status: int, content: Any = None, text: str = "") -> requests.Response:
    made = requests.Response()
    made.status_code = status
    made._content = (text if content is None else json.dumps(content)).encode()
    return made


def stored(uid: str = UID) -> dict[str, Any]:
    return {"00081199": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": [uid]}}]}}


def failed(reason: int | None) -> dict[str, Any]:
    item = {"00081155": {"vr": "UI", "Value": [UID]}}
    if reason is not None:
        item["00081197"] = {"vr": "US", "Value": [reason]}
    return {"00081198": {"vr": "SQ", "Value": [item]}}


@pytest.mark.parametrize(
    ("given", "ok", "detail"),
    [
        (answer(200, stored()), True, ""),
        (answer(200, [stored()]), True, ""),
        (answer(202, stored()), True, ""),
        (answer(200, text=""), True, ""),
        (answer(200, text="<xml/>"), True, ""),
        (answer(200, stored("1.2.4")), False, "not among those"),
        (answer(200, failed(0xA900)), False, "status A900: data set does not match its class"),
        (answer(202, text=""), False, "HTTP 202"),
        (answer(409, failed(0x0110)), False, "status 0110: processing failure"),
        (answer(409, failed(0xC123)), False, "status C123: cannot understand"),
        (answer(409, failed(None)), False, "no reason given"),
        (answer(409, stored()), False, "not among those"),
        (answer(409, text="no"), False, "HTTP 409"),
        (answer(400, stored()), False, "HTTP 400"),
        (answer(413), False, "HTTP 413"),
        (answer(200, {"00081198": {"vr": "SQ"}, **stored()}), True, ""),
        (answer(200, {"00081198": {"Value": "x"}, "00081199": {"Value": [7]}}), False, "not among those"),
    ],
)
def test_answers(given: requests.Response, ok: bool, detail: str) -> None:
    outcome = read_answer(given, UID)
    assert outcome.stored is ok
    assert outcome.detail.startswith(detail)
    assert bool(outcome.detail) is bool(detail)


def test_an_archive_without_room_is_tried_again() -> None:
    with pytest.raises(Transient, match="status A700"):
        read_answer(answer(409, failed(0xA700)), UID)
