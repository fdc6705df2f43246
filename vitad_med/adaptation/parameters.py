"""Which parameters adaptation changes."""

from __future__ import annotations

from torch import nn

from vitad_med.networks.proxy import ProxyNetwork


def select_adapted(network: ProxyNetwork) -> dict[str, nn.Parameter]:
    """Make the LayerNorm affine parameters of the encoder and the head the only ones that learn.

    These are the paper's, for every method (section 4.2). The weights of the heads, the affine part of the map and the
    auxiliary classifiers stay as trained; ``network`` is put into evaluation mode.

    Returns:
        Name in ``network.named_parameters()`` to parameter, in that order.
    """
    network.eval().requires_grad_(False)
    chosen = {id(parameter) for parameter in network.head.parameters()}
    for module in network.encoder.modules():
        if isinstance(module, nn.LayerNorm):
            chosen |= {id(parameter) for parameter in module.parameters()}
    adapted = {name: parameter for name, parameter in network.named_parameters() if id(parameter) in chosen}
    for parameter in adapted.values():
        parameter.requires_grad_(True)
    return adapted
