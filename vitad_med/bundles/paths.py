"""Default folders of a bundle."""

from __future__ import annotations

from pathlib import Path

from vitad_med.errors import DataError


def example_dataset(bundle_root: str | Path, name: str = "nih_mini") -> str:
    """The embedded data set of the repository that holds the bundle: ``<repository>/examples/<name>``.

    Args:
        bundle_root: ``<repository>/bundles/<bundle>``.

    Raises:
        DataError: the bundle was copied away from its repository.
    """
    folder = Path(bundle_root).resolve().parent.parent / "examples" / name
    if not folder.is_dir():
        raise DataError(
            f"the example images '{name}' do not lie beside the bundle '{Path(bundle_root).name}': "
            "give --dataset_dir the folder of your images"
        )
    return str(folder)


def output_folder(bundle_root: str | Path) -> str:
    """``outputs/<bundle>`` in the current directory, absolute so that a later change of directory does no harm."""
    return str(Path.cwd() / "outputs" / Path(bundle_root).resolve().name)
