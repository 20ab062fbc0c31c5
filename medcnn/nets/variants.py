"""The names under which nets were published, as family and options."""

from typing import Any

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "linear": ("linear", {}),
    "mlp": ("mlp", {}),
    "lenet": ("lenet", {}),
    "lenet_modern": ("lenet", {"version": "modern"}),
    "alexnet": ("alexnet", {}),
    "alexnet_2012": ("alexnet", {"version": "2012", "response_norm": True, "groups": 2}),
    "zfnet": ("zfnet", {}),
    "vgg11": ("vgg", {"depth": 11, "batch_norm": False}),
    "vgg11_bn": ("vgg", {"depth": 11, "batch_norm": True}),
    "vgg13": ("vgg", {"depth": 13, "batch_norm": False}),
    "vgg13_bn": ("vgg", {"depth": 13, "batch_norm": True}),
    "vgg16": ("vgg", {"depth": 16, "batch_norm": False}),
    "vgg16_bn": ("vgg", {"depth": 16, "batch_norm": True}),
    "vgg19": ("vgg", {"depth": 19, "batch_norm": False}),
    "vgg19_bn": ("vgg", {"depth": 19, "batch_norm": True}),
    "googlenet": ("googlenet", {}),
    "resnet18": ("resnet", {"depth": 18}),
    "resnet34": ("resnet", {"depth": 34}),
    "resnet50": ("resnet", {"depth": 50}),
    "resnet101": ("resnet", {"depth": 101}),
    "resnet152": ("resnet", {"depth": 152}),
    "densenet121": ("densenet", {"depth": 121}),
    "densenet169": ("densenet", {"depth": 169}),
    "densenet201": ("densenet", {"depth": 201}),
}


def resolve(name: str) -> tuple[str, dict[str, Any]]:
    """Family and options of a published name; any other name is given back, without options.

    >>> resolve("vgg16")
    ('vgg', {'depth': 16, 'batch_norm': False})
    >>> resolve("resnet")
    ('resnet', {})
    """
    family, options = VARIANTS.get(name, (name, {}))
    return family, dict(options)


def pretrained_file(name: str) -> str | None:
    """File name of torchvision's ImageNet weights (IMAGENET1K_V1), or None where it has none.

    Args:
        name: A published name, such as ``resnet18``.
    """
    from torchvision.models import get_model_weights, list_models

    if name not in VARIANTS or name not in list_models():
        return None
    url: str = get_model_weights(name)["IMAGENET1K_V1"].url
    return url.rpartition("/")[2]
