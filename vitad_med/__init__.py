"""vitad_med: anomaly detection and localization in medical images, learned from normal images only."""

from vitad_med import _torchvision_cpu  # noqa: F401  # must run before anything imports torchvision

__version__ = "0.1.0"
