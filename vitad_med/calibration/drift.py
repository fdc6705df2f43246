"""Do a run's images and scores still look like those of the calibration?

Every quantity is compared on one image a patient, so that the two samples are independent draws and the two-sample
Kolmogorov-Smirnov test is exact (Hodges, Arkiv foer Matematik 3 (1958)); Holm's procedure (Scand. J. Stat. 6 (1979))
runs over the quantities. The population stability index says how far a distribution has moved where, with thousands of
patients, every small difference is significant; 0.1 is the usual bound of "moved somewhat" (Siddiqi, Credit Risk
Scorecards (2006)). A quantity counts as shifted when both say so.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import ks_2samp

from vitad_med.calibration.document import Calibration
from vitad_med.data.case import Case
from vitad_med.errors import DataError
from vitad_med.evaluation.document import rounded
from vitad_med.metrics.conformal import one_image_per_patient

ALPHA = 0.05
PSI_BOUND = 0.1
DECILES = 10
_SCORE = "score"
# Below this only gross shifts reach significance; the sentence says so.
FEW_PATIENTS = 50


def drift(
    cases: Sequence[Case],
    scores: NDArray[np.float64],
    intensities: Mapping[str, NDArray[np.float64]],
    calibration: Calibration,
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare the normal images of a run with a calibration; all images where none is known to be normal.

    A calibration knows normal images only. Abnormal ones would show the case mix as a drift of scores and of
    intensities alike, so they take part only where there is nothing else.

    Args:
        cases: N cases of the run.
        scores: float64 [N].
        intensities: quantity -> float64 [N], see :func:`vitad_med.calibration.intensity.intensity_table`; quantities
            that the calibration lacks are not compared.
        calibration: what to compare with.
        seed: of the draw of one image a patient.

    Returns:
        ``calibration_digest``, ``rows`` and ``sentence``, as in ``report.json``.

    Raises:
        DataError: lengths differ, or there is no image.
    """
    for name, values in {_SCORE: scores, **intensities}.items():
        if len(values) != len(cases):
            raise DataError(f"{len(values)} values of '{name}' for {len(cases)} images; give one to each image.")
    if not cases:
        raise DataError("there is no image to compare with the calibration.")
    normal = np.array([case.label == 0 for case in cases])
    used = np.flatnonzero(normal if normal.any() else ~normal)
    names = [cases[index].case_id for index in used.tolist()]
    patients = [cases[index].patient_id for index in used.tolist()]
    drawn = used[one_image_per_patient(patients, names, seed)]
    pairs = {_SCORE: (calibration.scores, np.asarray(scores)[drawn])}
    for name, values in intensities.items():
        if name in calibration.intensities:
            pairs[name] = (calibration.intensities[name], np.asarray(values)[drawn])
    rows = _rows(pairs)
    return {
        "calibration_digest": calibration.digest,
        "rows": rows,
        "sentence": _sentence(rows, len(drawn), calibration.patients, bool(normal.any())),
    }


def stability_index(reference: ArrayLike, sample: ArrayLike) -> float:
    """Population stability index sum (q - p) ln(q / p) over the reference's deciles.

    p and q are the shares of reference and sample in each bin, half an image added to every bin so that an empty one
    stays finite. Equal deciles (a quantity with few values) are one bin.

    Args:
        reference: [n].
        sample: [m].

    Returns:
        0 where the shares agree, else greater.
    """
    x, y = np.asarray(reference, dtype=np.float64), np.asarray(sample, dtype=np.float64)
    edges = np.unique(np.quantile(x, np.arange(1, DECILES) / DECILES))
    bins = len(edges) + 1
    shares = []
    for values in (x, y):
        counts = np.bincount(np.searchsorted(edges, values, side="left"), minlength=bins)
        shares.append((counts + 0.5) / (len(values) + 0.5 * bins))
    p, q = shares
    return float(np.sum((q - p) * np.log(q / p)))


def _rows(pairs: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]) -> list[dict[str, Any]]:
    with warnings.catch_warnings():
        # Of equal samples scipy finds no exact p-value; what it takes instead, 1, is right.
        warnings.filterwarnings("ignore", message=".*Exact calculation unsuccessful")
        tests = [ks_2samp(reference, sample) for reference, sample in pairs.values()]
    adjusted = _holm(np.array([float(test.pvalue) for test in tests]))
    rows = []
    for (name, (reference, sample)), test, p_holm in zip(pairs.items(), tests, adjusted, strict=True):
        index = stability_index(reference, sample)
        rows.append(
            {
                "quantity": name,
                "reference_median": rounded(float(np.median(reference))),
                "run_median": rounded(float(np.median(sample))),
                "ks": rounded(float(test.statistic)),
                "p": rounded(float(test.pvalue)),
                "p_holm": rounded(float(p_holm)),
                "psi": rounded(index),
                "shifted": bool(p_holm < ALPHA and index >= PSI_BOUND),
            }
        )
    return rows


def _sentence(rows: Sequence[Mapping[str, Any]], patients: int, reference: int, normals: bool) -> str:
    shifted = [row["quantity"] for row in rows if row["shifted"]]
    compared = f"{patients} patients of this run with {reference} of the calibration"
    mixed = "" if normals else " No image of the run is known to be normal, so abnormal ones count here too."
    if not shifted:
        few = " With so few patients only a large shift would show." if min(patients, reference) < FEW_PATIENTS else ""
        return f"No shift was found, comparing {compared} in {len(rows)} quantities.{few}{mixed}"
    names = ", ".join(shifted[:-1]) + (" and " if shifted[:-1] else "") + shifted[-1]
    return (
        f"Shifted against the calibration: {names} (Holm p < {ALPHA:g} and stability index of at least "
        f"{PSI_BOUND:g}, comparing {compared}). The false-positive rate that the calibration states cannot be relied "
        f"on here: find out what changed (scanner, protocol, conversion, patients), then calibrate again.{mixed}"
    )


def _holm(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    order = np.argsort(p_values, kind="stable")
    stepped = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted
