"""`vitad-med stats` on real radiographs: made, in parts, merged, shown, and every way to be refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from vitad_med.adaptation.statistics import SourceStatistics, read_statistics
from vitad_med.cli import main
from vitad_med.data.registry import read_cases
from vitad_med.data.roster import patient_keys, patient_names
from vitad_med.data.splits import data_digest
from vitad_med.engines.setup import training_cases
from vitad_med.errors import ConfigError, WeightsError
from vitad_med.networks.proxy import ProxyNetwork
from vitad_med.networks.state import save_model

ROOT = Path(__file__).resolve().parents[2]
SIZE = 64
MAKE = ("--bundle", str(ROOT / "bundles" / "attn_synth"), "--device", "cpu", "--set", f"image_size={SIZE}")
NOBODY = {"sex": None, "view": None, "age": None, "category": None}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small untrained network whose attention differs between images."""
    path = tmp_path_factory.mktemp("model") / "model.pt"
    torch.manual_seed(0)
    network = ProxyNetwork("vit_tiny_patch16_224", "none", SIZE, head_hidden=512, detail_width=24)
    with torch.no_grad():
        for parameter in network.encoder.blocks.parameters():
            parameter.mul_(3)
    save_model(path, network)
    return path


@pytest.fixture(scope="module")
def made(nih_mini: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of all training images, in the order that the reader gives."""
    path = tmp_path_factory.mktemp("made") / "all.safetensors"
    assert main(["stats", str(nih_mini), *MAKE, "--weights", str(model), "--out", str(path)]) == 0
    return path


def make(out: Path, dataset: Path, model: Path, *words: str) -> SourceStatistics:
    assert main(["stats", str(dataset), *MAKE, "--weights", str(model), "--out", str(out), *words]) == 0
    return read_statistics(out)


def test_it_holds_the_training_images_and_says_so(
    made: Path, nih_mini: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = read_statistics(made)
    cases = training_cases("nih_chestxray14", str(nih_mini), 0.1, 0, NOBODY)
    assert found.count.tolist() == [len(cases)] * 2
    assert found.grid == (4, 4)
    assert found.data_digests == (data_digest(cases),)
    assert found.patients == patient_keys(cases, None)
    held = read_cases("nih_chestxray14", nih_mini, "val", val_fraction=0.1, split_seed=0)
    assert not found.patients & set(patient_names(held, None))
    # Rows that sum to 1 have an entropy of at most log N, and real attention is not even.
    assert 0 < found.mean.min() <= found.mean.max() < torch.tensor(16.0).log()
    assert bool((found.squares > 0).all())
    assert not torch.equal(found.mean[0], found.mean[1])
    assert main(["stats", "show", str(made)]) == 0
    shown = capsys.readouterr().out
    for words in (
        f"{len(cases)} normal, {len(cases)} synthetic",
        "4 x 4, image_size 64",
        "entropy / log 16, normal",
        found.model_digest[:12],
        found.digest[:12],
    ):
        assert words in shown


def test_the_parts_merged_are_the_whole_whatever_the_batches(
    made: Path, nih_mini: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = [tmp_path / f"{number}.safetensors" for number in (1, 2)]
    for number, part in enumerate(parts, start=1):
        make(part, nih_mini, model, "--shard", f"{number}/2", "--set", f"batch_size={3 + number}")
    merged = tmp_path / "merged.safetensors"
    assert main(["stats", "merge", *map(str, parts[::-1]), "--out", str(merged)]) == 0
    one, whole = read_statistics(merged), read_statistics(made)
    assert one.count.tolist() == whole.count.tolist()
    assert one.patients == whole.patients
    # The same copies of the same images: what is left is float32 arithmetic in batches of another size.
    torch.testing.assert_close(one.mean, whole.mean, rtol=0, atol=1e-5)
    torch.testing.assert_close(one.squares, whole.squares, rtol=1e-3, atol=1e-6)
    capsys.readouterr()
    assert main(["stats", "merge", str(parts[0]), str(made), "--out", str(merged)]) == 2
    assert "patients of statistics 2 are in an earlier one" in capsys.readouterr().err
    assert [shard.split()[0] for shard in one.shards] == ["1/2", "2/2"]
    assert len({shard.split()[1] for shard in (*one.shards, *whole.shards)}) == 1
    assert read_statistics(merged).digest == one.digest  # the file before is intact


def test_the_same_command_gives_the_same_bytes_and_another_seed_other_copies(
    made: Path, nih_mini: Path, model: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again.safetensors"
    make(again, nih_mini, model)
    assert again.read_bytes() == made.read_bytes()
    other = make(tmp_path / "other.safetensors", nih_mini, model, "--seed", "1")
    whole = read_statistics(made)
    torch.testing.assert_close(other.mean[0], whole.mean[0], rtol=0, atol=1e-6)
    assert not torch.allclose(other.mean[1], whole.mean[1], rtol=0, atol=1e-6)


def test_global_views_are_other_statistics(made: Path, nih_mini: Path, model: Path, tmp_path: Path) -> None:
    found = make(tmp_path / "crops.safetensors", nih_mini, model, "--set", "statistics_views=global")
    assert found.views == "global"
    assert found.multicrop is not None
    assert "0.8" in found.multicrop
    assert not torch.allclose(found.mean[0], read_statistics(made).mean[0], rtol=0, atol=1e-6)


def test_the_literal_reading_of_the_matrix(made: Path, nih_mini: Path, model: Path, tmp_path: Path) -> None:
    found = make(tmp_path / "literal.safetensors", nih_mini, model, "--set", "renormalise_rows=false")
    assert not found.renormalise_rows
    assert not torch.allclose(found.mean, read_statistics(made).mean, rtol=0, atol=1e-3)


def test_statistics_of_another_model_or_image_size_are_refused(made: Path) -> None:
    found = read_statistics(made)
    found.check(found.model_digest, found.pipeline, True, (4, 4))
    with pytest.raises(WeightsError, match="another model"):
        found.check("0" * 64, found.pipeline, True, (4, 4))
    with pytest.raises(ConfigError, match="image_size 64"):
        found.check(found.model_digest, {**found.pipeline, "image_size": 224}, True, (14, 14))
    with pytest.raises(ConfigError, match="amp False, here it is True"):
        found.check(found.model_digest, {**found.pipeline, "amp": True}, True, (4, 4))


def test_a_hospitals_patients_are_named_under_its_key_or_not_at_all(
    nih_mini: Path, model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ward = tmp_path / "ward"
    normals = [case.image_path for case in read_cases("nih_chestxray14", nih_mini, "train")]
    for number, image in enumerate(normals[:12]):
        patient = ward / f"JONES^MARY^{number // 2}"
        patient.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, patient / image.name)
    words = ("--data", "image_folder", "--set", "val_fraction=0.2")
    found = make(tmp_path / "unnamed.safetensors", ward, model, *words)
    assert not found.patients_known
    assert found.patients == frozenset()
    shown = capfd.readouterr()
    assert "not known" in shown.out
    assert "JONES" not in shown.out + shown.err

    halves = [tmp_path / f"half{number}.safetensors" for number in (1, 2)]
    for number, half in enumerate(halves, start=1):
        make(half, ward, model, *words, "--shard", f"{number}/2")
    merged = tmp_path / "merged.safetensors"
    assert main(["stats", "merge", *map(str, halves), "--out", str(merged)]) == 0
    assert read_statistics(merged).count.tolist() == found.count.tolist()
    capfd.readouterr()
    for other, why in ((tmp_path / "unnamed.safetensors", "shards 1/2 and 1/1"), (halves[0], "name each part once")):
        assert main(["stats", "merge", str(halves[0]), str(other), "--out", str(merged)]) == 2
        assert why in capfd.readouterr().err

    (tmp_path / "site.key").write_text("7d1e" * 16)
    key = ("--identifier_key_file", str(tmp_path / "site.key"))
    found = make(tmp_path / "named.safetensors", ward, model, *words, *key)
    cases = training_cases("image_folder", str(ward), 0.2, 0, NOBODY)
    assert found.patients == patient_keys(cases, b"7d1e" * 16)
    assert len(found.patients) == 5
    written = (tmp_path / "named.safetensors").read_bytes()
    assert b"JONES" not in written
    assert not any(image.stem.encode() in written for image in normals[:12])
    assert b"7d1e7d1e" not in written


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--shard", "3/2"), "shard is '3/2'"),
        (("--shard", "1/1000"), "patients make no 1000 parts"),
        (("--weights", "absent.pt"), "absent.pt"),
        (("--bundle", "/nowhere"), "--bundle /nowhere has no configs/summarize.json"),
        (("--set", "statistics_views=local"), "--statistics_views is 'local'"),
        (("--set", "image_sise=64"), "did you mean '--image_size'"),
        (("--set", "output_dir=x"), "--set output_dir"),
        (("--set", "bundle_root=x"), "--set bundle_root"),
        (("--identifier_key_file", "absent.key"), "absent.key"),
        (("--out", "/"), "is a folder"),
    ],
)
def test_mistakes_are_one_sentence_and_nothing_is_written(
    nih_mini: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], named: str
) -> None:
    out = tmp_path / "s.safetensors"
    assert main(["stats", str(nih_mini), *MAKE, "--weights", str(model), "--out", str(out), *words]) == 2
    shown = capsys.readouterr().err
    assert named in shown
    assert shown.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in shown
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["data"], "give --bundle"),
        (["data", "--bundle", "bundles/attn_synth"], "--out is missing"),
        (["data", "more", "--bundle", "x", "--out", "y"], "more too was given"),
        (["merge", "a.safetensors", "--out", "b"], "at least two files"),
        (["merge", "a", "b"], "--out is missing"),
        (["merge", "a", "b", "--out", "c", "--seed", "1"], "--seed does not apply to `vitad-med stats merge`"),
        (["merge", "a", "b", "--out", "c"], "'a' do not exist"),
        (["show"], "0 were given"),
        (["show", "a"], "'a' do not exist"),
        (["show", "a", "--out", "b"], "--out does not apply"),
    ],
)
def test_wrong_words(words: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stats", *words]) == 2
    assert named in capsys.readouterr().err


def test_a_damaged_file_is_named(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(made.read_bytes()[:-10])
    assert main(["stats", "show", str(damaged)]) == 2
    assert "damaged.safetensors' are no safetensors file, or damaged" in capsys.readouterr().err
