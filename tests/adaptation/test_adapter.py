"""One update at a time: what learns, what is taken back, and the way home to the source model."""

from __future__ import annotations

import copy
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vitad_med.adaptation.adapter import GuardMode, TestTimeAdapter
from vitad_med.adaptation.audit import AuditLog, read_audit
from vitad_med.adaptation.guard import Guard
from vitad_med.adaptation.methods import Alignment, Continued, Method, PseudoLabel, Tent, create_method
from vitad_med.adaptation.parameters import select_adapted
from vitad_med.errors import ConfigError
from vitad_med.networks.proxy import ProxyNetwork
from vitad_med.objectives.alignment import AlignmentLoss
from vitad_med.objectives.proxy import ProxyLoss, Views

SIZE = 32
TOKENS = (SIZE // 16) ** 2


@pytest.fixture
def network() -> ProxyNetwork:
    torch.manual_seed(0)
    made = ProxyNetwork(weights="none", image_size=SIZE, head_hidden=32, head_bottleneck=16, detail_width=4)
    # An untrained network says nearly the same of every image; larger weights let it say something.
    with torch.no_grad():
        for parameter in made.encoder.blocks.parameters():
            parameter.mul_(3)
        for parameter in made.head.parameters():
            parameter.mul_(8)
    return made.eval()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(8, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


class FixedAlignment(Alignment):
    """Alignment to statistics that the images do not have."""

    def __init__(self) -> None:
        self.renormalise = True
        mean = torch.full((2, TOKENS), 1.0)
        self.criterion = AlignmentLoss(mean, torch.full((2, TOKENS), 0.1))


def continued() -> Continued:
    masks = torch.zeros(4, 1, SIZE, SIZE)
    masks[2:, :, 4:20, 4:20] = 1
    views = Views(torch.rand(4, 1, SIZE, SIZE), torch.tensor([0, 0, 1, 1]), masks, True)
    return Continued(lambda step: [views], ProxyLoss(0.5, "all_synthetic", 1.0))


def state(network: ProxyNetwork) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def changed(network: ProxyNetwork, before: dict[str, Tensor]) -> set[str]:
    return {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}


METHODS = {"alignment": FixedAlignment, "tent": Tent, "pseudo_label": PseudoLabel, "continued": continued}


def test_layer_norms_of_the_encoder_and_the_head_learn_and_nothing_else(network: ProxyNetwork) -> None:
    adapted = select_adapted(network)
    norms = [name for name in adapted if name.startswith("encoder.")]
    # Two in each of twelve blocks and the last one, each a weight and a bias.
    assert len(norms) == 50
    assert all("norm" in name for name in norms)
    assert {name for name in adapted if not name.startswith("encoder.")} == {
        f"head.{name}" for name, _ in network.head.named_parameters()
    }
    assert {name for name, p in network.named_parameters() if p.requires_grad} == set(adapted)


def test_alignment_reaches_46_of_50_norm_tensors_and_no_parameter_of_the_head(
    network: ProxyNetwork, images: Tensor
) -> None:
    adapted = select_adapted(network)
    loss, _ = FixedAlignment().loss(network, images, 0)
    loss.backward()
    reached = {name for name, p in adapted.items() if p.grad is not None and bool(p.grad.abs().sum() > 0)}
    assert len([name for name in reached if name.startswith("encoder.")]) == 46
    # The last block's second norm and the final norm come after the attention that is aligned.
    unreached = {name for name in adapted if name.startswith("encoder.")} - reached
    assert {name.rsplit(".", 1)[0] for name in unreached} == {"encoder.blocks.11.norm2", "encoder.norm"}
    assert all(p.grad is None for name, p in adapted.items() if name.startswith("head."))


@pytest.mark.parametrize("name", ["tent", "pseudo_label"])
def test_the_baselines_reach_the_head(network: ProxyNetwork, images: Tensor, name: str) -> None:
    adapted = select_adapted(network)
    loss, _ = METHODS[name]().loss(network, images, 0)
    loss.backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for n, p in adapted.items() if n.startswith("head."))


@pytest.mark.parametrize("name", METHODS)
def test_an_update_lowers_the_loss_and_changes_adapted_parameters_only(
    network: ProxyNetwork, images: Tensor, name: str
) -> None:
    before = state(network)
    adapter = TestTimeAdapter(network, METHODS[name](), learning_rate=1e-3)
    losses = [adapter.step(images).loss for _ in range(6)]
    assert losses[-1] < losses[0]
    assert changed(network, before) <= set(adapter.parameters)
    assert changed(network, before)


def test_predictions_from_before_and_after_the_update_are_both_given(network: ProxyNetwork, images: Tensor) -> None:
    plain = network.train_outputs(images)
    adapter = TestTimeAdapter(network, Tent(), learning_rate=1e-2)
    step = adapter.step(images)
    torch.testing.assert_close(step.before.logits, plain.logits, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(step.after.logits, network.train_outputs(images).logits)
    assert not torch.allclose(step.before.logits, step.after.logits, atol=1e-4)


def test_no_method_changes_nothing(network: ProxyNetwork, images: Tensor) -> None:
    before = state(network)
    step = TestTimeAdapter(network, None).step(images)
    assert step.loss is None
    assert torch.equal(step.before.logits, step.after.logits)
    assert not changed(network, before)


def test_the_loss_sees_the_chosen_images_only(network: ProxyNetwork, images: Tensor) -> None:
    chosen = torch.tensor([True] * 3 + [False] * 5)
    other = images.clone()
    other[3:] = 0.5

    def adapter() -> TestTimeAdapter:
        return TestTimeAdapter(copy.deepcopy(network), Tent(), learning_rate=1e-12)

    first = adapter().step(images, chosen)
    assert len(first.after.logits) == 8
    second = adapter().step(other, chosen)
    assert first.loss == pytest.approx(second.loss, rel=1e-5)
    whole = adapter().step(other)
    assert whole.loss != pytest.approx(second.loss, rel=1e-3)


def test_a_batch_in_which_no_image_takes_part_changes_nothing(network: ProxyNetwork, images: Tensor) -> None:
    before = state(network)
    step = TestTimeAdapter(network, Tent()).step(images, torch.zeros(8, dtype=torch.bool))
    assert (step.loss, step.decision) == (None, "kept")
    assert step.reason is not None
    assert not changed(network, before)


@pytest.mark.parametrize("name", ["alignment", "tent", "pseudo_label"])
def test_a_batch_of_one_image(network: ProxyNetwork, images: Tensor, name: str) -> None:
    step = TestTimeAdapter(network, METHODS[name]()).step(images[:1])
    assert step.decision == "kept"
    assert step.loss is not None
    assert torch.isfinite(step.after.logits).all()


def test_episodic_adaptation_leaves_the_weights_bit_identical_after_each_batch(
    network: ProxyNetwork, images: Tensor
) -> None:
    before = state(network)
    adapter = TestTimeAdapter(network, Tent(), learning_rate=1e-2, episodic=True)
    first = adapter.step(images)
    assert not changed(network, before)
    # Momentum does not leak either: the same batch again gives the same, bit for bit.
    second = adapter.step(images)
    assert torch.equal(first.after.logits, second.after.logits)
    assert not torch.equal(first.before.logits, first.after.logits)
    assert not changed(network, before)


def test_reset_restores_the_source_model_exactly(network: ProxyNetwork, images: Tensor, tmp_path: Path) -> None:
    before = state(network)
    adapter = TestTimeAdapter(network, Tent(), learning_rate=1e-2, audit=AuditLog(tmp_path / "audit.jsonl"))
    first = adapter.step(images)
    adapter.step(images)
    assert changed(network, before)
    adapter.reset()
    assert not changed(network, before)
    assert torch.equal(adapter.step(images).after.logits, first.after.logits)
    assert [line["event"] for line in read_audit(tmp_path / "audit.jsonl")] == ["step", "step", "reset", "step"]


def guard_of(images: Tensor) -> Guard:
    normals = images.repeat(3, 1, 1, 1)[:20]
    synthetic = normals.clone()
    synthetic[:, :, 8:24, 8:24] = 1 - synthetic[:, :, 8:24, 8:24]
    return Guard(normals, synthetic, [str(k) for k in range(20)], replicates=200)


class Ruin(Tent):
    """A method whose gradient ruins the model at once."""

    def loss(self, network: ProxyNetwork, images: Tensor, step: int):
        output = network.train_outputs(images)
        return -100 * output.logits[:, 1].mean(), output


class NotANumber(Tent):
    def loss(self, network: ProxyNetwork, images: Tensor, step: int):
        output = network.train_outputs(images)
        return output.logits.mean() * float("nan"), output


def test_a_ruinous_update_is_taken_back_bit_for_bit(network: ProxyNetwork, images: Tensor, tmp_path: Path) -> None:
    before = state(network)
    audit = AuditLog(tmp_path / "audit.jsonl")
    adapter = TestTimeAdapter(network, Ruin(), learning_rate=0.5, guard=guard_of(images), audit=audit)
    step = adapter.step(images)
    assert step.decision == "rolled_back"
    assert "mean score" in (step.reason or "")
    assert not changed(network, before)
    assert torch.equal(step.before.logits, step.after.logits)
    (line,) = read_audit(audit.path)
    assert line["decision"] == "rolled_back"
    assert line["guard"]["mean_score"] > 0
    assert (adapter.tally.rolled_back, adapter.tally.undone, adapter.tally.alarms) == (1, 1, 1)
    # What is told of the guard is told of the model as it is, not of the one that was refused.
    assert adapter.guard_range is not None
    assert adapter.approved_reading is not None
    assert adapter.approved_reading.auroc == adapter.guard_range.auroc


@pytest.mark.parametrize("name", ["tent", "pseudo_label"])
def test_a_stream_of_constant_images_does_not_get_through(network: ProxyNetwork, images: Tensor, name: str) -> None:
    """A shutter left closed, a blank export: whatever such a stream teaches is taken back when it shows."""
    adapter = TestTimeAdapter(network, METHODS[name](), learning_rate=0.5, clip_norm=100.0, guard=guard_of(images))
    limits = adapter.guard_range
    assert limits is not None
    blank = torch.full_like(images, 0.8)
    for _ in range(6):
        adapter.step(blank)
    assert adapter.tally.rolled_back > 0
    reading = guard_of(images)
    reading.range = limits
    assert reading.read(adapter.score).reason is None


def test_an_observing_guard_writes_what_it_would_do_and_does_nothing(
    network: ProxyNetwork, images: Tensor, tmp_path: Path
) -> None:
    before = state(network)
    audit = AuditLog(tmp_path / "audit.jsonl")
    adapter = TestTimeAdapter(
        network, Ruin(), learning_rate=0.5, guard=guard_of(images), guard_mode="observe", audit=audit
    )
    step = adapter.step(images)
    assert step.decision == "kept"
    assert "mean score" in (step.reason or "")
    assert changed(network, before)
    assert (adapter.tally.rolled_back, adapter.tally.alarms) == (0, 1)


@pytest.mark.parametrize("guarded", [True, False])
def test_a_loss_that_is_no_number_changes_nothing(network: ProxyNetwork, images: Tensor, guarded: bool) -> None:
    before = state(network)
    guard = guard_of(images) if guarded else None
    adapter = TestTimeAdapter(network, NotANumber(), guard=guard)
    step = adapter.step(images)
    assert (step.decision, step.reason) == ("skipped", "the loss is not finite")
    assert not changed(network, before)
    assert (adapter.tally.updates, adapter.tally.skipped, adapter.tally.rolled_back) == (0, 1, 0)


class NotANumberThird(Tent):
    """Sound twice, then no number."""

    def loss(self, network: ProxyNetwork, images: Tensor, step: int):
        loss, output = super().loss(network, images, step)
        return loss * (float("nan") if step == 2 else 1.0), output


@pytest.mark.parametrize("mode", ["rollback", "observe", "off"])
def test_a_loss_that_is_no_number_undoes_what_the_guard_has_not_read(
    network: ProxyNetwork, images: Tensor, tmp_path: Path, mode: GuardMode
) -> None:
    before = state(network)
    audit = AuditLog(tmp_path / "audit.jsonl")
    adapter = TestTimeAdapter(
        network,
        NotANumberThird(),
        learning_rate=1e-2,
        guard=guard_of(images),
        guard_mode=mode,
        guard_interval=5,
        audit=audit,
    )
    adapter.step(images)
    second = adapter.step(images)
    kept = state(network)
    third = adapter.step(images)
    taken_back = mode == "rollback"
    assert third.decision == ("rolled_back" if taken_back else "skipped")
    assert not changed(network, before if taken_back else kept)
    assert (adapter.tally.rolled_back, adapter.tally.undone) == ((1, 2) if taken_back else (0, 0))
    assert (adapter.tally.updates, adapter.tally.skipped) == (2, 1)
    # The prediction that counts is that of the model as it is now.
    torch.testing.assert_close(third.after.logits, adapter.outputs(images).logits, rtol=0, atol=1e-4)
    torch.testing.assert_close(third.before.logits, second.after.logits, rtol=0, atol=1e-4)
    assert [line["decision"] for line in read_audit(audit.path)] == ["kept", "kept", third.decision]


def test_several_updates_between_readings_are_taken_back_together(network: ProxyNetwork, images: Tensor) -> None:
    before = state(network)
    adapter = TestTimeAdapter(network, Ruin(), learning_rate=0.5, guard=guard_of(images), guard_interval=3)
    decisions = [adapter.step(images).decision for _ in range(3)]
    assert decisions == ["kept", "kept", "rolled_back"]
    assert not changed(network, before)
    assert adapter.tally.undone == 3


def test_updates_that_the_guard_never_read_are_read_at_the_end(network: ProxyNetwork, images: Tensor) -> None:
    before = state(network)
    adapter = TestTimeAdapter(network, Ruin(), learning_rate=0.5, guard=guard_of(images), guard_interval=5)
    adapter.step(images)
    assert changed(network, before)
    adapter.close()
    assert not changed(network, before)
    adapter.close()
    assert adapter.tally.readings == 1


def test_an_interrupted_adaptation_goes_on_bit_for_bit(network: ProxyNetwork, images: Tensor) -> None:
    def adapter(of: ProxyNetwork) -> TestTimeAdapter:
        return TestTimeAdapter(of, Tent(), learning_rate=1e-2, guard=guard_of(images), guard_interval=2)

    source = state(network)
    whole = adapter(network)
    for _ in range(3):
        whole.step(images)
    saved = whole.state_dict()
    expected = whole.step(images)
    assert whole.step(images).decision == "kept"

    network.load_state_dict(source)
    again = adapter(network)
    again.load_state_dict(saved)
    assert again.approved_reading is not None
    assert asdict(again.approved_reading) == saved["approved_reading"]
    assert torch.equal(again.step(images).after.logits, expected.after.logits)
    again.reset()
    assert not changed(network, source)


@pytest.mark.parametrize("options", [{"guard_mode": "strict"}, {"guard_interval": 0}])
def test_mistyped_options_are_refused(network: ProxyNetwork, options: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(options)).split("_")[0]):
        TestTimeAdapter(network, Tent(), **options)


@pytest.mark.parametrize("name", ["alignment", "continued", "alignement"])
def test_a_method_without_what_it_needs_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        create_method(name)


def test_methods_have_their_names() -> None:
    made: list[Method] = [Tent(), PseudoLabel(), FixedAlignment(), continued()]
    assert [method.name for method in made] == ["tent", "pseudo_label", "alignment", "continued"]


def test_without_predictions_nothing_is_computed_for_them(
    network: ProxyNetwork, images: Tensor, tmp_path: Path
) -> None:
    """The control does not look at the batch: its line says nothing of classes rather than something of one image."""
    audit = AuditLog(tmp_path / "audit.jsonl")
    adapter = TestTimeAdapter(network, METHODS["continued"](), audit=audit)
    assert adapter.step(images, predict=False).before is None
    assert adapter.step(images).before is not None
    first, second = (line["pseudo_classes"] for line in read_audit(audit.path))
    assert first is None
    assert sum(second.values()) == len(images)


def test_the_network_is_given_back_as_it_came(network: ProxyNetwork, images: Tensor) -> None:
    frozen = network.encoder.patch_embed.proj.weight.requires_grad_(False)
    fused = [block.attn.fused_attn for block in network.encoder.blocks]
    adapter = TestTimeAdapter(network, Tent())
    adapter.step(images)
    assert not network.encoder.blocks[0].attn.qkv.weight.requires_grad
    adapter.close()
    assert network.encoder.blocks[0].attn.qkv.weight.requires_grad
    assert not frozen.requires_grad
    assert [block.attn.fused_attn for block in network.encoder.blocks] == fused


def test_episodic_adaptation_is_guarded_at_any_interval(network: ProxyNetwork, images: Tensor) -> None:
    adapter = TestTimeAdapter(
        network, Ruin(), learning_rate=0.5, guard=guard_of(images), guard_interval=3, episodic=True
    )
    decisions = [adapter.step(images).decision for _ in range(6)]
    assert decisions == ["kept", "kept", "rolled_back", "kept", "kept", "rolled_back"]
    assert (adapter.tally.readings, adapter.tally.undone) == (2, 2)


def test_after_a_reset_the_guards_figures_are_the_sources(network: ProxyNetwork, images: Tensor) -> None:
    adapter = TestTimeAdapter(network, Ruin(), learning_rate=0.5, guard=guard_of(images), guard_mode="observe")
    source = adapter.approved_reading
    adapter.step(images)
    assert adapter.approved_reading != source
    adapter.reset()
    assert adapter.approved_reading == source
