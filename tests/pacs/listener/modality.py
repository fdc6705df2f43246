"""What the tests of the listener share: a modality that sends, and what lies in the folder afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association

from vitad_med.pacs.listener import Listener, Settings
from vitad_med.pacs.retry import Backoff
from vitad_med.site.key import SiteKey

VERIFICATION = "1.2.840.10008.1.1"
DX = DigitalXRayImageStorageForPresentation
FAST = Settings(study_timeout=0.3, scoring=Backoff(3, 0.05, 0.1), sending=Backoff(3, 0.05, 0.1))
STUDY = "2.25.4711"

Start = Callable[..., Listener]


def associate(listener: Listener, title: str = "MODALITY", called: str = "VITADMED", **options: Any) -> Association:
    entity = AE(ae_title=title)
    entity.add_requested_context(DX, ExplicitVRLittleEndian)
    entity.add_requested_context(VERIFICATION)
    entity.acse_timeout = entity.dimse_timeout = 10
    return entity.associate("127.0.0.1", listener.port, ae_title=called, **options)


def push(listener: Listener, *paths: Path) -> list[int]:
    """Send files over one association; the status of each."""
    association = associate(listener)
    assert association.is_established
    statuses = [int(association.send_c_store(path).Status) for path in paths]
    association.release()
    return statuses


def results(folder: Path) -> list[Path]:
    """Results of studies that are scored to their end."""
    found = []
    for path in folder.glob("studies/*/study.json"):
        found += [path.parent / name for name in json.loads(path.read_text())["results"]]
    return sorted(found)


def state(folder: Path, key: SiteKey, study: str = STUDY) -> dict[str, Any]:
    path = folder / "studies" / key.name("study", study) / "study.json"
    return json.loads(path.read_text()) if path.is_file() else {}
