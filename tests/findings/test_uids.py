"""UIDs: the same inputs give the same one, any change another."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from datetime import timedelta

from vitad_med.findings.finding import Provenance
from vitad_med.findings.uids import derived_uid, keyed_uid
from vitad_med.site.key import SiteKey


def test_a_uid_is_a_uuid_of_version_5_below_2_25(provenance: Provenance, key: SiteKey) -> None:
    for uid in (derived_uid("sr", "1.2.3", provenance, 0.05), keyed_uid("1.2.3", key)):
        assert re.fullmatch(r"2\.25\.[1-9]\d{0,38}", uid)
        assert (int(uid[5:]) >> 76) & 0xF == 5


def test_the_same_inputs_give_the_same_uid(provenance: Provenance) -> None:
    later = replace(provenance, created=provenance.created + timedelta(days=1))
    assert derived_uid("sr", "1.2.3", provenance, 0.05) == derived_uid("sr", "1.2.3", later, 0.05)


def test_any_change_gives_another(provenance: Provenance) -> None:
    digests = [field.name for field in fields(Provenance) if field.name.endswith("_digest")]
    assert len(digests) == 4
    uids = [
        derived_uid("sr", "1.2.3", provenance, 0.05),
        derived_uid("seg", "1.2.3", provenance, 0.05),
        derived_uid("sr", "1.2.4", provenance, 0.05),
        derived_uid("sr", "1.2.3", provenance, 0.06),
        *(derived_uid("sr", "1.2.3", replace(provenance, **{name: "0" * 64}), 0.05) for name in digests),
    ]
    assert len(set(uids)) == len(uids)


def test_digests_that_change_places_give_another(provenance: Provenance) -> None:
    swapped = replace(provenance, model_digest=provenance.config_digest, config_digest=provenance.model_digest)
    assert derived_uid("sr", "1.2.3", swapped) != derived_uid("sr", "1.2.3", provenance)


def test_a_keyed_uid_depends_on_the_key_and_the_uid_alone(key: SiteKey) -> None:
    other = SiteKey(bytes(32))
    assert keyed_uid("1.2.3", key) == keyed_uid("1.2.3", key)
    assert len({keyed_uid("1.2.3", key), keyed_uid("1.2.4", key), keyed_uid("1.2.3", other)}) == 3
