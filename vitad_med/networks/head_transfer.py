"""The head of pre-training as the start of the proxy task's head (AAAI 2023): they differ in the last layer alone."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from vitad_med.errors import WeightsError
from vitad_med.networks.proxy import ProxyNetwork

TRUNK = "head.trunk."


def transfer_head(network: ProxyNetwork, weights: str, enabled: bool) -> ProxyNetwork:
    """Load all layers of the head but the last from the file that the encoder came from.

    Args:
        network: changed in place.
        weights: where its encoder started; a ``.safetensors`` file that also holds the head's layers, as
            ``head.trunk.*``. Reading an encoder leaves these out, so such a file serves every bundle.
        enabled: False does nothing.

    Returns:
        The same network.

    Raises:
        WeightsError: no such file, one without a head, or a head of another shape.
    """
    if not enabled:
        return network
    stored = _stored(weights)
    own: dict[str, Tensor] = network.head.trunk.state_dict()
    shapes = [{name: tuple(value.shape) for name, value in state.items()} for state in (stored, own)]
    if shapes[0] != shapes[1]:
        raise WeightsError(
            f"the head in '{weights}' has other layers than this network's: pre-train with head_hidden "
            f"{own['0.weight'].shape[0]} and without head_batch_norm, or set transfer_head to False"
        )
    network.head.trunk.load_state_dict(stored)
    return network


def _stored(weights: str) -> dict[str, Tensor]:
    """Layers of the head in a file, by their names in the trunk."""
    path = Path(weights)
    found: dict[str, Tensor] = {}
    if path.suffix == ".safetensors" and path.is_file():
        try:
            with safe_open(path, framework="pt") as file:
                names = [name for name in file.keys() if name.startswith(TRUNK)]  # noqa: SIM118 - no mapping
                found = {name.removeprefix(TRUNK): file.get_tensor(name).float() for name in names}
        except SafetensorError as error:
            raise WeightsError(f"weights file '{weights}' is no readable safetensors file: {error}") from error
    if not found:
        raise WeightsError(
            f"weights '{weights}' hold no head of pre-training: give weights the .safetensors file of a pre-training "
            "that kept its head, or set transfer_head to False"
        )
    return found
