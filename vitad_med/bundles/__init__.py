"""What bundle configs call: refusal of mistyped keys, readable errors, default folders, experiment tracking.

Configs name these functions in ``_target_``, so the installed package is all that a bundle needs beside its JSON.
"""

from vitad_med.bundles.errors import plain_errors, user_error
from vitad_med.bundles.paths import example_dataset, output_folder
from vitad_med.bundles.start import start
from vitad_med.bundles.tracking import TrackingHandler, track

__all__ = [
    "TrackingHandler",
    "example_dataset",
    "output_folder",
    "plain_errors",
    "start",
    "track",
    "user_error",
]
