"""DICOM objects of one finding: each a whole file, in a series of its kind in the radiograph's study."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vitad_med.data.dicom.pixels import read_voi
from vitad_med.data.dicom.quiet import quiet
from vitad_med.data.dicom.windows import FIRST, Voi
from vitad_med.errors import ConfigError
from vitad_med.findings.capture import make_capture
from vitad_med.findings.finding import Finding, Provenance
from vitad_med.findings.making import ENCODINGS, UNCOMPRESSED, Making
from vitad_med.findings.presentation import make_presentation
from vitad_med.findings.regions import REGION_SHARE, find_regions, original_geometry
from vitad_med.findings.report import make_report
from vitad_med.findings.segmentation import make_binary, make_fractional
from vitad_med.findings.source import read_source
from vitad_med.site.key import SiteKey

KINDS = ("sc", "seg", "seg_fractional", "sr", "gsps")


def make_objects(
    source: Path,
    finding: Finding,
    provenance: Provenance,
    kinds: Collection[str],
    *,
    picture: NDArray[np.uint8] | None,
    region_share: float = REGION_SHARE,
    key: SiteKey | None = None,
    window: str = FIRST,
    encoding: str = UNCOMPRESSED,
) -> dict[str, bytes]:
    """Make the DICOM objects of one radiograph; the same arguments give the same bytes.

    Args:
        source: the DICOM file that was scored; its header is read, its pixels only for a ``gsps`` whose
            window is one of percentiles.
        finding: what was found.
        provenance: what found it, and when.
        kinds: of :data:`KINDS`. ``sc``: secondary capture, the map over the radiograph. ``seg``: the regions as a
            binary segmentation. ``seg_fractional``: the whole map as one. ``sr``: structured report. ``gsps``:
            presentation state with the regions' outlines.
        picture: the whole radiograph at its own size, uint8 [H, W], dark to light; ``sc`` draws on it, the others need
            none.
        region_share: share of an image's pixels that its regions take together.
        key: the site's; given, the objects name the patient, the study and the radiograph by it alone.
        window: with which the file was scored (:func:`vitad_med.data.dicom.windows.choose`); ``gsps`` shows it.
        encoding: of the pixels of ``sc`` and ``seg_fractional``, one of :data:`.making.ENCODINGS`; no loss with any.

    Returns:
        The bytes of a DICOM file a kind. Absent are ``seg`` and ``gsps`` where there is no region, because nothing is
        flagged or the map is constant, and ``seg_fractional`` where the map is constant.

    Raises:
        ConfigError: an unknown kind or encoding, a picture that is missing, a share out of its range.
        DataError: the source has no UIDs to refer to, or picture or map do not fit it.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise ConfigError(f"output '{unknown[0]}' is unknown: use {', '.join(KINDS)}")
    if encoding not in ENCODINGS:
        raise ConfigError(f"encoding '{encoding}' is unknown: use {', '.join(ENCODINGS)}")
    with quiet():
        radiograph = read_source(source, key)
        # Most images are not flagged, and a report of theirs needs no map.
        drawn = bool(finding.flagged) or "sc" in kinds or "seg_fractional" in kinds
        values = original_geometry(finding.map, radiograph.shape) if drawn else finding.map
        regions = find_regions(values, region_share) if finding.flagged else []
        making = Making(radiograph, finding, provenance, regions, region_share, encoding)
        voi = read_voi(source, window) if regions and "gsps" in kinds else None
        made = {kind: _make(kind, making, values, picture, voi) for kind in KINDS if kind in kinds}
    return {kind: file for kind, file in made.items() if file is not None}


def _make(
    kind: str, making: Making, values: NDArray[np.float32], picture: NDArray[np.uint8] | None, voi: Voi | None
) -> bytes | None:
    """The file of a kind, or None where there is nothing that it could hold."""
    if kind == "sr":
        return make_report(making)
    if kind == "sc":
        if picture is None:
            raise ConfigError("output 'sc' needs the picture that it draws on; give the whole radiograph in 8 bits")
        return make_capture(making, picture, values)
    if kind == "seg_fractional":
        return make_fractional(making, values) if values.min() < values.max() else None
    if not making.regions:
        return None
    if kind == "seg":
        return make_binary(making)
    assert voi is not None
    return make_presentation(making, voi)
