"""A report as an evaluation writes it, seeded: figures of a likely size, rows and pictures of the embedded X-rays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from vitad_med.data.case import Case
from vitad_med.data.chestxray14 import read_chestxray14
from vitad_med.evaluation.null_maps import MAPS
from vitad_med.metrics.metadata import age_band
from vitad_med.reporting.page import Row, Thumbnail, make_thumbnail
from vitad_med.reporting.page.names import LOCALIZATION

COHORTS = {
    "all": ("all images", 1000, 0.62),
    "sex=M": ("men", 560, 0.63),
    "sex=F": ("women", 440, 0.585),
    "view=PA": ("view PA", 610, 0.60),
    "view=AP": ("view AP", 390, 0.64),
    "age=0-17": ("age 0-17", 12, None),
    "age=18-39": ("age 18-39", 260, 0.59),
    "age=40-64": ("age 40-64", 510, 0.625),
    "age=65+": ("age 65+", 218, 0.63),
    "finding=Cardiomegaly": ("finding Cardiomegaly", 210, 0.71),
    "finding=Pleural_Thickening": ("finding Pleural_Thickening", 90, 0.52),
}
SETTINGS = {
    "cohorts": ["sex", "view", "age", "finding"],
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
}


def figure(value: float, half: float | None = 0.03, n: int = 400) -> dict[str, Any]:
    """A figure with a symmetric interval, or without one."""
    ends = (None, None) if half is None else (round(value - half, 6), round(value + half, 6))
    return {"value": round(value, 6), "low": ends[0], "high": ends[1], "n": n, "reason": None}


def nothing(reason: str) -> dict[str, Any]:
    return {"value": None, "low": None, "high": None, "n": 0, "reason": reason}


def tally(images: int | None, patients: int | None) -> dict[str, Any]:
    return {"images": images, "patients": patients}


def cohort(name: str, images: int, conditioned: float | None) -> dict[str, Any]:
    """One cohort: the wider the interval the smaller the cohort."""
    half = round(0.9 / images**0.5, 6)
    if conditioned is None:
        few = nothing("fewer than 5 patients with a box")
        localization = dict.fromkeys(LOCALIZATION, few)
        nulls = {null: dict.fromkeys(LOCALIZATION, few) for null in MAPS}
        verdict = {
            "answer": "cannot tell",
            "sentence": f"cannot tell: {few['reason']}",
            "null": None,
            "difference": few,
        }
        differences = {null: few for null in MAPS if null != "box_prior"}
    else:
        localization = {name: figure(conditioned - 0.01 * (i % 7), half) for i, name in enumerate(LOCALIZATION)}
        localization["mean_image_auroc"] = figure(0.66, half)
        base = {"centre_blob": 0.5, "box_prior": 0.5, "brightness": 0.593, "brightness_ranked": 0.593}
        nulls = {null: dict.fromkeys(LOCALIZATION, figure(base.get(null, 0.566), half)) for null in MAPS}
        nulls["centre_blob"] = {**nulls["centre_blob"], "pixel_auroc": figure(0.79, half)}
        only_pooled = nothing("not a valid null map here")
        nulls["box_prior"] = {**dict.fromkeys(LOCALIZATION, only_pooled), "pixel_auroc": figure(0.82, half)}
        difference = figure(conditioned - 0.593, half)
        differences = {
            "centre_blob": figure(conditioned - 0.5, half),
            "brightness": difference,
            "brightness_ranked": difference,
            "mirror_difference": figure(conditioned - 0.566, half),
            "mirror_difference inverted": figure(conditioned - 0.434, half),
        }
        answer = "yes" if difference["low"] > 0 else "no" if difference["high"] < 0 else "cannot tell"
        words = {
            "yes": "localizes better than brightness",
            "no": "localizes worse than brightness",
            "cannot tell": "not shown to localize better than brightness",
        }[answer]
        ends = f"{difference['low']:.3f} to {difference['high']:.3f}"
        verdict = {
            "answer": answer,
            "sentence": f"{words}: conditioned AUROC {conditioned:.3f} against .593, difference {ends}",
            "null": "brightness",
            "difference": difference,
        }
    return {
        "name": name,
        "n_images": images,
        "n_patients": int(images * 0.8),
        "n_normal": int(images * 0.56),
        "n_abnormal": images - int(images * 0.56),
        "n_localized": int(images * 0.44) if conditioned is not None else None,
        "image": {
            "image_auroc": figure(0.73, half) if conditioned else nothing("fewer than 5 normal patients"),
            "image_ap": figure(0.66, half) if conditioned else nothing("fewer than 5 normal patients"),
            "image_auroc_conditioned": figure(0.70, half) if conditioned else nothing("fewer than 5 normal patients"),
            "metadata_null_auroc": figure(0.53, half) if conditioned else nothing("fewer than 5 normal patients"),
        },
        "metadata_difference": figure(0.20, half) if conditioned else nothing("fewer than 5 normal patients"),
        "delong": {"value": 0.73, "low": 0.70, "high": 0.76},
        "localization": localization,
        "nulls": nulls,
        "differences": differences,
        "verdict": verdict,
    }


def operating_point() -> dict[str, Any]:
    cohorts = {}
    for key, (_, images, conditioned) in COHORTS.items():
        half = round(0.5 / images**0.5, 6)
        cohorts[key] = {
            "false_positive_rate": figure(0.08 if key == "sex=F" else 0.11, min(half, 0.07)),
            "sensitivity": figure(0.44, half),
            "alarms_per_100": figure(12.7, 2.0),
            "ppv": figure(0.174, min(half, 0.06)),
            "npv": figure(0.968, 0.01),
        }
        if conditioned is None:
            cohorts[key] = dict.fromkeys(cohorts[key], nothing("fewer than 5 normal patients"))
    return {
        "source": "run",
        "calibration_digest": None,
        "false_positive_rate": 0.1,
        "threshold": 0.612345,
        "reason": None,
        "calibration": tally(280, 230),
        "lowest_rate": 1 / 231,
        "bound": {"expected": 0.0996, "upper": 0.134, "confidence": 0.95},
        "check": {**tally(280, 226), "false_positive_rate": figure(0.107, 0.04)},
        "prevalence": 0.05,
        "cohorts": cohorts,
    }


def gaps() -> list[dict[str, Any]]:
    def level(key: str, value: float, crude: float, standardised: float, half: float) -> dict[str, Any]:
        return {
            "cohort": key,
            "name": COHORTS[key][0],
            "value": figure(value, half),
            "crude": figure(crude, half),
            "standardised": figure(standardised, half),
            "support": 0.94,
        }

    few = nothing("fewer than 5 patients with a box")
    return [
        {
            "axis": "sex",
            "metric": "conditioned_auroc",
            "test": "permutation",
            "p": 0.004,
            "p_holm": 0.028,
            "reason": None,
            "levels": [level("sex=F", 0.585, -0.045, -0.031, 0.026)],
        },
        {
            "axis": "view",
            "metric": "conditioned_auroc",
            "test": "bootstrap",
            "p": 0.21,
            "p_holm": 0.84,
            "reason": None,
            "levels": [level("view=PA", 0.60, -0.04, -0.01, 0.05)],
        },
        {
            "axis": "age",
            "metric": "image_auroc",
            "test": "permutation",
            "p": 0.0004,
            "p_holm": 0.003,
            "reason": None,
            "levels": [
                {**level("age=0-17", 0.5, 0, 0, 0.1), "value": few, "crude": few, "standardised": few, "support": None},
                level("age=18-39", 0.66, -0.081, -0.07, 0.04),
                level("age=40-64", 0.74, 0.02, 0.015, 0.03),
                level("age=65+", 0.75, 0.03, 0.02, 0.03),
            ],
        },
        {
            "axis": "finding",
            "metric": "image_auroc",
            "test": "bootstrap",
            "p": None,
            "p_holm": None,
            "reason": "only one finding has 5 patients",
            "levels": [],
        },
    ]


def curves() -> dict[str, Any]:
    x = np.linspace(0, 1, 101)
    false_positives = np.geomspace(0.05, 20, 60)

    def rounded(values: np.ndarray) -> list[float]:
        return [round(float(v), 6) for v in values]

    def roc(power: float, band: float | None) -> dict[str, Any]:
        y = x**power
        low, high = (None, None) if band is None else (np.clip(y - band, 0, 1), np.clip(y + band, 0, 1))
        ends = [None, None] if low is None or high is None else [rounded(low), rounded(high)]
        return {"x": rounded(x), "y": rounded(y), "low": ends[0], "high": ends[1]}

    def froc(scale: float, band: float | None = None) -> dict[str, Any]:
        y = 1 - np.exp(-scale * false_positives**0.6)
        curve: dict[str, Any] = {"x": rounded(false_positives), "y": rounded(y)}
        if band is not None:
            curve |= {"low": rounded(np.clip(y - band, 0, 1)), "high": rounded(np.clip(y + band, 0, 1))}
        return curve

    return {
        "roc": {"all": roc(0.37, 0.03), "sex=M": roc(0.35, 0.04), "sex=F": roc(0.4, 0.045), "age=0-17": roc(0.5, None)},
        "froc": {"all": froc(0.3, 0.03), "sex=M": froc(0.33, 0.04), "sex=F": froc(0.26, 0.04)},
        "froc_nulls": {"centre_blob": froc(0.18), "brightness": froc(0.22), "mirror_difference": froc(0.12)},
    }


def effects() -> dict[str, Any]:
    names = ("smallest third (under 2.1 % of the image)", "middle third", "largest third (over 7.4 % of the image)")
    areas = [
        {
            "group": name,
            "images": 146,
            "conditioned_auroc": figure(0.55 + 0.05 * i),
            "pointing_game": figure(0.1 + 0.2 * i),
        }
        for i, name in enumerate(names)
    ]
    position = []
    for row, vertical in enumerate(("upper", "middle", "lower")):
        for column, horizontal in enumerate(("left", "centre", "right")):
            value = 0.55 + 0.03 * row + 0.02 * column
            scored = (row, column) != (0, 1)
            position.append(
                {
                    "group": f"{vertical} {horizontal}",
                    "row": row,
                    "column": column,
                    "images": 49 if scored else None,
                    "conditioned_auroc": figure(value)
                    if scored
                    else nothing("fewer than 5 patients have a box that is centred in this field"),
                    "pointing_game": figure(0.2 + 0.1 * row)
                    if scored
                    else nothing("fewer than 5 patients have a box that is centred in this field"),
                }
            )
    return {"box_area": areas, "position": position}


def drift() -> dict[str, Any]:
    names = ("score", "intensity mean", "intensity 5th percentile", "intensity 95th percentile")
    return {
        "calibration_digest": "c0ffee" * 10,
        "rows": [
            {
                "quantity": name,
                "reference_median": 0.5,
                "run_median": 0.5 + 0.02 * i,
                "ks": 0.05 * (i + 1),
                "p": 0.3 / 10**i,
                "p_holm": min(1.0, 1.2 / 10**i),
                "psi": 0.03 * (i + 1),
                "shifted": i == 3,
            }
            for i, name in enumerate(names)
        ],
        "sentence": "One of four quantities has moved since the calibration: calibrate again.",
    }


def sample_report() -> dict[str, Any]:
    """A report with every part present."""
    rng = np.random.default_rng(3)
    edges = np.linspace(0.3, 0.9, 31)
    scores = {"normal": rng.normal(0.53, 0.06, 560), "abnormal": rng.normal(0.58, 0.08, 440)}
    return {
        "schema": "vitad_med/report/1",
        "method": {
            "name": "attn_synth",
            "model_digest": "9f2a" * 16,
            "pipeline_digest": "51bd" * 16,
            "backend_digest": "77e0" * 16,
            "score_rule": "mean of the map's 1 % highest pixels",
            "software": "vitad-med 0.1.0",
        },
        "data": {
            "name": "nih_chestxray14",
            "public": True,
            "identifiers": "clear",
            "data_digest": "d41d" * 16,
            "digest": "ab12" * 16,
        },
        "created": "2026-11-25T13:00:00Z",
        "settings": SETTINGS,
        "flow": {
            "read": tally(1012, 806),
            "excluded": [
                {"reason": "score is not a finite number", **tally(7, 6)},
                {"reason": "box outside the image", **tally(5, None)},
            ],
            "evaluated": tally(1000, 797),
            "normal": tally(560, 456),
            "abnormal": tally(440, 361),
            "localized": tally(432, 355),
            "not_localized": tally(8, None),
            "calibration": tally(280, 230),
            "check": tally(280, 226),
        },
        "cohorts": {key: cohort(*values) for key, values in COHORTS.items()},
        "gaps": gaps(),
        "operating_point": operating_point(),
        "curves": curves(),
        "distributions": {
            "edges": [round(float(edge), 6) for edge in edges],
            **{name: np.histogram(values, edges)[0].tolist() for name, values in scores.items()},
        },
        "effects": effects(),
        "drift": drift(),
        "notes": ["Boxes are incomplete: an image's other findings may have none."],
    }


def bare_report() -> dict[str, Any]:
    """A table of scores alone: one cohort, no boxes, no calibration, no curves."""
    report = sample_report()
    report["cohorts"] = {"all": cohort("all images", 12, None)}
    report["cohorts"]["all"] |= {"delong": None, "localization": {}, "nulls": {}, "differences": {}}
    report["cohorts"]["all"]["verdict"] = {
        "answer": "cannot tell",
        "sentence": "cannot tell: no image has a box or a mask",
        "null": None,
        "difference": None,
    }
    report["method"] = dict.fromkeys(report["method"])
    report |= {"created": None, "drift": None, "gaps": [], "effects": {}, "notes": [], "distributions": None}
    report["flow"] |= {"calibration": None, "check": None, "excluded": [], "localized": tally(0, 0)}
    report["curves"] = {"roc": {}, "froc": {}, "froc_nulls": {}}
    report["operating_point"] = {
        "source": "run",
        "calibration_digest": None,
        "false_positive_rate": 0.1,
        "threshold": None,
        "reason": "4 normal patients cannot reach a false-positive rate of .1; 9 can",
        "calibration": tally(4, 4),
        "lowest_rate": 0.2,
        "bound": None,
        "check": None,
        "prevalence": 0.05,
        "cohorts": {},
    }
    return report


def sample_cases(folder: Path) -> list[Case]:
    """The embedded X-rays."""
    return read_chestxray14(folder)


def sample_rows(cases: list[Case], count: int | None = None) -> list[Row]:
    """Rows sorted by score, the cases repeated up to ``count``."""
    rng = np.random.default_rng(5)
    chosen = [cases[i % len(cases)] for i in range(count or len(cases))]
    scores = np.array([0.53 + 0.05 * case.label for case in chosen]) + rng.normal(0, 0.06, len(chosen))
    rows = []
    for number in np.argsort(-scores, kind="stable"):
        case, score = chosen[number], float(scores[number])
        repeat = number // len(cases)
        rows.append(
            Row(
                image=f"{case.case_id}" + (f"-{repeat}" if repeat else ""),
                patient=case.patient_id,
                score=round(score, 7),
                label=case.label,
                p_value=round(float(np.clip(1.02 - 2 * score + 0.3, 1 / 231, 1)), 6),
                flagged=bool(score >= 0.612345),
                sex=case.sex,
                view=case.view,
                age_band=age_band(case.age),
                findings=case.findings,
                columns=(("scanner", "ABC"[number % 3]),),
                localized=case.localized,
                pixel_auroc=round(float(rng.uniform(0.4, 0.95)), 6) if case.localized else None,
                pointing_hit=float(rng.integers(0, 2)) if case.localized else None,
            )
        )
    return rows


def sample_thumbnails(cases: list[Case], rows: list[Row], count: int) -> list[Thumbnail]:
    """Pictures of the first ``count`` rows, with smooth maps that are highest near the boxes."""
    rng = np.random.default_rng(7)
    by_name = {case.case_id: case for case in cases}
    thumbnails = []
    for index, row in enumerate(rows[:count]):
        case = by_name[row.image.split("-")[0]]
        image = np.asarray(Image.open(case.image_path).convert("L"), dtype=np.float32) / 255
        heat = gaussian_filter(rng.random(image.shape), 14) * 8
        ys, xs = np.mgrid[0:1:256j, 0:1:256j]
        for box in case.boxes:
            centre = (box.x + box.width / 2, box.y + box.height / 2)
            heat += 0.6 * np.exp(-((xs - centre[0]) ** 2 + (ys - centre[1]) ** 2) / 0.01)
        boxes = [(box.x, box.y, box.width, box.height) for box in case.boxes]
        thumbnails.append(make_thumbnail(index, image, heat.astype(np.float32), boxes))
    return thumbnails
