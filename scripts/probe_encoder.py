"""How much an encoder knows of chest X-rays: linear probes for view and sex, beside a random encoder and raw pixels.

A logistic regression on frozen CLS tokens of the training normals, read on the normal test images of other patients.

    python scripts/probe_encoder.py --dataset_dir ../shared/data/nih_cxr14_dev
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from vitad_med.data.cache import resized_array
from vitad_med.data.case import Case
from vitad_med.data.chestxray14 import read_chestxray14
from vitad_med.data.intensity import to_unit_range
from vitad_med.networks.vit import encode, normalize
from vitad_med.networks.weights import build_encoder


@torch.no_grad()
def cls_tokens(pixels: np.ndarray, architecture: str, weights: str) -> np.ndarray:
    """CLS tokens [N, D] of grey images [N, 1, S, S]."""
    vit, (mean, std) = build_encoder(architecture, weights)
    vit.eval()
    images = torch.from_numpy(to_unit_range(pixels))
    shift, scale = torch.tensor(mean).view(1, 3, 1, 1), torch.tensor(std).view(1, 3, 1, 1)
    parts = [encode(vit, normalize(part, shift, scale)).cls for part in images.split(32)]
    return torch.cat(parts).numpy()


def probe(train: np.ndarray, test: np.ndarray, train_cases: list[Case], test_cases: list[Case], column: str) -> float:
    """AUROC on the test images of a probe for one cohort column."""
    truth = [[getattr(case, column) for case in cases] for cases in (train_cases, test_cases)]
    positive = sorted(set(truth[0]))[0]
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
    model.fit(train, [value == positive for value in truth[0]])
    return float(roc_auc_score([value == positive for value in truth[1]], model.decision_function(test)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset_dir", required=True)
    parser.add_argument("--architecture", default="vit_tiny_patch16_224")
    parser.add_argument("--weights", default="embedded", help="what to probe; the random encoder is always beside it")
    parser.add_argument("--image_size", type=int, default=224)
    options = parser.parse_args()
    train_cases = read_chestxray14(options.dataset_dir, section="train")
    test_cases = [case for case in read_chestxray14(options.dataset_dir, section="test") if case.label == 0]
    train, test = (resized_array(cases, options.image_size) for cases in (train_cases, test_cases))
    small = [resized_array(cases, 16).reshape(len(cases), -1) / 255.0 for cases in (train_cases, test_cases)]
    rows = {"raw pixels, 16 x 16": small}
    torch.manual_seed(0)
    for name, weights in (("random encoder", "none"), (f"weights {options.weights}", options.weights)):
        rows[name] = [cls_tokens(pixels, options.architecture, weights) for pixels in (train, test)]
    print(
        f"{len(train_cases)} training normals, {len(test_cases)} test normals of other patients; AUROC of a probe for"
    )
    print(f"{'':28}{'view':>8}{'sex':>8}")
    for name, (first, second) in rows.items():
        figures = [probe(first, second, train_cases, test_cases, column) for column in ("view", "sex")]
        print(f"{name:28}{figures[0]:8.3f}{figures[1]:8.3f}")


if __name__ == "__main__":
    main()
