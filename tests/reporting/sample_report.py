"""Reports with realistic numbers: a full one, and the degenerate ones that a real evaluation can end in."""

from __future__ import annotations

from typing import Any

from vitad_med.evaluation.document import IMAGE_METRICS
from vitad_med.reporting.document.document import REPORT_LOCALIZATION, REPORT_SCHEMA

NAMES = {
    "all": "all images",
    "sex=M": "men",
    "sex=F": "women",
    "view=PA": "view PA",
    "view=AP": "view AP",
    "sex=F,view=AP": "women, view AP",
    "scanner=A|B": "scanner A|B",
}
SIZES = {
    "all": (1392, 848, 952, 440),
    "sex=M": (780, 470, 528, 252),
    "sex=F": (612, 378, 424, 188),
    "view=PA": (830, 560, 591, 239),
    "view=AP": (562, 340, 361, 201),
    "sex=F,view=AP": (244, 151, 160, 84),
    "scanner=A|B": (9, 6, 5, 4),
}
NULLS = ("centre_blob", "box_prior", "brightness", "brightness_ranked", "mirror_difference")
POOLED = ("pixel_auroc", "pixel_ap")


def figure(value: float | None, half: float | None = 0.03, n: int | None = 440, reason: str | None = None) -> dict:
    """A figure with a symmetric interval, without one, or with a reason."""
    if value is None:
        return {"value": None, "low": None, "high": None, "n": n, "reason": reason}
    ends = (None, None) if half is None else (value - half, value + half)
    return {"value": value, "low": ends[0], "high": ends[1], "n": n, "reason": None}


def count(images: int | None, patients: int | None) -> dict[str, int | None]:
    return {"images": images, "patients": patients}


def cohort(key: str) -> dict[str, Any]:
    images, patients, normal, abnormal = SIZES[key]
    shift = 0.01 * list(SIZES).index(key)
    small = patients < 20
    half = None if small else 0.03
    image = dict(zip(IMAGE_METRICS, (0.628, 0.471, 0.602, 0.545), strict=True))
    localization = dict(zip(REPORT_LOCALIZATION, (0.641, 0.152, 0.548, 0.532, 0.619, 0.214), strict=False))
    localization |= dict.fromkeys(REPORT_LOCALIZATION[6:], 0.11)
    nulls = {
        name: {
            metric: figure(None, n=abnormal, reason="not a valid null map here")
            if name == "box_prior" and metric not in POOLED
            else figure(0.575 if name == "brightness" else 0.5, half, abnormal)
            for metric in REPORT_LOCALIZATION
        }
        for name in NULLS
    }
    return {
        "name": NAMES[key],
        "n_images": images,
        "n_patients": patients,
        "n_normal": normal,
        "n_abnormal": abnormal,
        "n_localized": abnormal,
        "image": {name: figure(value - shift, half, images) for name, value in image.items()},
        "metadata_difference": figure(0.083, None if small else 0.05, images),
        "delong": None if small else {"value": 0.628 - shift, "low": 0.596 - shift, "high": 0.659 - shift},
        "localization": {
            name: figure(value - min(shift, 0.05), half, abnormal) for name, value in localization.items()
        },
        "nulls": nulls,
        "differences": {
            "brightness": figure(-0.043, half, abnormal),
            "brightness inverted": figure(0.107, half, abnormal),
        },
        "verdict": {
            "answer": "cannot tell" if small else "no",
            "sentence": "does not localize better than brightness, it is worse: .532 against .575",
            "null": "brightness",
            "difference": figure(-0.043, half, abnormal),
        },
    }


def sample_report() -> dict[str, Any]:
    """A public data set, seven cohorts, everything present."""
    keys = list(NAMES)
    line = {"x": [0.0, 0.1, 0.5, 1.0], "y": [0.0, 0.25, 0.7, 1.0]}
    curve = line | {"low": [0.0, 0.2, 0.65, 1.0], "high": [0.0, 0.3, 0.75, 1.0]}
    operating = {
        "false_positive_rate": figure(0.104, 0.02, 952),
        "sensitivity": figure(0.27, 0.04, 440),
        "alarms_per_100": figure(11.23, 2.1, 1392),
        "ppv": figure(0.12, 0.02, 1392),
        "npv": figure(0.959, 0.004, 1392),
    }
    return {
        "schema": REPORT_SCHEMA,
        "method": {
            "name": "attn_synth",
            "model_digest": "5e1f" * 16,
            "pipeline_digest": "77aa" * 16,
            "backend_digest": "90bc" * 16,
            "score_rule": "softmax probability of class 1 (synthetic anomaly)",
            "software": "vitad_med 0.1.0, torch 2.13.0",
        },
        "data": {
            "name": "nih_chestxray14",
            "public": True,
            "identifiers": "clear",
            "data_digest": "13dd" * 16,
            "digest": "0a4e" * 16,
        },
        "created": "2026-11-25T13:00:00Z",
        "settings": {
            "cohorts": ["sex", "view", "sex:view", "scanner"],
            "replicates": 2000,
            "seed": 0,
            "level": 0.95,
            "eval_size": 224,
            "min_patients": 5,
            "interval_patients": 20,
            "pixel_score": "map",
            "prevalence": 0.05,
            "false_positive_rate": 0.1,
            "primary": ["conditioned_auroc", "image_auroc"],
        },
        "flow": {
            "read": count(1399, 852),
            "excluded": [{"reason": "the map holds NaN", "images": 7, "patients": 6}],
            "evaluated": count(1392, 848),
            "normal": count(952, 610),
            "abnormal": count(440, 380),
            "localized": count(440, 380),
            "not_localized": count(0, 0),
            "calibration": count(305, 305),
            "check": count(480, 305),
        },
        "cohorts": {key: cohort(key) for key in keys},
        "gaps": [
            {
                "axis": "sex",
                "metric": "conditioned_auroc",
                "test": "permutation",
                "p": 0.21,
                "p_holm": 0.84,
                "reason": None,
                "levels": [
                    {
                        "cohort": "sex=M",
                        "name": "men",
                        "value": figure(0.522),
                        "crude": figure(0.021, 0.04),
                        "standardised": figure(-0.008, 0.04),
                        "support": 0.97,
                    }
                ],
            },
            {
                "axis": "view",
                "metric": "image_auroc",
                "test": "bootstrap",
                "p": None,
                "p_holm": None,
                "reason": "fewer than 20 patients in a class",
                "levels": [],
            },
        ],
        "operating_point": {
            "source": "run",
            "calibration_digest": None,
            "false_positive_rate": 0.1,
            "threshold": 0.0000123456789,
            "reason": None,
            "calibration": count(305, 305),
            "lowest_rate": 0.003268,
            "bound": {"expected": 0.098, "upper": 0.131, "confidence": 0.95},
            "check": {"images": 480, "patients": 305, "false_positive_rate": figure(0.104, 0.02, 480)},
            "prevalence": 0.05,
            "cohorts": dict.fromkeys(keys, operating),
        },
        "curves": {
            "roc": {"all": curve, "sex=M": curve | {"low": None, "high": None}},
            "froc": {"all": curve},
            "froc_nulls": {"centre_blob": line},
        },
        "distributions": {"edges": [0.0, 0.00001, 0.00002], "normal": [800, 152], "abnormal": [300, 140]},
        "effects": {
            "box_area": [
                {
                    "group": "smallest third (under 2.1 % of the image)",
                    "images": 147,
                    "conditioned_auroc": figure(0.51),
                    "pointing_game": figure(0.1),
                }
            ],
            "position": [
                {
                    "group": "upper left",
                    "row": 0,
                    "column": 0,
                    "images": 40,
                    "conditioned_auroc": figure(0.55),
                    "pointing_game": figure(0.2),
                }
            ],
        },
        "drift": {
            "calibration_digest": "c0de" * 16,
            "rows": [
                {
                    "quantity": "score",
                    "reference_median": 0.0000101,
                    "run_median": 0.0000102,
                    "ks": 0.05,
                    "p": 0.31,
                    "p_holm": 0.62,
                    "psi": 0.02,
                    "shifted": False,
                }
            ],
            "sentence": "scores and intensities look like those of the calibration",
        },
        "notes": ["41 images have no known age."],
    }


def without_localization() -> dict[str, Any]:
    """No image has a box or a mask, nothing was calibrated, nobody's age or sex is known."""
    report = sample_report()
    report["flow"] |= {"localized": count(0, 0), "not_localized": count(440, 380), "calibration": None, "check": None}
    for part in report["cohorts"].values():
        part["n_localized"] = 0
        part["localization"] = {name: figure(None, n=0, reason="no localized images") for name in REPORT_LOCALIZATION}
        part |= {"nulls": {}, "differences": {}, "delong": None}
        part["verdict"] = {"answer": "cannot tell", "sentence": "cannot tell: no localized images", "null": None}
        part["verdict"]["difference"] = None
    report |= {"operating_point": None, "drift": None, "gaps": [], "notes": [], "created": None}
    report["distributions"] = None
    report["method"] = dict.fromkeys(report["method"])
    report["curves"] |= {"froc": {}, "froc_nulls": {}}
    report["effects"] = {"box_area": [], "position": []}
    return report


def suppressed() -> dict[str, Any]:
    """Data of a hospital: small counts are withheld."""
    report = sample_report()
    report["data"] |= {"name": "ward_7", "public": False, "identifiers": "hashed"}
    report["flow"]["excluded"][0] |= count(None, None)
    small = report["cohorts"]["scanner=A|B"]
    small |= dict.fromkeys(("n_images", "n_patients", "n_normal", "n_abnormal", "n_localized"))
    reason = "not scored: fewer than 5 patients"
    small["metadata_difference"] = figure(None, n=None, reason=reason)
    for section in (small["image"], small["localization"], *small["nulls"].values()):
        section |= {name: figure(None, n=None, reason=reason) for name in section}
    report["operating_point"] |= {
        "threshold": None,
        "reason": "9 calibration patients cannot reach 0.05",
        "bound": None,
    }
    report["operating_point"] |= {"cohorts": {}, "check": None}
    return report
