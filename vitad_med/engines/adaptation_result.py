"""The adapted model beside the results of its run."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from vitad_med.adaptation.adapter import TestTimeAdapter
from vitad_med.adaptation.lineage import Lineage, save_adapted
from vitad_med.adaptation.statistics import SourceStatistics
from vitad_med.digests import file_digest


class SaveAdapted:
    """MONAI handler: the adapted model and its lineage in ``<output_dir>/adapted``; nothing where no model was adapted.

    Episodic adaptation ends where it began, and ``none`` never left: neither has a model of its own.

    Args:
        adapter: whose network is saved.
        output_dir: of the results.
        bundle_root: of the source bundle, which must not change.
        weights: file of the source model.
        model_digest: of the source model.
        settings: what changes the result, plain values; ``mode`` among them.
        statistics: of the source, None without.
        data: digest of the stream's cases and their files.
    """

    def __init__(
        self,
        adapter: TestTimeAdapter,
        output_dir: str | Path,
        *,
        bundle_root: str | Path,
        weights: str | Path,
        model_digest: str,
        settings: Mapping[str, Any],
        statistics: SourceStatistics | None,
        data: str,
    ) -> None:
        self.adapter = adapter
        self.folder = Path(output_dir) / "adapted"
        self.bundle_root = bundle_root
        self.weights = weights
        self.source_digest = model_digest
        self.settings = dict(settings)
        self.statistics_digest = None if statistics is None else statistics.digest
        self.data = data

    def attach(self, engine: Engine) -> None:
        """Register after the handler that ends the adaptation and before the one that tracks files."""
        engine.add_event_handler(Events.COMPLETED, self.save)

    def save(self, _: Engine | None = None) -> None:
        """Write model and lineage."""
        adapter = self.adapter
        if adapter.method is None or self.settings["mode"] == "episodic":
            shutil.rmtree(self.folder, ignore_errors=True)
            return
        tally, limits, audit = adapter.tally, adapter.guard_range, adapter.audit
        record = Lineage(
            source_digest=self.source_digest,
            method=adapter.method.name,
            mode=self.settings["mode"],
            settings=self.settings,
            updates=tally.updates,
            kept=tally.updates - tally.undone,
            undone=tally.undone,
            statistics_digest=self.statistics_digest,
            data_digest=self.data,
            audit_digest=None if audit is None else file_digest(audit.path),
            guard=None if limits is None else asdict(limits),
        )
        save_adapted(self.folder, adapter.network, record, self.weights, self.bundle_root)
