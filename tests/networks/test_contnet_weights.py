"""ConTNet checkpoints in the authors' naming: made state dicts in, the same tensors at their places out."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vitad_med.checkpoint import save_safetensors
from vitad_med.errors import WeightsError
from vitad_med.networks.contnet_weights import authors_name, build_contnet, contnet_from_state, own_name

# Of ConTNet-B, by stage, written out: the network under test must not be its own measure.
WIDTHS, BLOCKS, HEADS = (64, 128, 256, 512), (3, 4, 6, 3), (1, 2, 4, 8)
HIDDEN, PATCHES = (256, 512, 1024, 1024), ((7, 14), (7, 14), (7, 14), (7, 7))


def authors_state(relative: bool = False, pooled: bool = False, qkv_bias: bool = True) -> dict[str, Tensor]:
    """Names and shapes as the authors' code writes them, apart from our network; no two are equal."""
    shapes: dict[str, tuple[int, ...]] = {"layer0.conv.conv.weight": (64, 3, 7, 7)}
    for stage, (width, count) in enumerate(zip(WIDTHS, BLOCKS, strict=True)):
        last = stage == len(WIDTHS) - 1
        for block in range(count):
            at = f"layer{stage + 1}.ConTBlock{block}"
            for leaf in ("weight", "bias", "running_mean", "running_var"):
                shapes[f"{at}.bn.{leaf}"] = (width,)
            shapes[f"{at}.bn.num_batches_tracked"] = ()
            for number, patch in enumerate(PATCHES[stage], start=1):
                ste = f"{at}.ste{number}"
                if relative:
                    shapes[f"{ste}.attn.relative_position_bias_table"] = ((2 * patch - 1) ** 2, HEADS[stage])
                    shapes[f"{ste}.attn.relative_position_index"] = (patch**2, patch**2)
                else:
                    shapes[f"{ste}.pe.0"] = (1, patch, 1, width // 2)
                    shapes[f"{ste}.pe.1"] = (1, 1, patch, width // 2)
                shapes[f"{ste}.attn.qkv.weight"] = (3 * width, width)
                if qkv_bias:
                    shapes[f"{ste}.attn.qkv.bias"] = (3 * width,)
                for name, out, inner in (
                    ("attn.proj", width, width),
                    ("mlp.fc1", HIDDEN[stage], width),
                    ("mlp.fc2", width, HIDDEN[stage]),
                ):
                    shapes[f"{ste}.{name}.weight"] = (out, inner)
                    shapes[f"{ste}.{name}.bias"] = (out,)
                for name in ("norm1", "norm2"):
                    shapes |= {f"{ste}.{name}.weight": (width,), f"{ste}.{name}.bias": (width,)}
            out = 2 * width if block == count - 1 else width
            kernel = 1 if last and block == count - 1 else 3
            shapes[f"{at}.out_conv.conv.weight"] = (out, width, kernel, kernel)
            if out != width:
                inner = "downsample.conv.conv" if pooled and not last else "downsample.conv"
                shapes[f"{at}.{inner}.weight"] = (out, width, 1, 1)
    shapes |= {"fc.weight": (1000, 1024), "fc.bias": (1000,)}
    values = torch.arange(5_000_000, dtype=torch.float32)
    return {
        name: values[start : start + math.prod(shape)].reshape(shape) if shape else torch.tensor(5)
        for start, (name, shape) in enumerate(shapes.items())
    }


@pytest.mark.parametrize(("relative", "pooled"), [(False, False), (True, False), (False, True)])
def test_every_tensor_finds_its_place(relative: bool, pooled: bool) -> None:
    state = authors_state(relative, pooled)
    network = contnet_from_state(state, "conT-B.pth")
    own = network.state_dict()
    used = set()
    for theirs, value in state.items():
        ours = own_name(theirs)
        if ours is None:
            assert theirs.startswith("fc.") or theirs.endswith("relative_position_index")
            continue
        used.add(ours)
        assert torch.equal(own[ours].flatten(), value.flatten()), theirs
        assert authors_name(ours, pooled) == theirs
    assert used == set(own)


def test_a_checkpoint_of_the_authors_trainer_is_read(tmp_path: Path) -> None:
    state = authors_state()
    path = tmp_path / "model_best.pth"
    torch.save({"model": {f"module.{name}": value for name, value in state.items()}, "epoch": 200}, path)
    network, (mean, std) = build_contnet(str(path))
    assert mean == pytest.approx((0.485, 0.456, 0.406))
    assert std == pytest.approx((0.229, 0.224, 0.225))
    assert not network.training
    assert torch.equal(network.stem.weight, state["layer0.conv.conv.weight"])
    rows = network.state_dict()["stages.2.4.encoders.1.row_embedding"]
    assert torch.equal(rows, state["layer3.ConTBlock4.ste2.pe.0"][0])


def test_a_safetensors_file_names_its_statistics(tmp_path: Path) -> None:
    path = tmp_path / "cont.safetensors"
    save_safetensors(
        path, {n: v.clone() for n, v in authors_state().items()}, {"mean": "[0.1, 0.2, 0.3]", "std": "[0.4, 0.5, 0.6]"}
    )
    assert build_contnet(str(path))[1] == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


def test_missing_unknown_and_misshapen_tensors_are_named() -> None:
    state = authors_state()
    del state["layer2.ConTBlock1.ste2.mlp.fc1.bias"]
    with pytest.raises(WeightsError, match=r"'conT\.pth' are not .*'layer2\.ConTBlock1\.ste2\.mlp\.fc1\.bias' missing"):
        contnet_from_state(state, "conT.pth")
    state = authors_state() | {"layer5.ConTBlock0.bn.weight": torch.ones(1), "layer5.ConTBlock0.bn.bias": torch.ones(1)}
    with pytest.raises(WeightsError, match=r"'layer5\.ConTBlock0\.bn\.weight' and 1 more unknown"):
        contnet_from_state(state, "conT.pth")
    state = authors_state() | {"layer4.ConTBlock2.out_conv.conv.weight": torch.ones(1024, 512, 3, 3)}
    with pytest.raises(WeightsError, match=r"'layer4\.ConTBlock2\.out_conv\.conv\.weight' of another shape"):
        contnet_from_state(state, "conT.pth")
    with pytest.raises(WeightsError, match=r"'layer1\.ConTBlock2\.downsample\.conv\.weight' missing"):
        contnet_from_state(
            {n: v for n, v in authors_state().items() if n != "layer1.ConTBlock2.downsample.conv.weight"}, "c"
        )


def test_a_checkpoint_without_biases_of_queries_is_refused_by_name() -> None:
    with pytest.raises(WeightsError, match=r"'layer1\.ConTBlock0\.ste1\.attn\.qkv\.bias' and 31 more missing"):
        contnet_from_state(authors_state(qkv_bias=False), "conT.pth")


def test_random_weights_must_be_asked_for(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no package carries trained ones.*'random'"):
        build_contnet()
    with pytest.raises(WeightsError, match="no package carries trained ones"):
        build_contnet("imagenet")
    with pytest.raises(WeightsError, match="does not exist"):
        build_contnet(str(tmp_path / "none.pth"))
    network, _ = build_contnet("random")
    assert sum(parameter.numel() for parameter in network.parameters()) > 3e7
