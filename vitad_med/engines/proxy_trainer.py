"""MONAI trainer of the proxy task: micro-batches, mixed precision, and draws that follow from the step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
import torch.distributed as dist
from monai.engines import SupervisedTrainer
from monai.inferers import Inferer
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from vitad_med.engines.loading import to_unit_range
from vitad_med.engines.optimization import create_optimizer, parameter_groups
from vitad_med.engines.precision import Precision
from vitad_med.engines.proxy_task import ProxyTask, in_parts
from vitad_med.errors import ConfigError, VitadError
from vitad_med.networks.proxy import ProxyNetwork
from vitad_med.networks.vit import check_image_size, use_fused_attention
from vitad_med.objectives.proxy import ProxyLoss
from vitad_med.outputs import ProxyOutput


class TrainOutputs(nn.Module):
    """The network as training sees it: ``forward`` returns both outputs, so that DDP can wrap it."""

    def __init__(self, network: ProxyNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> ProxyOutput:
        """Class and map logits of images [B, C, H, W] in 0..1."""
        return self.network.train_outputs(images)


def proxy_optimizer(
    network: ProxyNetwork,
    optimizer: str,
    learning_rate: float,
    aggregator_lr: float,
    weight_decay: float = 0.0,
    momentum: float = 0.9,
    detail_lr: float = 2e-3,
) -> Optimizer:
    """Encoder and heads at ``learning_rate``; the aggregation at ``aggregator_lr``, the detail stem at ``detail_lr``.

    At the encoder's rate times lambda the aggregation stays where it started. The detail stem starts from nothing and
    learns at a higher rate than a pre-trained encoder stands.
    """
    groups = parameter_groups([network.encoder, network.head, network.token_head], weight_decay)
    if network.detail is not None:
        groups += parameter_groups([network.detail], weight_decay, lr=detail_lr)
    groups.append({"params": [p for p in network.aggregator.parameters() if p.requires_grad], "lr": aggregator_lr})
    groups[-1]["weight_decay"] = 0.0
    if optimizer not in ("sgd", "adamw"):
        raise ConfigError(f"optimizer '{optimizer}' is unknown: use 'sgd' or 'adamw'")
    return create_optimizer(groups, optimizer, learning_rate, momentum)  # type: ignore[arg-type]


class ProxyTrainer(SupervisedTrainer):
    """``SupervisedTrainer`` whose batches are made by :class:`~vitad_med.engines.proxy_task.ProxyTask`.

    Args:
        device: where to train.
        max_epochs: passes over the training images.
        train_data_loader: batches ``{"image": [B, C, S, S]}`` of stored integers, with ``name`` where they have one.
        network: the proxy network.
        task: makes the crops of a step.
        loss_function: the proxy loss.
        optimizer: see :func:`proxy_optimizer`.
        scheduler: stepped once an iteration.
        inferer: how the network is called; MONAI's ``SimpleInferer`` calls it plainly.
        micro_batch: global crops in one forward pass (local crops: four times as many); bounds memory, not the result
            beyond rounding.
        clip_norm: largest gradient norm of encoder and head; the aggregation is outside of it.
        amp: mixed precision where the device has it.
        distributed: wrap the network for several processes.
        train_handlers: MONAI handlers.
    """

    def __init__(
        self,
        device: torch.device | str,
        max_epochs: int,
        train_data_loader: DataLoader[dict[str, Any]],
        network: ProxyNetwork,
        task: ProxyTask,
        loss_function: ProxyLoss,
        optimizer: Optimizer,
        scheduler: LRScheduler,
        inferer: Inferer | None = None,
        micro_batch: int = 64,
        clip_norm: float = 1.0,
        amp: bool = True,
        distributed: bool = False,
        train_handlers: Sequence[Any] | None = None,
    ) -> None:
        super().__init__(
            device=torch.device(device),
            max_epochs=max_epochs,
            train_data_loader=train_data_loader,
            network=network,
            optimizer=optimizer,
            loss_function=loss_function,
            inferer=inferer,
            train_handlers=train_handlers,
            decollate=False,
        )
        if micro_batch < 1:
            raise ConfigError(f"micro_batch {micro_batch} must be at least 1")
        sizes = {"multicrop#global_size": task.multicrop.global_size}
        if task.multicrop.local_views:
            sizes["multicrop#local_size"] = task.multicrop.local_size
        for key, size in sizes.items():
            check_image_size(network.encoder, size, key)
        self.proxy = network
        self.criterion = loss_function
        self.task = task
        self.scheduler = scheduler
        self.micro_batch = micro_batch
        self.clip_norm = clip_norm
        self.precision = Precision.of(device, amp)
        self.grad_scaler = self.precision.scaler()
        on_gpu = torch.device(device).type != "cpu"
        use_fused_attention(network.encoder, on_gpu)
        self.rank = dist.get_rank() if distributed else 0
        self.outputs: nn.Module = TrainOutputs(network)
        if distributed:
            ids = [torch.device(device).index] if on_gpu else None
            self.outputs = DistributedDataParallel(self.outputs, device_ids=ids, find_unused_parameters=True)

    def _iteration(self, engine: ProxyTrainer, batchdata: dict[str, Any]) -> dict[str, Any]:  # type: ignore[override]
        """One optimisation step; ``monitors`` in the output feeds progress and tracking."""
        self.network.train()
        step = engine.state.iteration - 1
        with torch.no_grad():
            images = to_unit_range(batchdata["image"], engine.state.device, non_blocking=True)
            views = self.task(images, step, self.rank, batchdata.get("name"))
        criterion = self.criterion
        totals = criterion.totals(views)
        parts = [p for v in views for p in in_parts(v, self.micro_batch if v.is_global else 4 * self.micro_batch)]
        self.optimizer.zero_grad(set_to_none=True)
        loss = cross_entropy = dice = token = correct = 0.0
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            wrapped = isinstance(self.outputs, DistributedDataParallel)
            # Gradients of all parts are summed here and exchanged between processes once.
            with self.outputs.no_sync() if wrapped and not last else nullcontext():  # type: ignore[operator]
                with self.precision.autocast():
                    output = self.inferer(part.images, self.outputs)
                terms = criterion(output, part, totals)
                self.grad_scaler.scale(terms.loss).backward()
            loss += float(terms.loss.detach())
            cross_entropy += float(terms.cross_entropy)
            dice += float(terms.dice)
            token += float(terms.token)
            correct += float((output.logits.detach().argmax(dim=1) == part.labels).sum())
        if not math.isfinite(loss):
            raise VitadError(f"the loss is {loss} at step {step}: lower learning_rate, or set amp to False")
        self.grad_scaler.unscale_(self.optimizer)
        proxy = self.proxy
        outside = {id(p) for p in proxy.aggregator.parameters()}
        clipped = [p for p in proxy.parameters() if id(p) not in outside]
        norm = nn.utils.clip_grad_norm_(clipped, self.clip_norm)
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()
        self.scheduler.step()
        return {
            "monitors": {
                "loss": loss,
                "cross_entropy": cross_entropy,
                "dice": dice,
                "token": token,
                "accuracy": correct / totals[0],
                "gradient_norm": float(norm),
                "learning_rate": float(self.scheduler.get_last_lr()[0]),
                **self.task.monitors,
            }
        }
