"""Whether a PNG, JPEG, TIFF, BMP or NIfTI file can be scored, from its header alone."""

from __future__ import annotations

import warnings
from pathlib import Path

from PIL import Image

from vitad_med.data.dicom.triage import LARGEST, Aside, Note, Verdict
from vitad_med.data.image_io import refusal
from vitad_med.data.nifti import is_nifti, read_plane_header

_GREY = frozenset({"1", "L", "LA", "La", "I", "F"})


def judge_picture(path: Path) -> Verdict:
    """What becomes of a file that is no DICOM file.

    Colour is kept, and a grey network sees its luma (:func:`vitad_med.data.image_io.to_channels`); whether a file with
    three channels is grey after all is known when it is decoded.
    """
    return _judge_nifti(path) if is_nifti(path) else _judge_picture(path)


def _judge_picture(path: Path) -> Verdict:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit here is another
            with Image.open(path) as picture:
                width, height = picture.size
                frames = getattr(picture, "n_frames", 1)
                refused = refusal(picture)
                grey = picture.mode in _GREY or picture.mode.startswith("I;")
    except Image.DecompressionBombError:
        return Verdict(Aside.TOO_LARGE, f"more than {LARGEST:,} pixels")
    except Exception:  # Pillow's readers raise a dozen kinds on damaged headers
        return Verdict(Aside.UNREADABLE, "damaged, or in no image format known here")
    if width * height > LARGEST:
        return _too_large(height, width)
    if frames != 1:
        return Verdict(Aside.MULTI_FRAME, f"{frames} pages or frames")
    if refused:
        return Verdict(Aside.UNREADABLE, refused)
    return Verdict(None, notes=() if grey else (Note.COLOUR,))


def _judge_nifti(path: Path) -> Verdict:
    try:
        plane = read_plane_header(path)
    except Exception:  # nibabel's readers raise as many
        return Verdict(Aside.UNREADABLE, "no NIfTI file, or a damaged one")
    if plane.dtype.kind not in "buif":
        return Verdict(Aside.COLOUR, "colour, or values that are no real numbers")
    if not plane.is_one:
        return Verdict(Aside.MULTI_FRAME, f"a volume of {' x '.join(str(side) for side in plane.shape)}")
    width, height = plane.shape[:2]
    if width * height > LARGEST:
        return _too_large(height, width)
    if not plane.upright:
        return Verdict(Aside.UNREADABLE, "a plane that is turned or mirrored")
    if plane.missing:
        return Verdict(Aside.TRUNCATED, f"{plane.missing} bytes of pixels are missing")
    return Verdict(None)


def _too_large(height: int, width: int) -> Verdict:
    return Verdict(Aside.TOO_LARGE, f"{height} x {width} pixels, more than {LARGEST:,}")
