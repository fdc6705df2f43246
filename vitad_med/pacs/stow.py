"""What an archive's answer to STOW says of the one object in it (PS3.18 10.5.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import requests

from vitad_med.pacs.objects import Outcome
from vitad_med.pacs.retry import Transient

_FAILED, _STORED = "00081198", "00081199"
_INSTANCE, _REASON = "00081155", "00081197"


def read_answer(answer: requests.Response, sop_instance: str) -> Outcome:
    """Whether the object was stored.

    Args:
        answer: with a status that speaks of the object.
        sop_instance: UID of the object.

    Raises:
        Transient: the archive is out of resources.
    """
    status = answer.status_code
    if not answer.ok and status != 409:
        return Outcome(False, f"HTTP {status}")
    content = _json(answer)
    if content is None:
        # Without a list, 200 alone says that everything was stored.
        return Outcome(status == 200, "" if status == 200 else f"HTTP {status}, without a reason that can be read")
    failed = _items(content, _FAILED)
    if failed:
        reason = _first(failed[0], _REASON)
        if not isinstance(reason, int):
            return Outcome(False, "no reason given")
        return _failure(reason)
    stored = {str(_first(item, _INSTANCE)).strip() for item in _items(content, _STORED)}
    if status == 409 or sop_instance not in stored:
        return Outcome(False, "not among those that the archive says it stored")
    return Outcome(True)


def _failure(reason: int) -> Outcome:
    if 0xA700 <= reason <= 0xA7FF:
        raise Transient(f"status {reason:04X}: out of resources")
    return Outcome(False, describe(reason))


def describe(status: int) -> str:
    """A failure status of storage in words (PS3.4 B.2.3, PS3.7 C)."""
    for known, words in (
        (0x0110, "processing failure"),
        (0x0111, "duplicate SOP instance"),
        (0x0112, "no such object instance"),
        (0x0117, "invalid object instance"),
        (0x0122, "storage class not supported"),
        (0x0124, "not authorised"),
    ):
        if status == known:
            return f"status {status:04X}: {words}"
    family = {0xA7: "out of resources", 0xA8: "storage class not supported", 0xA9: "data set does not match its class"}
    words = family.get(status >> 8, "cannot understand" if status >> 12 == 0xC else "failure")
    return f"status {status:04X}: {words}"


def _json(answer: requests.Response) -> Mapping[str, Any] | None:
    try:
        content = answer.json()
    except ValueError:
        return None
    if isinstance(content, list) and len(content) == 1:
        content = content[0]
    return content if isinstance(content, Mapping) else None


def _items(content: Mapping[str, Any], tag: str) -> list[Mapping[str, Any]]:
    element = content.get(tag)
    values = element.get("Value") if isinstance(element, Mapping) else None
    return [item for item in values if isinstance(item, Mapping)] if isinstance(values, list) else []


def _first(item: Mapping[str, Any], tag: str) -> Any:
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, Mapping) else None
    return values[0] if isinstance(values, list) and values else None
