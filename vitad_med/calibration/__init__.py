"""The operating point: a threshold from a site's own normal images, what it promises, and whether it still holds."""

from vitad_med.calibration.binding import check_binding
from vitad_med.calibration.document import Calibration, read_calibration, write_calibration
from vitad_med.calibration.drift import drift
from vitad_med.calibration.intensity import intensity_statistics, intensity_table
from vitad_med.calibration.operating_point import operating_point
from vitad_med.calibration.reference import build_calibration

__all__ = [
    "Calibration",
    "build_calibration",
    "check_binding",
    "drift",
    "intensity_statistics",
    "intensity_table",
    "operating_point",
    "read_calibration",
    "write_calibration",
]
