"""Nets of timm and MONAI give their library's own logits through the contract of `Net`."""

import copy
import functools
import inspect
import re
import socket
import sys
from pathlib import Path
from typing import Any
from urllib.error import URLError

import huggingface_hub
import pytest
import timm
import torch
from monai.networks import nets as monai_nets
from safetensors.torch import save_file
from torch import nn

from medcnn.errors import UserError
from medcnn.nets import Net, Problem, load_weights, stage_shapes
from medcnn.nets.foreign import monai_net, timm_net, timm_state
from medcnn.nets.foreign.monai_models import CLASSIFIERS, UNFIT, factory_of
from medcnn.nets.foreign.timm_models import reachable

pytestmark = pytest.mark.no_cover  # twice as slow with coverage; other tests cover the lines

# name: side of the images, stages
TIMM: dict[str, tuple[int, str]] = {
    "resnet18": (32, "stem layer1 layer2 layer3 layer4"),
    "tf_efficientnet_lite0": (
        32,
        "stem blocks0 blocks1 blocks2 blocks3 blocks4 blocks5 blocks6 conv_head",
    ),
    "mobilenetv3_small_100": (32, "stem blocks0 blocks1 blocks2 blocks3 blocks4 blocks5"),
    "densenet121": (
        32,
        "stem denseblock1 transition1 denseblock2 transition2 denseblock3 transition3 denseblock4",
    ),
    "convnext_atto": (32, "stem stages0 stages1 stages2 stages3"),
    "regnetx_002": (32, "stem s1 s2 s3 s4"),
    "ghostnet_050": (32, "stem " + " ".join(f"blocks{i}" for i in range(10))),
    "test_resnet": (32, "stem layer1 layer2 layer3 layer4"),
    "test_mambaout": (32, "stem stages0 stages1 stages2 stages3"),  # channels last
    "swin_tiny_patch4_window7_224": (64, "patch_embed layers0 layers1 layers2 layers3"),  # too
    "pvt_v2_b0": (32, "patch_embed stages0 stages1 stages2 stages3"),  # its head is arithmetic
    "selecsls42": (32, "body"),
    "vit_tiny_patch16_224": (32, "body"),
    "vit_tiny_patch16_dinov3_qkvb": (32, "body"),  # keeps tensors of the last size
}
FEW = ("resnet18", "mobilenetv3_small_100", "test_mambaout", "pvt_v2_b0", "vit_tiny_patch16_224")
HEAVY = ("densenet121", "swin_tiny_patch4_window7_224", "selecsls42")
GREY = [name for name in TIMM if name not in (*HEAVY, "tf_efficientnet_lite0")]
QUICK = ("mobilenetv3_small_100", "test_mambaout")
TOKENS = [name for name in TIMM if name.startswith("vit")]
TINY: dict[str, dict[str, Any]] = {
    "resnet18": {"widen_factor": 0.125, "conv1_t_stride": 2},
    "ResNet": {"block": "bottleneck", "layers": [1] * 4, "block_inplanes": [4, 8, 16, 32]},
    "DenseNet": {"init_features": 8, "growth_rate": 4, "block_config": [2, 2, 2, 2]},
    "SENet": {"block": "se_bottleneck", "layers": [1] * 4, "groups": 64, "reduction": 16},
    "efficientnet-b0": {},
}
# the smallest that the library names, in 2-D
NAMED = ["resnet10", "se_resnet50", "SEResNeXt50"]
MONAI: list[Any] = [*((name, 2) for name in TINY), ("ResNet", 3), ("DenseNet", 3)]
MONAI += [
    pytest.param(name, dims, marks=pytest.mark.slow)
    for name, dims in [*((name, 2) for name in NAMED), *((name, 3) for name in TINY)]
    if (name, dims) not in MONAI
]
SIDE = 32


def fill(model: nn.Module) -> None:
    """Random values for every tensor, statistics of norms and scales of layers too."""
    generator = torch.Generator().manual_seed(0)
    for key, tensor in model.state_dict().items():
        if tensor.ndim > 1:
            bound = (3 / tensor[0].numel()) ** 0.5
            tensor.uniform_(-bound, bound, generator=generator)
        elif tensor.is_floating_point():
            low, high = (0.5, 1.5) if key.endswith(("weight", "running_var")) else (-0.1, 0.1)
            tensor.uniform_(low, high, generator=generator)


def pair(net: Net, model: nn.Module) -> tuple[Net, nn.Module]:
    """A net and the library's own model with the same weights, by the library's names."""
    fill(model)
    state = model.state_dict()
    assert set(net.published_names) == set(state)
    net.load_state_dict({net.published_names[key]: value for key, value in state.items()})
    return net.eval(), model.eval()


@functools.cache
def timm_pair(name: str, channels: int) -> tuple[Net, nn.Module]:
    size = (TIMM[name][0],) * 2
    net = timm_net(name, Problem(channels, 3, input_size=size), dropout=0.2)
    options = {"img_size": size} if name.startswith(("swin", "vit")) else {}
    return pair(net, timm.create_model(name, in_chans=channels, num_classes=3, **options))


@functools.cache
def monai_pair(name: str, dims: int) -> tuple[Net, nn.Module]:
    options = TINY.get(name, {})
    net = monai_net(name, Problem(2, 3, dims, (SIDE,) * dims), **options)
    key = name.lower().replace("-", "").replace("_", "")
    factory, fixed = factory_of(key, CLASSIFIERS[key])
    family = CLASSIFIERS[key]
    given = {family.in_channels: 2, family.num_classes: 3, "spatial_dims": dims}
    return pair(net, factory(**given, **fixed, **options))


def images(net: Net, side: int, count: int = 2) -> torch.Tensor:
    shape = (count, net.in_channels, *[side] * net.spatial_dims)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def check_contract(net: Net, model: nn.Module, side: int) -> None:
    x = images(net, side)
    with torch.no_grad():
        maps, expected = net.features(x), model(x)
    assert expected.std() > 1e-3
    torch.testing.assert_close(net.head(maps), expected, rtol=1e-4, atol=1e-5)
    assert maps.ndim == (x.ndim if net.spatial else 3)

    leaf = maps.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(net.head(leaf)[:, 0].sum(), leaf)
    assert gradient.abs().sum() > 0
    assert torch.equal(leaf, maps)  # nothing wrote into it
    assert not any(getattr(module, "inplace", False) for module in net.modules())

    parameters = [id(parameter) for parameter in net.parameters()]
    assert len(parameters) == len(list(model.parameters()))
    assert sum(p.numel() for p in net.parameters()) == sum(p.numel() for p in model.parameters())


def check_use(net: Net, side: int) -> None:
    """A copy trains, loads and changes its type; the net itself stays as it was."""
    x = images(net, side)
    twin = copy.deepcopy(net).train()
    twin(x).square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in twin.parameters())
    assert any(p.grad is not None for p in twin.head.parameters())
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    twin.load_state_dict(net.state_dict())
    with torch.no_grad():
        expected = net(x)
        assert torch.equal(twin.eval()(x), expected)
        logits = twin.to(torch.float64)(x.double())
    assert logits.dtype == torch.float64
    torch.testing.assert_close(logits.float(), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        pytest.param(name, 3, marks=pytest.mark.slow) if name not in FEW else (name, 3)
        for name in TIMM
    ]
    + [
        (name, 1) if name in QUICK else pytest.param(name, 1, marks=pytest.mark.slow)
        for name in GREY
    ],
)
def test_timm(name: str, channels: int) -> None:
    net, model = timm_pair(name, channels)
    side, stages = TIMM[name]
    assert [n for n, _ in net.features.named_children()] == stages.split()
    assert (net.name, net.in_channels, net.num_classes) == (name, channels, 3)
    assert net.spatial is (name not in TOKENS)
    check_contract(net, model, side)
    dropout = [m.p for m in net.head.modules() if isinstance(m, nn.Dropout) and m.p > 0]
    assert dropout == [0.2]


@pytest.mark.parametrize("name", TIMM)
def test_a_net_of_timm_in_use(name: str) -> None:
    check_use(timm_pair(name, 3)[0], TIMM[name][0])


@pytest.mark.parametrize(("name", "dims"), MONAI)
def test_monai(name: str, dims: int) -> None:
    net, model = monai_pair(name, dims)
    assert (net.name, net.spatial_dims, net.spatial) == (name, dims, True)
    check_contract(net, model, SIDE)
    assert not [m for m in net.head.modules() if isinstance(m, nn.Dropout) and m.p > 0]
    if name in TINY and name != "SENet":
        check_use(net, SIDE)


@pytest.mark.parametrize("name", [name for name in TIMM if name not in TOKENS])
def test_every_stage_of_timm_gives_a_map(name: str) -> None:
    net, _ = timm_pair(name, 3)
    side = TIMM[name][0]
    sizes = [shape[1:] for shape in stage_shapes(net, (side, side)).values()]
    assert all(height == width <= side for height, width in sizes)
    assert sizes == sorted(sizes, reverse=True)


def test_stages_of_monai() -> None:
    stages = {
        "ResNet": "stem layer1 layer2 layer3 layer4",
        "DenseNet": "stem denseblock1 transition1 denseblock2 transition2 denseblock3 transition3 "
        "denseblock4",
        "SENet": "stem conv2 conv3 layer1 layer2 layer3 layer4",
        "efficientnet-b0": "stem blocks0 blocks1 blocks2 blocks3 blocks4 blocks5 blocks6 conv_head",
    }
    for name, expected in stages.items():
        net, _ = monai_pair(name, 3)
        assert [n for n, _ in net.features.named_children()] == expected.split(), name
    net, _ = monai_pair("DenseNet", 3)
    assert (net.features(images(net, SIDE)) >= 0).all()  # the last ReLU is on this side


@pytest.mark.parametrize("name", ["densenet121", "convnext_atto", "mobilenetv3_small_100"])
def test_the_smallest_image_of_timm(name: str) -> None:
    net, model = timm_pair(name, 3)
    least = {"densenet121": 29, "convnext_atto": 32, "mobilenetv3_small_100": 1}[name]
    assert net.min_size == least
    model(images(net, least))
    if least > 1:
        with pytest.raises(RuntimeError):
            model(images(net, least - 1))
        with pytest.raises(UserError, match=f"{name} needs images of at least {least} px"):
            net(images(net, least - 1))


@pytest.mark.parametrize("dims", [2, 3])
def test_the_smallest_image_of_monai(dims: int) -> None:
    net, model = monai_pair("DenseNet", dims)
    assert net.min_size == 29
    model(images(net, 29))
    with pytest.raises(RuntimeError):
        model(images(net, 28))
    assert monai_pair("resnet18", dims)[0].min_size == 1


def test_models_for_one_size_are_made_for_that_of_the_images() -> None:
    net = timm_net("vit_tiny_patch16_224", Problem(1, 2, input_size=(48, 32)), depth=1)
    assert net.min_size == 32
    assert net.features(torch.zeros(1, 1, 48, 32)).shape == (1, 1 + 3 * 2, 192)
    assert timm_net("vit_tiny_patch16_224", Problem(1, 2), depth=1).min_size == 224


def test_published_names_load() -> None:
    net, model = timm_pair("test_resnet", 3)
    twin = copy.deepcopy(net)
    for parameter in twin.parameters():
        nn.init.zeros_(parameter)
    load_weights(twin, model.state_dict())
    assert torch.equal(twin(images(net, 32)), net(images(net, 32)))


def test_options_reach_the_library() -> None:
    net = timm_net("test_resnet", Problem(1, 2), drop_path_rate=0.1)
    assert any(type(m).__name__ == "DropPath" for m in net.modules())
    sizes = [
        stage_shapes(
            monai_net("resnet10", Problem(1, 2, 3), widen_factor=0.1, **options), (32,) * 3
        )
        for options in ({"no_max_pool": True}, {"conv1_t_stride": 2}, {})
    ]
    assert [shapes["layer4"][1:] for shapes in sizes] == [(4, 4, 4), (1, 1, 1), (2, 2, 2)]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnt18", {}, r"resnt18: timm has no such model \(did you mean resnet18 or "),
        ("hf-hub:timm/resnet18", {}, r"timm has no such model \(did you mean resnet18 or "),
        ("test_vit.x", {}, r"test_vit.x: timm has no such weights \(known: test_vit.r160_in1k\)$"),
        ("test_vit", {"depht": 2}, "model.depht: test_vit has no such option$"),
        ("test_vit", {"pretrained": True}, "model.pretrained can't be set .*: use model.weights$"),
        ("test_vit", {"drop_rate": 0.1}, "model.drop_rate can't be set .*: use model.dropout$"),
        ("test_vit", {"depth": "two"}, "^test_vit can't be made: "),
        ("crossvit_tiny_240", {}, "crossvit_tiny_240 can't be taken apart as features and head"),
        ("test_convnext", {"input_size": (28, 28)}, "test_convnext needs images of at least 32 px"),
    ],
)
def test_what_is_no_net_of_timm(name: str, options: dict[str, Any], message: str) -> None:
    size = options.get("input_size")
    options = {key: value for key, value in options.items() if key != "input_size"}
    with pytest.raises(UserError, match=message) as caught:
        timm_net(name, Problem(3, 2, input_size=size), **options)
    assert "\n" not in str(caught.value)


def test_an_encoder_is_no_classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm, "create_model", lambda name, **_: nn.Conv2d(3, 2, 1))
    with pytest.raises(UserError, match="test_vit of timm is no classifier"):
        timm_net("test_vit", Problem(3, 2))


def test_without_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=re.escape('pip install "medcnn[timm]"')):
        timm_net("resnet18", Problem(3, 2))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet19", {}, r"resnet19: no such classifier of MONAI \(did you mean resnet18"),
        ("unknown", {}, r"no such classifier of MONAI; there are resnet, resnet10, "),
        *((name, {}, f"model.name={name} doesn't fit: ") for name in UNFIT),
        ("resnet18", {"no_max_poo": True}, r"no such option \(did you mean no_max_pool"),
        ("resnet18", {"n_input_channels": 1}, "model.n_input_channels can't be set"),
        ("efficientnet-b0", {"pretrained": True}, "model.pretrained can't be set"),
        ("efficientnet-b0", {"model_name": "efficientnet-b1"}, "model.model_name can't be set"),
        ("seresnet50", {"dropout_prob": 0.2}, "model.dropout_prob can't be set .* model.dropout"),
        ("EfficientNetBN", {"model_name": "b1"}, "can't be made: invalid model_name b1"),
        ("ResNet", {}, "ResNet can't be made: .*missing 3 required"),
        ("resnet10", {"feed_forward": False}, "resnet10 gives 512 numbers in place of 2 logits"),
        ("DenseNet", {"input_size": (28, 28, 28)}, "needs images of at least 29 px, got 28×28×28"),
    ],
)
def test_what_is_no_net_of_monai(name: str, options: dict[str, Any], message: str) -> None:
    options = (TINY["DenseNet"] if name == "DenseNet" else {}) | options
    with pytest.raises(UserError, match=message) as caught:
        monai_net(name, Problem(1, 2, 3, options.pop("input_size", None)), **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", CLASSIFIERS)
def test_every_name_is_one_of_monais(key: str) -> None:
    factory, fixed = factory_of(key, CLASSIFIERS[key])
    known = set(inspect.signature(factory).parameters)
    if "kwargs" in known:
        known |= set(inspect.signature(getattr(monai_nets, CLASSIFIERS[key].base)).parameters)
    assert {CLASSIFIERS[key].in_channels, CLASSIFIERS[key].num_classes, "spatial_dims"} <= known
    assert set(fixed) <= known


def test_published_weights_come_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = timm.create_model("test_resnet")
    fill(model)
    folder = tmp_path / "models--timm--test_resnet.r160_in1k"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    (folder / "snapshots" / "abc").mkdir(parents=True)
    save_file(model.state_dict(), folder / "snapshots" / "abc" / "model.safetensors")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    state = timm_state("test_resnet")
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())


def no_network(*_: Any, **__: Any) -> Any:
    raise socket.gaierror(-2, "Name or service not known")


def test_published_weights_without_a_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    monkeypatch.setattr("medcnn.nets.foreign.timm_models.getproxies", dict)
    with pytest.raises(UserError) as caught:
        timm_state("test_resnet")
    assert str(caught.value) == (
        "model.pretrained=true: can't get model.safetensors of timm/test_resnet.r160_in1k on "
        "huggingface.co (no connection); download it elsewhere and give its place with "
        "model.weights=…"
    )


def test_published_weights_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise URLError("refused")

    place = timm.get_pretrained_cfg("test_resnet")
    place.hf_hub_id, place.url = None, "https://example.org/weights.pth"
    monkeypatch.setattr(timm, "get_pretrained_cfg", lambda *_, **__: place)
    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(UserError, match=r"get https://example.org/weights.pth \(.*refused.*\); "):
        timm_state("test_resnet")
    place.url = None
    with pytest.raises(UserError, match="timm publishes no weights of test_resnet"):
        timm_state("test_resnet")


def test_whether_the_hub_is_reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medcnn.nets.foreign.timm_models.getproxies", dict)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [])
    assert reachable()
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    assert not reachable()
    monkeypatch.setattr(
        "medcnn.nets.foreign.timm_models.getproxies", lambda: {"https": "proxy:3128"}
    )
    assert reachable()
