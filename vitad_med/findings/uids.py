"""UIDs of objects and series: the same inputs give the same UID, any change of them another (PS3.5 B.2)."""

from __future__ import annotations

from uuid import UUID, uuid5

from vitad_med.findings.finding import Provenance
from vitad_med.site.key import SiteKey

NAMESPACE = UUID("f81ecf5e-28a1-5ee1-93de-5a0e6dd0bb37")
"""Of the UUIDs of this package, so that they meet nobody's."""


def derived_uid(role: str, source: str, provenance: Provenance, *settings: object) -> str:
    """A UID that follows from what an object is made of: 2.25.<UUIDv5>.

    Args:
        role: what the UID is of: a kind of object and its level.
        source: UID of the image, or of the study for a series.
        provenance: its four digests decide; when it was made does not.
        settings: further ones that change the object.
    """
    parts = (
        role,
        source,
        provenance.model_digest,
        provenance.config_digest,
        provenance.calibration_digest,
        provenance.software_digest,
        *(repr(one) for one in settings),
    )
    # No part holds the separator: two different lists never give one text.
    return _as_uid("\n".join(parts))


def keyed_uid(uid: str, key: SiteKey) -> str:
    """What stands for a UID of the site where its own must not be seen: the same for one key, wherever it occurs.

    It is made of the site's keyed name, so that nobody without the key finds out whether it stands for a UID he knows.
    """
    return _as_uid(f"keyed\n{key.name('image', uid)}") if uid else ""


def _as_uid(text: str) -> str:
    return f"2.25.{uuid5(NAMESPACE, text).int}"
