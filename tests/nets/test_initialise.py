"""The schemes that weights are drawn by, by their statistics."""

from collections import OrderedDict
from math import sqrt

import pytest
import torch
from torch import Tensor, nn

from medcnn import nets
from medcnn.errors import UserError
from medcnn.nets.initialise import SCHEMES, initialise, output_layers

FAN_IN, FAN_OUT = 16 * 9, 64 * 9  # of the convolution; the linear layer has 128 and 256
STD = {
    "he": (sqrt(2 / FAN_IN), sqrt(2 / 128)),
    "lecun": (sqrt(1 / FAN_IN), sqrt(1 / 128)),
    "xavier": (sqrt(2 / (FAN_IN + FAN_OUT)), sqrt(2 / (128 + 256))),
    "gaussian": (0.01, 0.01),
}


def small_net(scheme: str, nonlinearity: str = "relu", dims: int = 2) -> nets.Net:
    """One convolution of 16 to 64 channels, linear layers of 128, 256 and 3 units."""
    torch.manual_seed(0)
    conv = nn.Conv2d(16, 64, 3) if dims == 2 else nn.Conv3d(16, 64, (1, 3, 3))
    head = OrderedDict[str, nn.Module](fc1=nn.Linear(128, 256), fc2=nn.Linear(256, 3))
    net = nets.Net(
        "small",
        nn.Sequential(OrderedDict(conv=conv)),
        nn.Sequential(head),
        nets.Problem(in_channels=16, num_classes=3, spatial_dims=dims),
        nonlinearity=nonlinearity,  # type: ignore[arg-type]
    )
    initialise(net, scheme)
    return net


def weights(net: nets.Net) -> tuple[Tensor, Tensor]:
    """Of the convolution and of the first linear layer."""
    names = ("features.conv.weight", "head.fc1.weight")
    conv, linear = (net.get_parameter(name).detach() for name in names)
    return conv, linear


def std_of(net: nets.Net, name: str) -> float:
    return float(net.get_parameter(name).detach().std())


def is_normal(weight: Tensor, std: float) -> bool:
    """Whether values are spread as the normal distribution's: 68.3 % within one std, 95.4 in 2."""
    z = (weight / std).abs()
    return abs(float((z < 1).float().mean()) - 0.683) < 0.02 and (
        abs(float((z < 2).float().mean()) - 0.954) < 0.01
    )


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("scheme", STD)
def test_spread(scheme: str, dims: int) -> None:
    for weight, std in zip(weights(small_net(scheme, dims=dims)), STD[scheme], strict=True):
        assert float(weight.std()) == pytest.approx(std, rel=0.03)
        assert abs(float(weight.mean())) < 4 * std / sqrt(weight.numel())
        bound = sqrt(3) * std  # of the uniform distribution
        if scheme == "xavier":
            assert 0.99 * bound < float(weight.abs().max()) <= bound
        else:
            assert is_normal(weight, std)


def test_tanh_has_its_own_gain() -> None:
    for scheme, gain in (("he", 5 / 3), ("lecun", 1), ("gaussian", 0.01 * sqrt(FAN_IN))):
        weight, _ = weights(small_net(scheme, "tanh"))
        assert float(weight.std()) == pytest.approx(gain / sqrt(FAN_IN), rel=0.03)
    net = nets.build("lenet", in_channels=1, num_classes=2, width=8.0)
    assert std_of(net, "features.c3.conv.weight") == pytest.approx(5 / 3 / sqrt(48 * 25), rel=0.03)
    modern = nets.build("lenet_modern", in_channels=1, num_classes=2, width=8.0)
    assert std_of(modern, "features.c3.conv.weight") == pytest.approx(sqrt(2 / (48 * 25)), rel=0.03)


@pytest.mark.parametrize(("nonlinearity", "gain"), [("relu", sqrt(2)), ("tanh", 5 / 3)])
def test_orthogonal(nonlinearity: str, gain: float) -> None:
    conv, linear = weights(small_net("orthogonal", nonlinearity))
    rows = conv.flatten(1)  # (64, 144)
    torch.testing.assert_close(rows @ rows.T, gain**2 * torch.eye(64), atol=1e-5, rtol=0)
    columns = linear.T @ linear  # of (256, 128), with more rows than columns
    torch.testing.assert_close(columns, gain**2 * torch.eye(128), atol=1e-5, rtol=0)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_biases_are_zero_and_the_last_layer_is_pytorchs(scheme: str) -> None:
    net = small_net(scheme)
    assert not net.get_parameter("features.conv.bias").any()
    assert not net.get_parameter("head.fc1.bias").any()
    torch.manual_seed(0)
    nn.Conv2d(16, 64, 3)
    nn.Linear(128, 256)
    plain = nn.Linear(256, 3)
    assert torch.equal(net.get_parameter("head.fc2.weight"), plain.weight)
    assert torch.equal(net.get_parameter("head.fc2.bias"), plain.bias)


def test_groups_count_for_the_fan() -> None:
    net = nets.build("alexnet_2012", in_channels=1, num_classes=2, stem="small", width=0.25)
    weight = net.get_parameter("features.conv4.conv.weight")  # sees 48 of 96 channels
    assert weight.shape == (96, 48, 3, 3)
    assert std_of(net, "features.conv4.conv.weight") == pytest.approx(sqrt(2 / (48 * 9)), rel=0.03)


@pytest.mark.parametrize("head", ["gap", "attention", "lse", "top"])
@pytest.mark.parametrize("classes", [1, 40, 128])
def test_the_output_layers_of_pooled_heads(head: str, classes: int) -> None:
    net = nets.build("resnet", in_channels=1, num_classes=classes, stem="small", head=head)
    assert output_layers(net) == [net.get_submodule("head.fc")]
    weight, bias = net.get_parameter("head.fc.weight"), net.get_parameter("head.fc.bias")
    bound = 1 / sqrt(512)
    assert 0.95 * bound < float(weight.detach().abs().max()) <= bound
    assert bias.any()
    assert float(bias.detach().abs().max()) <= bound
    if head == "attention":  # drawn as all others
        assert std_of(net, "head.v.weight") == pytest.approx(sqrt(2 / 512), rel=0.03)
        assert float(net.get_parameter("head.w.weight").detach().abs().max()) > 1 / sqrt(128)


@pytest.mark.parametrize("name", ["linear", "mlp", "lenet", "alexnet", "zfnet", "vgg"])
def test_the_output_layer_of_other_heads(name: str) -> None:
    for classes in (1, 5):
        net = nets.build(name, in_channels=1, num_classes=classes, input_size=(28, 28))
        (last,) = output_layers(net)
        assert last.out_features == classes
        assert last is [m for m in net.modules() if isinstance(m, nn.Linear)][-1]
        bound = 1 / sqrt(last.in_features)
        largest = float(last.weight.detach().abs().max())
        assert 0.8 * bound < largest <= bound
        assert last.bias.any()


def test_the_output_layers_of_auxiliary_heads() -> None:
    net = nets.build("googlenet", in_channels=1, num_classes=256, width=0.25, aux=True)
    found = [name for name, m in net.named_modules() if m in output_layers(net)]
    assert found == ["head.fc", "aux.a.fc2", "aux.d.fc2"]  # fc1 has 256 outputs, too
    bound = 1 / sqrt(256)
    for name in found:
        weight, bias = net.get_parameter(f"{name}.weight"), net.get_parameter(f"{name}.bias")
        assert 0.99 * bound < float(weight.detach().abs().max()) <= bound
        assert bias.any()
    assert std_of(net, "aux.a.fc1.weight") == pytest.approx(sqrt(2 / (32 * 16)), rel=0.03)
    assert not net.get_parameter("aux.a.fc1.bias").any()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_seed_decides(scheme: str) -> None:
    def drawn(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        return nets.build("lenet", in_channels=1, num_classes=2, init=scheme).state_dict()

    first, again, other = drawn(3), drawn(3), drawn(4)
    assert all(torch.equal(first[key], again[key]) for key in first)
    key = "features.c3.conv.weight"
    assert not torch.equal(first[key], other[key])


def test_build_draws_he_and_norms_stay() -> None:
    torch.manual_seed(0)
    net = nets.build("resnet", in_channels=1, num_classes=2)
    assert std_of(net, "features.layer4.1.conv1.weight") == pytest.approx(
        sqrt(2 / (512 * 9)), rel=0.01
    )
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all((norm.weight == 1).all() and not norm.bias.any() for norm in norms)


def test_unknown_scheme() -> None:
    message = r"^model\.init=ones: choose one of he, xavier, lecun, gaussian, orthogonal$"
    with pytest.raises(UserError, match=message):
        initialise(nets.build("lenet", in_channels=1, num_classes=2), "ones")
