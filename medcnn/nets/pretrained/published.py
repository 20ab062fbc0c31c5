"""The weights that torchvision publishes, trained on ImageNet."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from medcnn.errors import UserError
from medcnn.nets.variants import pretrained_file


def published_state(name: str) -> Mapping[str, Tensor]:
    """Return the state dict of a net trained by torchvision (IMAGENET1K_V1), in its names.

    Downloaded once into ``torch.hub.get_dir()``/checkpoints; ``TORCH_HOME`` moves that.

    Args:
        name: Such as resnet50, densenet121, vgg16_bn.

    Raises:
        UserError: A net without published weights, or no way to get them.
    """
    file = pretrained_file(name)
    if file is None:
        raise UserError(
            f"model.pretrained=true: there are no published weights of {name} "
            "(see python -m medcnn.nets); give a file of your own with model.weights=…"
        )
    place = Path(torch.hub.get_dir(), "checkpoints", file)
    url = f"https://download.pytorch.org/models/{file}"
    try:
        return torch.hub.load_state_dict_from_url(
            url, progress=False, check_hash=True, map_location="cpu", weights_only=True
        )
    except Exception as error:  # of the network, the hash, or unpickling a damaged file
        if place.exists():
            raise UserError(
                f"model.pretrained=true: {place} can't be read; delete it to download it anew"
            ) from error
        reason = getattr(error, "reason", None) or error
        raise UserError(
            f"model.pretrained=true: can't get {file} ({reason}); put the file at {place}, or give "
            "its place with model.weights=…"
        ) from error
