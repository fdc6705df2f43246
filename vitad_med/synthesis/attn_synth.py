"""Attention-guided synthetic anomalies (Bozorgtabar, Mahapatra and Thiran, BMVC 2022, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import torch

from vitad_med.errors import ConfigError, DataError
from vitad_med.synthesis.base import Info, Seed, SyntheticBatch, SyntheticSample, sample_generator
from vitad_med.synthesis.inputs import check_contrast, check_image, check_images, to_host
from vitad_med.synthesis.location import Location, LocationLaw, check_location
from vitad_med.synthesis.patch import PatchLaw, Placement, draw_placement
from vitad_med.synthesis.poisson import Gradients, check_gradients
from vitad_med.synthesis.render import Blend, check_blend, render
from vitad_med.synthesis.render_torch import render_batch

MaskFrom = Literal["region", "difference"]
Renderer = Literal["auto", "per_image", "batched"]


@dataclass(frozen=True)
class _Draw:
    """One rendered draw: how much of the region it changed, and its box before clipping to the image's type."""

    fraction: float
    placement: Placement
    values: np.ndarray | torch.Tensor
    changed: np.ndarray | torch.Tensor


@dataclass(frozen=True, kw_only=True)
class AttnSynth:
    """Cuts a patch at a salient place of a normal image and blends it in at another (Figure 2 of the paper).

    Every random decision comes from ``(seed, index)`` alone, and is made on the host. ``sample`` and ``batch``
    therefore make the same anomaly, whatever the device and whichever other images share the batch; they compute in
    float64.

    A patch that lands near where it was cut may change next to nothing. It is drawn again until the changed area
    reaches ``min_changed_fraction``; after ``max_redraws`` the draw that changed most is kept and ``below_minimum`` is
    set.

    Attributes:
        location: law of both centres: ``proportional`` to saliency, its ``softmax`` (the paper's), or ``uniform``.
        temperature: of the softmax.
        blend: ``poisson`` or ``paste`` (the paper's).
        gradients: guide of the Poisson blend, ``source`` or ``mixed``.
        mask_from: ``region`` labels all pixels of the patch (the paper's), ``difference`` those that changed.
        size_range: width and height of the patch over those of the image (paper: .1, .4).
        scar_probability, rotation_probability, jitter_probability, rescale_probability: options of ``PatchLaw``.
        scar_length_range, scar_width_range, brightness, contrast, rescale_range: their strengths, see ``PatchLaw``.
        min_changed_fraction: part of the patch's pixels that must change (ours).
        change_threshold: a pixel has changed when a channel moves by more than this (ours). The default lies between
            three and four 8-bit grey levels: visible, and never equal to a difference of 8- or 16-bit values.
        max_redraws: draws after the first (ours).
        renderer: how ``batch`` computes: ``batched`` with torch on the images' device, ``per_image`` with numpy on the
            host. ``auto`` takes the first on an accelerator and the second, there twice as fast, on a CPU.

    Raises:
        ConfigError: a key with an unknown name or a value outside its range.

    Example:
        >>> import numpy as np
        >>> image = np.random.default_rng(0).random((1, 64, 64), dtype=np.float32)
        >>> anomaly = AttnSynth(location="uniform").sample(image, None, seed=1)
        >>> anomaly.image.shape, anomaly.mask.shape, anomaly.label
        ((1, 64, 64), (64, 64), 1)
    """

    location: Location = "proportional"
    temperature: float = 1.0
    blend: Blend = "poisson"
    gradients: Gradients = "source"
    mask_from: MaskFrom = "region"
    size_range: tuple[float, float] = PatchLaw.size_range
    scar_probability: float = PatchLaw.scar_probability
    scar_length_range: tuple[float, float] = PatchLaw.scar_length_range
    scar_width_range: tuple[float, float] = PatchLaw.scar_width_range
    rotation_probability: float = PatchLaw.rotation_probability
    jitter_probability: float = PatchLaw.jitter_probability
    brightness: float = PatchLaw.brightness
    contrast: float = PatchLaw.contrast
    rescale_probability: float = PatchLaw.rescale_probability
    rescale_range: tuple[float, float] = PatchLaw.rescale_range
    min_changed_fraction: float = 0.25
    change_threshold: float = 3.5 / 255
    max_redraws: int = 20
    renderer: Renderer = "auto"
    patch: PatchLaw = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_location(self.location, self.temperature)
        check_blend(self.blend)
        check_gradients(self.gradients)
        if self.mask_from not in get_args(MaskFrom):
            raise ConfigError(f"mask_from: {self.mask_from!r} is not one of {', '.join(get_args(MaskFrom))}")
        if self.renderer not in get_args(Renderer):
            raise ConfigError(f"renderer: {self.renderer!r} is not one of {', '.join(get_args(Renderer))}")
        if not 0 <= self.min_changed_fraction <= 1:
            raise ConfigError(f"min_changed_fraction: {self.min_changed_fraction} must lie in 0 to 1")
        if not self.change_threshold >= 0:
            raise ConfigError(f"change_threshold: {self.change_threshold} must not be negative")
        if self.max_redraws < 0:
            raise ConfigError(f"max_redraws: {self.max_redraws} must not be negative")
        keys = PatchLaw.__dataclass_fields__
        # Ranges may arrive as lists from a JSON config.
        values = {key: getattr(self, key) for key in keys}
        ranges = {key: tuple(value) for key, value in values.items() if key.endswith("_range")}
        object.__setattr__(self, "patch", PatchLaw(**{**values, **ranges}))

    @property
    def needs_saliency(self) -> bool:
        """False for ``uniform``: saliency may be None."""
        return self.location != "uniform"

    def sample(self, image: np.ndarray, saliency: np.ndarray | None, seed: Seed, *, index: int = 0) -> SyntheticSample:
        """Make one anomaly on the CPU.

        Args:
            image: floating point [C, H, W], values 0..1, not constant.
            saliency: [h, w] of any resolution, e.g. the CLS attention of the last block; None for ``uniform``.
            seed: with ``index`` decides everything random.
            index: which sample of that seed; ``batch(..., seed)`` gives image k index k.

        Returns:
            The anomaly. ``info`` holds ``entropy`` (of the location law, over log N), ``moved`` (centres moved so that
            the patch fits, 0 to 2), ``redraws``, ``changed_fraction``, ``below_minimum`` and the placement.

        Raises:
            DataError: an image that is constant, not finite, too small or not [C, H, W]; an unusable saliency map.
        """
        check_image(image)
        return self._sample(image, saliency, seed, index, "the image")

    def _sample(
        self, image: np.ndarray, saliency: np.ndarray | None, seed: Seed, index: int, what: str
    ) -> SyntheticSample:
        check_contrast(float(image.min()), float(image.max()), what)
        law = self._law(saliency, *image.shape[1:])
        generator = sample_generator(seed, index)
        best: _Draw | None = None
        redraws = -1
        while redraws < self.max_redraws and not self._suffices(best):
            redraws += 1
            placement = draw_placement(generator, self.patch, law)
            before, after = render(image, placement, self.blend, self.gradients)
            changed = np.abs(after - before).max(axis=0) > self.change_threshold
            fraction = float(np.count_nonzero(changed)) / placement.area
            if best is None or fraction > best.fraction:
                best = _Draw(fraction, placement, after, changed)
        assert best is not None
        info = self._info(best, law, redraws, what)
        result = image.copy()
        result[(slice(None), *_box(best.placement))] = best.values
        mask = best.placement.mask(*image.shape[1:])
        if self.mask_from == "difference":
            mask[_box(best.placement)] = best.changed
        return SyntheticSample(result, mask, 1, info)

    @torch.no_grad()
    def batch(
        self,
        images: torch.Tensor,
        saliency: torch.Tensor | None,
        seed: Seed,
        *,
        indices: Sequence[int] | None = None,
        names: Sequence[str] | None = None,
    ) -> SyntheticBatch:
        """Make one anomaly of every image, on the images' device.

        Args:
            images: floating point [B, C, H, W], values 0..1, none of them constant.
            saliency: [B, h, w], or None for ``uniform``.
            seed: as in ``sample``.
            indices: image k is seeded by ``(seed, indices[k])``; 0..B-1 unless given.
            names: how an error calls image k, e.g. its file; its position in the batch unless given.

        Returns:
            The anomalies; ``info[k]`` as in ``sample``.

        Raises:
            DataError: as in ``sample``, naming the image.
        """
        check_images(images, saliency)
        indices = range(len(images)) if indices is None else indices
        if len(indices) != len(images):
            raise ConfigError(f"indices: {len(indices)} were given for {len(images)} images")
        names = [f"image {k} of the batch" for k in range(len(images))] if names is None else names
        # MPS has no float64.
        if self.renderer == "per_image" or (self.renderer == "auto" and images.device.type in ("cpu", "mps")):
            return self._batch_per_image(images, saliency, seed, indices, names)
        return self._batch_on_device(images, saliency, seed, indices, names)

    def _batch_per_image(
        self,
        images: torch.Tensor,
        saliency: torch.Tensor | None,
        seed: Seed,
        indices: Sequence[int],
        names: Sequence[str],
    ) -> SyntheticBatch:
        pixels = images.detach().cpu().to(torch.float32).numpy()
        maps = [None] * len(images) if saliency is None else saliency.detach().cpu().to(torch.float64).numpy()
        made = [
            self._sample(image, grid, seed, index, name)
            for image, grid, index, name in zip(pixels, maps, indices, names, strict=True)
        ]
        return SyntheticBatch(
            torch.from_numpy(np.stack([sample.image for sample in made])).to(images),
            torch.from_numpy(np.stack([sample.mask for sample in made])[:, None]).to(images.device),
            torch.ones(len(made), device=images.device),
            [sample.info for sample in made],
        )

    def _batch_on_device(
        self,
        images: torch.Tensor,
        saliency: torch.Tensor | None,
        seed: Seed,
        indices: Sequence[int],
        names: Sequence[str],
    ) -> SyntheticBatch:
        count, _, height, width = images.shape
        limits, maps = to_host(images, saliency)
        for k, (low, high) in enumerate(limits):
            check_contrast(low, high, names[k])
        laws = [self._law(None if maps is None else maps[k], height, width) for k in range(count)]
        best, redraws = self._draw_batch(images, laws, [sample_generator(seed, index) for index in indices])

        info = [self._info(best[k], laws[k], redraws[k], names[k]) for k in range(count)]
        result = images.clone()
        region = np.zeros((count, 1, height, width), dtype=np.uint8)
        for k, draw in enumerate(best):
            result[(k, slice(None), *_box(draw.placement))] = torch.as_tensor(draw.values).to(result.dtype)
            region[k, 0] = draw.placement.mask(height, width)
        masks = torch.from_numpy(region).to(images.device)
        if self.mask_from == "difference":
            for k, draw in enumerate(best):
                masks[(k, 0, *_box(draw.placement))] = torch.as_tensor(draw.changed).to(torch.uint8)
        return SyntheticBatch(result, masks, torch.ones(count, device=images.device), info)

    def _draw_batch(
        self, images: torch.Tensor, laws: Sequence[LocationLaw], generators: Sequence[np.random.Generator]
    ) -> tuple[list[_Draw], list[int]]:
        """Draw and redraw: the best draw of every image and the number of its redraws. One read-back a round."""
        best: list[_Draw | None] = [None] * len(images)
        redraws = [-1] * len(images)
        pending = list(range(len(images)))
        while pending:
            placements = [draw_placement(generators[k], self.patch, laws[k]) for k in pending]
            part = images if len(pending) == len(images) else images[pending]
            rendered = []
            for group in render_batch(part, placements, self.blend, self.gradients):
                changed = (group.after - group.before).abs().amax(dim=1) > self.change_threshold
                rendered.append((group, changed, changed.sum(dim=(1, 2))))
            counts = torch.cat([count for _, _, count in rendered]).tolist()
            for group, changed, _ in rendered:
                for row, member in enumerate(group.members):
                    k, placement = pending[member], placements[member]
                    fraction = counts.pop(0) / placement.area
                    redraws[k] += 1
                    previous = best[k]
                    if previous is None or fraction > previous.fraction:
                        rows, columns = slice(placement.height), slice(placement.width)
                        best[k] = _Draw(
                            fraction, placement, group.after[row, :, rows, columns], changed[row, rows, columns]
                        )
            pending = [k for k in pending if redraws[k] < self.max_redraws and not self._suffices(best[k])]
        return [draw for draw in best if draw is not None], redraws

    def _suffices(self, draw: _Draw | None) -> bool:
        return draw is not None and 0 < draw.fraction >= self.min_changed_fraction

    def _law(self, saliency: np.ndarray | None, height: int, width: int) -> LocationLaw:
        return LocationLaw(saliency, height, width, self.location, self.temperature)

    def _info(self, draw: _Draw, law: LocationLaw, redraws: int, what: str) -> Info:
        if draw.fraction == 0:
            raise DataError(
                f"{what} is so even that none of {redraws + 1} patches changed a pixel by more than "
                f"{self.change_threshold:.4g}: leave it out, or lower change_threshold"
            )
        return {
            "entropy": law.entropy,
            "redraws": redraws,
            "changed_fraction": draw.fraction,
            "below_minimum": draw.fraction < self.min_changed_fraction,
            **draw.placement.record(),
        }


def _box(placement: Placement) -> tuple[slice, slice]:
    top, left = placement.top, placement.left
    return slice(top, top + placement.height), slice(left, left + placement.width)
