"""Ground truth and images of the localized cases on the evaluation grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vitad_med.data.case import Case, box_mask
from vitad_med.data.image_io import read_image, resize, to_channels
from vitad_med.errors import DataError


def truth_masks(cases: Sequence[Case], size: int) -> np.ndarray:
    """Rasterise the boxes, or sample the mask files, of localized cases.

    A grid pixel is abnormal when its centre lies in a box or on an abnormal mask pixel. A mask so thin that it holds
    no centre marks the grid pixels that it touches.

    Returns:
        bool [N, size, size]; every mask marks at least one pixel.

    Raises:
        DataError: a case without truth, or a truth that marks no pixel of the grid.
    """
    masks = np.zeros((len(cases), size, size), dtype=bool)
    for index, case in enumerate(cases):
        if case.mask_path is not None:
            masks[index] = _sample(read_image(case.mask_path).max(axis=0) > 0.5, size)
        elif case.boxes:
            masks[index] = box_mask(case.boxes, size, size)
        else:
            raise DataError(f"Image {case.case_id} has neither a box nor a mask; leave it out of localization.")
        if not masks[index].any():
            raise DataError(
                f"The boxes or mask of image {case.case_id} mark no pixel of the {size} x {size} grid; "
                "correct the annotation or choose a larger eval_size."
            )
    return masks


def grey_images(cases: Sequence[Case], size: int) -> np.ndarray:
    """Images resized whole to the grid, colour reduced to luma.

    Returns:
        float32 [N, size, size], values 0..1.
    """
    images = np.empty((len(cases), size, size), dtype=np.float32)
    for index, case in enumerate(cases):
        images[index] = to_channels(resize(read_image(case.image_path), size), 1)[0]
    return images


def finding_truth(cases: Sequence[Case], masks: np.ndarray, finding: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth of one finding: its own boxes are positive, pixels in other findings' boxes only are left out.

    Boxes are incomplete, an image's other labels may be unboxed, so a pixel of another box is neither.

    Args:
        cases: N localized cases.
        masks: bool [N, S, S], their whole truth.
        finding: a box's finding, or for a mask file an image-level finding.

    Returns:
        Positions of the n images that show the finding, int [n]; their masks, bool [n, S, S]; the pixels to ignore,
        bool [n, S, S].
    """
    size = masks.shape[-1]
    kept: list[int] = []
    own: list[np.ndarray] = []
    for index, case in enumerate(cases):
        if case.mask_path is not None:
            mask = masks[index] if finding in case.findings else np.zeros((size, size), dtype=bool)
        else:
            mask = box_mask(tuple(box for box in case.boxes if box.finding == finding), size, size)
        if mask.any():
            kept.append(index)
            own.append(mask)
    positions = np.array(kept, dtype=int)
    positives = np.stack(own) if own else np.zeros((0, size, size), dtype=bool)
    return positions, positives, masks[positions] & ~positives


def _sample(mask: np.ndarray, size: int) -> np.ndarray:
    height, width = mask.shape
    rows = ((np.arange(size) + 0.5) * height / size).astype(int)
    columns = ((np.arange(size) + 0.5) * width / size).astype(int)
    sampled = mask[np.ix_(rows, columns)]
    if not sampled.any():
        ys, xs = np.nonzero(mask)
        sampled[ys * size // height, xs * size // width] = True
    return sampled
