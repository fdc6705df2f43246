"""What a user asks of a scoring run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vitad_med.data.dicom.windows import FIRST
from vitad_med.errors import ConfigError
from vitad_med.findings.making import ENCODINGS, UNCOMPRESSED
from vitad_med.findings.objects import KINDS

OUTPUTS = ("worklist", "parquet", "report", "maps", *KINDS)
DEFAULT_OUTPUTS = ("worklist", "report", "sc", "seg", "sr")


@dataclass(frozen=True)
class ScoreSettings:
    """Settings of one run.

    Attributes:
        source: a folder, a DICOMDIR, or a text file with a path a line.
        bundle: folder of the bundle.
        out: folder of the results.
        outputs: some of :data:`OUTPUTS`; the worklist is always written.
        calibration: ``calibration.json`` of this site, or None.
        backend: ``torch``, ``onnx`` or ``openvino``.
        exported: file of ``vitad-med export``; None is its default place.
        overrides: keys of the bundle's ``evaluate.json``.
        batch_size: images a batch; another size may change a score's last digit, so a resumed run keeps it.
        workers: processes that decode and write; None is one less than the CPUs, 0 does it all in this process.
        window: of DICOM files: ``first``, ``none``, ``percentile`` or a name.
        region_share: share of the picture that the regions of a flagged image take at most, in (0, 1).
        thumbnails: pictures in the report, of the highest scores.
        deidentify: rename the patients in DICOM objects.
        encoding: of the pixels of DICOM objects: ``uncompressed`` or ``jpegls``.
        resume: go on with the run in ``out``.
        engine: ``local`` or ``ray``.
    """

    source: Path
    bundle: Path
    out: Path
    outputs: tuple[str, ...] = DEFAULT_OUTPUTS
    calibration: Path | None = None
    backend: str = "torch"
    exported: Path | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = 16
    workers: int | None = None
    window: str = FIRST
    region_share: float = 0.05
    thumbnails: int = 200
    deidentify: bool = False
    encoding: str = UNCOMPRESSED
    resume: bool = False
    engine: str = "local"

    def __post_init__(self) -> None:
        unknown = [name for name in self.outputs if name not in OUTPUTS]
        if unknown:
            raise ConfigError(f"--outputs: '{unknown[0]}' is none of {', '.join(OUTPUTS)}")
        if not 0 < self.region_share < 1:
            raise ConfigError(f"--region_share is {self.region_share}, but must be between 0 and 1")
        if self.encoding not in ENCODINGS:
            raise ConfigError(f"--encoding is '{self.encoding}', but must be one of {', '.join(ENCODINGS)}")
        if self.batch_size < 1:
            raise ConfigError(f"--batch_size is {self.batch_size}, but must be at least 1")

    @property
    def kinds(self) -> tuple[str, ...]:
        """DICOM objects asked for, in one order."""
        return tuple(kind for kind in KINDS if kind in self.outputs)
