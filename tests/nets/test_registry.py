"""Building by name, and the config of each net."""

from pathlib import Path
from typing import Any

import jobs
import pytest
import torch
from omegaconf import OmegaConf

from medcnn import nets
from medcnn.errors import UserError
from medcnn.jobs.instantiate import instantiate
from medcnn.nets.registry import options_of

CONF = Path(__file__).parents[2] / "conf" / "model"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnett", {}, r"model\.name=resnett: no such net \(did you mean resnet"),
        ("transformer", {}, r"no such net; there are linear, mlp"),
        ("resnet", {"deptth": 18}, r"model\.deptth: resnet has no such option \(did you mean dep"),
        ("lenet", {"depth": 5}, r"model\.depth: lenet has no such option \(did you mean width"),
        ("linear", {"depth": 5}, r"model\.depth: linear has no such option, it has none"),
        ("resnet50", {"depth": 18}, r"model\.depth=18: resnet50 has depth=50"),
        ("lenet", {"version": 2020}, r"model\.version=2020: lenet comes as 1998 and modern"),
        ("alexnet", {"version": 2013}, r"model\.version=2013: alexnet comes as 2012 and 2014"),
        ("alexnet", {"groups": 3}, r"model\.groups=3: alexnet has 1 or 2"),
        ("googlenet", {"transform_input": True}, r"transform_input=true is for 3 channels, not 1"),
        ("resnet", {"stochastic_depth": 1.0}, r"model\.stochastic_depth=1\.0: give a probability"),
        ("resnet", {"width": 0}, r"model\.width=0: give a factor, above 0 and up to 16"),
        ("resnet", {"width": True}, r"model\.width=True: give a factor"),
        ("resnet", {"init": "zero"}, r"model\.init=zero: choose one of he, xavier, lecun, gaussi"),
        ("vgg", {"head": "max"}, r"model\.head=max: vgg has fc, gap, attention, lse, top"),
        ("resnet", {"cut": "layer5"}, r"model\.cut=layer5: resnet18 has the stages stem, layer1"),
        ("mlp", {"cut": "hidden1", "input_size": (8, 8)}, r"cut=hidden1: mlp has no feature maps"),
        ("resnet", {"library": "keras"}, r"model\.library=keras: choose timm, monai or null"),
        ("resnet18", {"library": "timm", "spatial_dims": 3}, r"timm's nets are for images"),
        (
            "resnet18",
            {"library": "monai", "spatial_dims": 1},
            r"resnet18 has no form for spatial_",
        ),
        ("resnet18", {"library": "monai", "pretrained": True}, r"MONAI publishes no weights of th"),
        ("lenet", {"pretrained": True}, r"no published weights of lenet .*model\.weights="),
        ("resnet", {"pretrained": True, "weights": "a.pt"}, r"pretrained=true and model\.weights:"),
        ("vgg", {"depth": 12}, r"model\.depth=12: vgg comes in depths 11, 13, 16, 19"),
        ("resnet", {"depth": "18"}, r"model\.depth=18: resnet comes in depths"),
        ("vgg", {"batch_norm": "maybe"}, r"model\.batch_norm=maybe: give true or false"),
        ("vgg", {"dropout": 1}, r"model\.dropout=1: give a probability"),
        ("vgg", {"dropout": "half"}, r"model\.dropout=half: give a probability"),
        ("lenet", {"num_classes": 0}, r"at least 1 channel and 1 logit, got in_channels=1 and"),
        ("lenet", {"spatial_dims": 1}, r"lenet has no form for spatial_dims=1"),
        ("lenet", {"input_size": (28,)}, r"input_size=\(28,\) must hold 2 numbers"),
        ("resnet", {"input_size": (7, 9)}, r"small stem needs images of at least 8 px, got 7×9"),
        (
            "resnet",
            {"stem": "imagenet", "input_size": (20, 20)},
            r"resnet18 .*needs images of at least 32 px, got 20×20; .* model\.stem=small$",
        ),
    ],
)
def test_says_what_is_wrong(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        nets.build(name, **({"in_channels": 1, "num_classes": 2} | options))
    assert "\n" not in str(error.value)


COMMON = (  # of every net, in _net.yaml
    "library", "init", "pretrained", "weights", "aggregate", "fusion", "chunk", "cut",
)  # fmt: skip


def model(name: str, *overrides: str) -> dict[str, Any]:
    """The config of model=name as a training has it."""
    cfg = jobs.composed("train", f"model={name}", "dataset=breastmnist", *overrides)
    config = OmegaConf.to_container(cfg.model, resolve=True)
    assert isinstance(config, dict)
    return {str(key): value for key, value in config.items()}


@pytest.mark.no_cover
@pytest.mark.parametrize("name", nets.FAMILIES)
def test_config_holds_the_defaults(name: str) -> None:
    config = model(name)
    assert (CONF / f"{name}.yaml").read_text(encoding="utf-8").startswith("# ")
    assert config.pop("_target_") == "medcnn.nets.build"
    assert config.pop("name") == name
    common = {key: config.pop(key) for key in COMMON}
    assert common == dict.fromkeys(COMMON) | {"init": "he", "pretrained": False}
    defaults = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in options_of(nets.FAMILIES[name]).items()
    }
    assert config == defaults


@pytest.mark.no_cover
@pytest.mark.parametrize("name", nets.FAMILIES)
def test_config_makes_the_net(name: str) -> None:
    given = {"in_channels": 3, "num_classes": 1, "spatial_dims": 2, "input_size": (28, 28)}
    net = instantiate(model(name), "model", **given)
    assert isinstance(net, nets.Net)
    with torch.inference_mode():
        assert net.eval()(torch.zeros(1, 3, 28, 28)).shape == (1, 1)


def test_every_config_is_a_family_or_a_library() -> None:
    files = {path.stem for path in CONF.glob("[!_]*.yaml")}
    assert files == {*nets.FAMILIES, "timm", "monai"}


@pytest.mark.parametrize("library", ["timm", "monai"])
def test_libraries_ask_for_a_name(library: str) -> None:
    config = model(library, "model.name=resnet18")
    assert config["library"] == library
    assert config["init"] is None
    assert jobs.composed("train", f"model={library}").model._get_node("name")._value() == "???"


def test_by_published_name() -> None:
    shape = {"in_channels": 1, "num_classes": 2, "width": 0.1}
    assert nets.build("vgg16", **shape).name == "vgg16"
    assert nets.build("resnet50", depth=50, **shape).name == "resnet50"
    assert nets.build("lenet_modern", **shape).nonlinearity == "relu"


class TestCoarseMaps:
    def test_names_the_stage_to_use(self) -> None:
        net = nets.build("resnet", in_channels=1, num_classes=2)
        assert nets.coarse_map_warning(net, (64, 64)) == (
            "resnet18 sees images of 64×64 px as a map of 2×2, too coarse to show where; "
            "use stage layer3 (4×4) instead"
        )

    def test_goes_by_the_shorter_side(self) -> None:
        net = nets.build("resnet", in_channels=1, num_classes=2, stem="small")
        assert "use stage layer3 (4×16)" in str(nets.coarse_map_warning(net, (16, 64)))
        assert nets.coarse_map_warning(net, (32, 64)) is None

    def test_no_stage_will_do(self) -> None:
        net = nets.build("resnet", in_channels=1, num_classes=2, stem="imagenet")
        assert "and so is every stage" in str(nets.coarse_map_warning(net, (32, 32), coarsest=9))

    def test_leaves_the_net_alone(self) -> None:
        net = nets.build("resnet", in_channels=1, num_classes=2, stem="small")
        before = {key: value.clone() for key, value in net.state_dict().items()}
        shapes = nets.stage_shapes(net, (30, 40))
        x = torch.randn(2, 1, 30, 40)
        assert net.training
        assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
        for name, stage in net.features.named_children():
            x = stage(x)
            assert tuple(x.shape[1:]) == shapes[name]

    def test_too_small(self) -> None:
        net = nets.build("lenet", in_channels=1, num_classes=2)
        with pytest.raises(UserError, match="at least 14 px"):
            nets.stage_shapes(net, (10, 10))


@pytest.mark.parametrize("family", nets.FAMILIES)
def test_every_family_has_dropout_or_says_that_it_has_none(family: str) -> None:
    having = options_of(nets.FAMILIES[family])
    small = {"width": 0.1} if "width" in having else {}
    for key, where in (("dropout", "linear has no"), ("stochastic_depth", f"{family} has no")):
        options = {"in_channels": 1, "num_classes": 2, "input_size": (32, 32), key: 0.25, **small}
        if key not in having:
            with pytest.raises(UserError, match=rf"model\.{key}: {where} such option"):
                nets.build(family, **options)
            continue
        found = [
            getattr(m, "p", getattr(m, "drop", 0)) for m in nets.build(family, **options).modules()
        ]
        assert max(found) == 0.25
