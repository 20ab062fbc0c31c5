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
    **{
        f"vgg{depth}{suffix}": ("vgg", {"depth": depth, "batch_norm": suffix == "_bn"})
        for depth in (11, 13, 16, 19)
        for suffix in ("", "_bn")
    },
    "googlenet": ("googlenet", {}),
    **{f"resnet{depth}": ("resnet", {"depth": depth}) for depth in (18, 34, 50, 101, 152)},
    **{f"densenet{depth}": ("densenet", {"depth": depth}) for depth in (121, 169, 201)},
}


def resolve(name: str) -> tuple[str, dict[str, Any]]:
    """Return family and options of a published name; any other name is given back, without any.

    >>> resolve("vgg16")
    ('vgg', {'depth': 16, 'batch_norm': False})
    >>> resolve("resnet")
    ('resnet', {})
    """
    family, options = VARIANTS.get(name, (name, {}))
    return family, dict(options)


def pretrained_file(name: str) -> str | None:
    """Return the file name of torchvision's ImageNet weights of a published name, such as resnet18.

    They are IMAGENET1K_V1; None where it has none.
    """
    from torchvision.models import get_model_weights, list_models

    if name not in VARIANTS or name not in list_models():
        return None
    url: str = get_model_weights(name)["IMAGENET1K_V1"].url
    return url.rpartition("/")[2]
