"""Patches: their sizes, shape, rotation and jitter, and the geometry of cutting and pasting one.

Widths and heights follow U(.1, .4) of the image side and rotation U(-90, 90) degrees (Bozorgtabar et al., BMVC 2022,
section 3.1). The paper gives no probabilities, scar sizes, jitter strength or range of rescaling: those here are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vitad_med.errors import ConfigError
from vitad_med.synthesis.location import LocationLaw

MARGIN = 1  # pixels kept between the pasted region and the image edge: the Dirichlet data of the blend
MIN_SIDE = 3  # pixels
MIN_IMAGE_SIDE = 16  # pixels
LARGEST = 0.8  # of the image side: what a patch may span once turned, and its cut once rescaled
# One block of uniforms serves one patch, so that switching one option off leaves every other decision as it was.
_DRAWS = 15


@dataclass(frozen=True)
class PatchLaw:
    """Distribution of a patch; lengths are fractions of the shorter side of the image.

    Attributes:
        size_range: width and height of the pasted patch (paper: .1, .4).
        scar_probability: chance of a thin rectangle instead (ours).
        scar_length_range, scar_width_range: its two sides, either of them horizontal (ours).
        rotation_probability: chance of a rotation by U(-90, 90) degrees (probability ours).
        jitter_probability: chance of a change of brightness and contrast, alike in all channels (ours).
        brightness, contrast: strength; brightness adds U(-b, b), contrast multiplies the deviation from the patch mean
            by U(1 - c, 1 + c). Brightness has no effect under Poisson blending, which keeps gradients only (ours).
        rescale_probability: chance that the content is enlarged or shrunk on its way (ours). The pasted size keeps its
            law; the cut grows or shrinks instead.
        rescale_range: factors of that enlargement (ours).

    Raises:
        ConfigError: a value outside its range, or a patch that may not fit into the image.
    """

    size_range: tuple[float, float] = (0.1, 0.4)
    scar_probability: float = 0.2
    scar_length_range: tuple[float, float] = (0.15, 0.4)
    scar_width_range: tuple[float, float] = (0.03, 0.08)
    rotation_probability: float = 0.5
    jitter_probability: float = 0.5
    brightness: float = 0.1
    contrast: float = 0.3
    rescale_probability: float = 0.5
    rescale_range: tuple[float, float] = (0.7, 1.3)

    def __post_init__(self) -> None:
        for key in ("scar_probability", "rotation_probability", "jitter_probability", "rescale_probability"):
            if not 0 <= getattr(self, key) <= 1:
                raise ConfigError(f"{key}: {getattr(self, key)} is not a probability (0 to 1)")
        for key in ("size_range", "scar_length_range", "scar_width_range", "rescale_range"):
            low, high = getattr(self, key)
            if not 0 < low <= high:
                raise ConfigError(f"{key}: ({low}, {high}) must be two rising numbers above 0")
        for key in ("brightness", "contrast"):
            if not 0 <= getattr(self, key) <= 1:
                raise ConfigError(f"{key}: {getattr(self, key)} must lie in 0 to 1")
        largest = max(self.size_range[1], self.scar_length_range[1] if self.scar_probability else 0.0)
        turned = largest * 2**0.5 if self.rotation_probability else largest
        cut = largest / self.rescale_range[0] if self.rescale_probability else largest
        if max(turned, cut) > LARGEST + 1e-9:
            raise ConfigError(
                f"size_range: sides up to {largest} of the image do not fit once turned or rescaled; "
                f"keep the upper end at or below {int(100 * largest * LARGEST / max(turned, cut) + 1e-9) / 100}"
            )


@dataclass(frozen=True)
class Placement:
    """One patch, cut and pasted: everything that rendering needs, and no randomness left.

    The *window* is the region's bounding box with one pixel of margin, height + 2 by width + 2. Window pixel (i, j)
    shows the image at row ``origin[0] + i * axes[0][0] + j * axes[0][1]`` and column ``origin[1] + i * axes[1][0] +
    j * axes[1][1]``, interpolated bilinearly.

    Attributes:
        top, left, height, width: bounding box of the pasted region in pixels, at least one pixel inside the image.
        region: bool [height, width], or None when the region is the whole box.
        origin, axes: affine map from window to source pixels.
        brightness, contrast: jitter; 0 and 1 leave the patch as it is.
        cut: top, left, height and width of the rectangle that was cut, in pixels.
        shape, angle, scale, source, destination, moved: for the record; degrees, centres as (row, column), ``moved``
            counts how many of the two centres had to move for the patch to fit.
    """

    top: int
    left: int
    height: int
    width: int
    region: np.ndarray | None
    origin: tuple[float, float]
    axes: tuple[tuple[float, float], tuple[float, float]]
    brightness: float
    contrast: float
    cut: tuple[float, float, float, float]
    shape: str
    angle: float
    scale: float
    source: tuple[int, int]
    destination: tuple[int, int]
    moved: int

    @property
    def translates(self) -> bool:
        """Whether the patch is a plain copy of whole pixels."""
        return self.axes == ((1.0, 0.0), (0.0, 1.0)) and all(o == int(o) for o in self.origin)

    @cached_property
    def area(self) -> int:
        """Pixels in the region."""
        return self.height * self.width if self.region is None else int(self.region.sum())

    def mask(self, height: int, width: int) -> np.ndarray:
        """The region in the image: uint8 [height, width]."""
        mask = np.zeros((height, width), dtype=np.uint8)
        box = mask[self.top : self.top + self.height, self.left : self.left + self.width]
        box[...] = 1 if self.region is None else self.region
        return mask

    def record(self) -> dict[str, object]:
        """The fields for the sample's info."""
        keys = ("cut", "shape", "angle", "scale", "brightness", "contrast", "source", "destination", "moved")
        return {"box": (self.top, self.left, self.height, self.width), **{key: getattr(self, key) for key in keys}}


def draw_placement(generator: np.random.Generator, patch: PatchLaw, location: LocationLaw) -> Placement:
    """Draw one patch: size, shape, rotation, jitter and rescale from ``patch``, both centres from ``location``."""
    image_height, image_width = location.height, location.width
    u = generator.random(_DRAWS)
    is_scar = u[0] < patch.scar_probability
    if is_scar:
        sides = _between(patch.scar_width_range, u[1]), _between(patch.scar_length_range, u[2])
        height_fraction, width_fraction = sides if u[14] < 0.5 else sides[::-1]
    else:
        width_fraction, height_fraction = _between(patch.size_range, u[1]), _between(patch.size_range, u[2])
    shorter = min(image_height, image_width)
    height, width = max(MIN_SIDE, round(height_fraction * shorter)), max(MIN_SIDE, round(width_fraction * shorter))
    angle = 180 * u[4] - 90 if u[3] < patch.rotation_probability else 0.0
    brightness, contrast = 0.0, 1.0
    if u[5] < patch.jitter_probability:
        brightness, contrast = patch.brightness * (2 * u[6] - 1), 1 + patch.contrast * (2 * u[7] - 1)
    scale = _between(patch.rescale_range, u[9]) if u[8] < patch.rescale_probability else 1.0

    source, destination = location.pixel(u[10], u[11]), location.pixel(u[12], u[13])
    cut_height, cut_width = height / scale, width / scale
    cut_top, moved_rows = _fit(source[0] - int(cut_height) // 2, int(np.ceil(cut_height)), image_height)
    cut_left, moved_columns = _fit(source[1] - int(cut_width) // 2, int(np.ceil(cut_width)), image_width)
    source_centre = cut_top + (cut_height - 1) / 2, cut_left + (cut_width - 1) / 2

    box_top, box_left, region = _region(height, width, angle)
    box_height, box_width = region.shape if region is not None else (height, width)
    top, shifted_rows = _fit(destination[0] + box_top, box_height, image_height)
    left, shifted_columns = _fit(destination[1] + box_left, box_width, image_width)

    # From window pixel to offset from the patch centre, turned back and rescaled, to the source.
    cos, sin = (np.cos(np.radians(angle)), np.sin(np.radians(angle))) if angle else (1.0, 0.0)
    axes = ((cos / scale, -sin / scale), (sin / scale, cos / scale))
    first = box_top - 1 - _centre(height), box_left - 1 - _centre(width)
    return Placement(
        top=top,
        left=left,
        height=box_height,
        width=box_width,
        region=region,
        origin=(
            float(source_centre[0] + axes[0][0] * first[0] + axes[0][1] * first[1]),
            float(source_centre[1] + axes[1][0] * first[0] + axes[1][1] * first[1]),
        ),
        axes=axes,
        brightness=float(brightness),
        contrast=float(contrast),
        cut=(cut_top, cut_left, cut_height, cut_width),
        shape="scar" if is_scar else "rectangle",
        angle=float(angle),
        scale=float(scale),
        source=source,
        destination=destination,
        moved=int(moved_rows or moved_columns) + int(shifted_rows or shifted_columns),
    )


def _between(limits: tuple[float, float], uniform: float) -> float:
    return limits[0] + (limits[1] - limits[0]) * float(uniform)


def _fit(start: int, length: int, side: int) -> tuple[int, bool]:
    fitted = min(max(start, MARGIN), side - MARGIN - length)
    return fitted, fitted != start


def _centre(length: int) -> float:
    """Centre of a side that starts at -(length // 2)."""
    return (length - 1) / 2 - length // 2


def _region(height: int, width: int, angle: float) -> tuple[int, int, np.ndarray | None]:
    """A rectangle turned about its centre: top and left of its bounding box from the centre pixel, and its pixels.

    A pixel belongs to the region when its centre lies inside the turned rectangle. An angle of 0 gives the box itself.
    """
    if angle == 0:
        return -(height // 2), -(width // 2), None
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    reach_rows = int(height * abs(cos) + width * abs(sin)) // 2 + 1
    reach_columns = int(width * abs(cos) + height * abs(sin)) // 2 + 1
    y = np.arange(-reach_rows, reach_rows + 1)[:, None] - _centre(height)
    x = np.arange(-reach_columns, reach_columns + 1) - _centre(width)
    region = (np.abs(cos * y - sin * x) < height / 2) & (np.abs(sin * y + cos * x) < width / 2)
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    tight = region[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].copy()
    return int(rows[0]) - reach_rows, int(columns[0]) - reach_columns, tight
