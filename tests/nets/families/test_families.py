"""Every family: shapes, the seam, training, and what it says about wrong input."""

import copy
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import StochasticDepth as StochasticDepthOfTorchvision

from medcnn import nets
from medcnn.errors import UserError
from medcnn.nets.families.resnet import StochasticDepth
from medcnn.nets.heads import DenseHead

pytestmark = pytest.mark.no_cover  # twice as slow with coverage; other tests cover the lines

FLAT = ("linear", "mlp")  # without a map
SPATIAL = [name for name in nets.FAMILIES if name not in FLAT]
DENSE = ("lenet", "alexnet", "zfnet", "vgg")  # published with a fully connected head
STEMMED = ["alexnet", "zfnet", "vgg", "googlenet", "resnet", "densenet"]
MEDIUM = STEMMED[3:]


def make(name: str, size: int, *, dims: int = 2, classes: int = 3, **options: Any) -> nets.Net:
    torch.manual_seed(0)
    return nets.build(
        name,
        in_channels=1,
        num_classes=classes,
        spatial_dims=dims,
        input_size=(size,) * dims,
        **options,
    )


def cheap(name: str, **options: Any) -> nets.Net:
    """A net whose millions of weights aren't drawn but zero."""
    with torch.device("meta"):
        net = nets.build(name, in_channels=1, num_classes=2, **options)
    net.to_empty(device="cpu")
    for tensor in net.state_dict().values():
        tensor.zero_()
    return net


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("size", [28, 64])
@pytest.mark.parametrize("name", nets.FAMILIES)
def test_trains_a_step(name: str, size: int) -> None:
    options = {} if name == "linear" else {"dropout": 0.0}  # one function to go down
    net = make(name, size, classes=2, **options)
    x, y = torch.randn(2, 1, size, size), torch.tensor([0, 1])
    before = nn.functional.cross_entropy(net(x), y)
    before.backward()
    squares = torch.zeros(())
    for key, p in net.named_parameters():
        assert p.grad is not None, key
        assert p.grad.isfinite().all(), key
        squares += p.grad.square().sum()
    with torch.no_grad():  # a small step against the gradient, which lowers the loss by 1 %
        for p in net.parameters():
            p -= p.grad * (0.01 * before / squares)
        assert nn.functional.cross_entropy(net(x), y) < before


@pytest.mark.parametrize("name", nets.FAMILIES)
def test_the_seam(name: str) -> None:
    net = make(name, 29).eval()
    x = torch.randn(2, 1, 29, 29)
    with torch.no_grad():
        maps = net.features(x)
    logits = net(x)
    assert torch.equal(net.head(maps), logits)
    assert logits.shape == (2, 3)
    assert net.spatial == (name not in FLAT)
    assert maps.ndim == (4 if net.spatial else 2)
    if net.spatial and name != "lenet":
        assert (maps >= 0).all(), "ends after its ReLU"
    # the map can be a leaf: neither head nor a later stage writes into what it is given
    kept, leaf = maps.clone(), maps.requires_grad_()
    (grad,) = torch.autograd.grad(net.head(leaf)[:, 0].sum(), leaf)
    assert grad.shape == maps.shape
    assert torch.equal(leaf, kept)
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize("name", SPATIAL)
def test_gradient_at_every_stage_and_in_inference_mode(name: str) -> None:
    net = make(name, 28).eval().requires_grad_(False)
    maps = torch.randn(1, 1, 28, 28)
    stages = list(net.features.children())
    for i, stage in enumerate(stages):
        with torch.inference_mode():
            maps = stage(maps)
        leaf = maps.clone().requires_grad_()
        with torch.no_grad():
            expected = net.head(nn.Sequential(*stages[i + 1 :])(maps.clone()))
        logits = net.head(nn.Sequential(*stages[i + 1 :])(leaf))
        torch.testing.assert_close(logits, expected)
        (grad,) = torch.autograd.grad(logits.sum(), leaf)
        assert grad.shape == leaf.shape


@pytest.mark.parametrize("name", nets.FAMILIES)
def test_channels_last_and_bf16(name: str) -> None:
    net = make(name, 28).eval()
    x = torch.randn(2, 1, 28, 28)
    with torch.inference_mode():
        plain = net(x)
        net = net.to(memory_format=torch.channels_last)
        torch.testing.assert_close(
            net(x.contiguous(memory_format=torch.channels_last)), plain, atol=1e-4, rtol=1e-3
        )
        with torch.autocast("cpu", torch.bfloat16):
            assert net(x).dtype == torch.bfloat16


@pytest.mark.parametrize("name", SPATIAL)
def test_maps_are_fine_enough(name: str) -> None:
    for size, cells in ((28, 4), (64, 8)):
        net = cheap(name, input_size=(size, size))
        *_, last = nets.stage_shapes(net, (size, size)).values()
        assert min(last[1:]) >= cells
        assert nets.coarse_map_warning(net, (size, size)) is None


@pytest.mark.parametrize("name", STEMMED)
def test_stem_follows_size(name: str) -> None:
    with torch.device("meta"):
        medium = name in MEDIUM
        assert make(name, 64).stem == "small"
        assert make(name, 65).stem == ("medium" if medium else "imagenet")
        assert make(name, 97).stem == "imagenet"
        assert make(name, 65, stem="small").stem == "small"
    stems = "small, medium, imagenet" if medium else "small, imagenet"
    with pytest.raises(UserError, match=rf"model\.stem=large: choose auto, {stems}"):
        make(name, 28, stem="large")


def test_auto_takes_the_small_stem_where_one_side_is_too_short() -> None:
    shape = {"in_channels": 1, "num_classes": 2}
    assert nets.build("resnet", input_size=(20, 100), **shape).stem == "small"
    assert nets.build("resnet", input_size=(12, 96), **shape).stem == "small"
    assert nets.build("resnet", input_size=(40, 100), **shape).stem == "imagenet"
    assert nets.build("resnet", **shape).stem == "imagenet"
    with torch.device("meta"):
        assert make("resnet", 80, dims=3).stem == "imagenet"


@pytest.mark.parametrize(
    ("name", "stem"),
    [("lenet", None), *product(STEMMED, ("small", "imagenet")), *product(MEDIUM, ("medium",))],
)
def test_smallest_size(name: str, stem: str | None) -> None:
    options = {} if stem is None else {"stem": stem}
    net = cheap(name, **options).eval()
    side = net.min_size
    with torch.inference_mode():
        assert net(torch.randn(1, 1, side, side + 1)).shape == (1, 2)
        with pytest.raises(UserError) as error:
            net(torch.randn(1, 1, side + 1, side - 1))
    message = f"needs images of at least {side} px, got {side + 1}×{side - 1}; use larger images"
    assert message in str(error.value)
    assert ("model.stem=small" in str(error.value)) == (stem == "imagenet" and name != "lenet")


@pytest.mark.parametrize("name", nets.FAMILIES)
def test_volumes(name: str) -> None:
    size = 14 if name == "lenet" else 9
    net = make(name, size, dims=3, **({} if name == "linear" else {"width": 0.5}))
    x = torch.randn(2, 1, size, size, size)
    net(x).sum().backward()
    assert net.eval()(x).shape == (2, 3)
    with pytest.raises(UserError, match="spatial_dims=3 needs batches of 5 dimensions"):
        net(x[:, :, 0])


def test_medium_stem_is_the_imagenet_stem_without_its_pooling() -> None:
    for name in MEDIUM:
        medium, imagenet = (make(name, 224, stem=stem) for stem in ("medium", "imagenet"))
        medium.load_state_dict(imagenet.state_dict())
        *_, last = nets.stage_shapes(medium, (224, 224)).values()
        assert last[1:] == (28, 28)


def test_imagenet_stem_in_3d() -> None:
    for name in STEMMED:
        net = make(name, 63, dims=3, stem="imagenet", width=0.1).eval()
        with torch.inference_mode():
            assert net(torch.randn(1, 1, 63, 63, 63)).shape == (1, 3)


def test_wrong_channels() -> None:
    with pytest.raises(UserError, match=r"lenet was built for 1 channel\(s\), got images of 3"):
        make("lenet", 28)(torch.randn(1, 3, 28, 28))


def test_classic_parameter_counts() -> None:
    # LeNet-5: 6·26 + 16·(6·25+1) + 120·401 + 84·121 + 10·85 (C3 fully connected)
    assert count(nets.build("lenet", in_channels=1, num_classes=10)) == 61_706
    with torch.device("meta"):
        zfnet = nets.build("zfnet", in_channels=3, num_classes=1000)
    convs = 96 * 148 + 256 * 2401 + 384 * 2305 + 384 * 3457 + 256 * 3457
    assert count(zfnet) == convs + 4096 * (9216 + 1) + 4096 * 4097 + 1000 * 4097
    mlp = nets.build("mlp", in_channels=2, num_classes=4, input_size=(3, 5), hidden=[7])
    assert count(mlp) == 31 * 7 + 8 * 4
    linear = nets.build("linear", in_channels=2, num_classes=4, input_size=(3, 5))
    assert count(linear) == 31 * 4
    # by the paper's two columns: conv2, conv4 and conv5 see one half of the channels
    with torch.device("meta"):
        alexnet = nets.build("alexnet_2012", in_channels=3, num_classes=1000)
    convs = 96 * 364 + 256 * 1201 + 384 * 2305 + 384 * 1729 + 256 * 1729
    assert count(alexnet) == convs + 4096 * (9216 + 1) + 4096 * 4097 + 1000 * 4097 == 60_965_224


def test_published_map_sizes() -> None:
    expected = {"alexnet": 13, "zfnet": 13, "vgg": 14, "googlenet": 7, "resnet": 7, "densenet": 7}
    for name, cells in expected.items():
        net = cheap(name)
        *_, last = nets.stage_shapes(net, (224, 224)).values()
        assert last[1:] == (cells, cells), name


def test_lenet_at_28_is_lenet5() -> None:
    net = make("lenet", 28).eval()
    maps = net.features(torch.randn(2, 1, 28, 28))
    assert maps.shape == (2, 16, 10, 10)
    pooled = nn.functional.avg_pool2d(maps, 2).flatten(1)  # S4 of the paper
    head = net.head
    assert isinstance(head, DenseHead)
    by_hand = head.fc3(torch.tanh(head.fc2(torch.tanh(head.fc1(pooled)))))
    torch.testing.assert_close(net.head(maps), by_hand)


def test_zero_init_residual_makes_blocks_the_identity() -> None:
    for depth in (18, 50):
        net = make("resnet", 28, depth=depth, zero_init_residual=True).eval()
        block = net.get_submodule("features.layer2.1")
        x = torch.rand(1, int(block.get_parameter("conv1.weight").shape[1]), 5, 5)
        torch.testing.assert_close(block(x), x)


def test_dropout_is_off_in_evaluation_and_on_in_training() -> None:
    for name in ("mlp", "vgg", "googlenet", "resnet", "densenet"):
        net = make(name, 28, dropout=0.9)
        assert any(m.p == 0.9 for m in net.modules() if isinstance(m, nn.Dropout)), name
        x = torch.randn(2, 1, 28, 28)
        twin = copy.deepcopy(net)
        assert not torch.equal(net(x), twin(x)), name
        assert torch.equal(net.eval()(x), net(x)), name


def test_lenet_modern_has_relu_and_maximum_pooling() -> None:
    net = make("lenet", 28, version="modern").eval()
    assert net.name == "lenet_modern"
    x = torch.randn(2, 1, 28, 28)
    c1, c3 = net.features.c1.conv, net.features.c3.conv  # type: ignore[union-attr]
    maps = F.relu(c3(F.max_pool2d(F.relu(c1(x)), 2)))  # type: ignore[operator]
    torch.testing.assert_close(net.features(x), maps)
    head = net.head
    assert isinstance(head, DenseHead)
    pooled = F.max_pool2d(maps, 2).flatten(1)
    torch.testing.assert_close(net(x), head.fc3(F.relu(head.fc2(F.relu(head.fc1(pooled))))))


def test_response_normalisation_is_that_of_the_paper() -> None:
    net = make("alexnet", 28, version=2012, response_norm=True, groups=2).eval()
    conv1 = net.features.conv1
    x = 40 * torch.rand(1, 1, 28, 28)
    a = F.relu(conv1.conv(x))  # type: ignore[operator, union-attr]
    i = 10  # b = a / (2 + 10⁻⁴ · sum over 5 channels of a²)^0.75
    squares = a[:, i - 2 : i + 3].square().sum(1)
    expected = a[:, i] / (2 + 1e-4 * squares) ** 0.75
    torch.testing.assert_close(conv1(x)[:, i], expected)  # type: ignore[operator]
    norms = [name for name, m in net.named_modules() if isinstance(m, nn.LocalResponseNorm)]
    assert norms == ["features.conv1.norm", "features.conv2.norm"]
    groups = [m.groups for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert groups == [1, 2, 1, 2, 2]


@pytest.mark.parametrize("name", [name for name in nets.FAMILIES if name != "linear"])
def test_width(name: str) -> None:
    narrow, full = make(name, 28, width=0.5), make(name, 28)
    shapes = {key: p.shape for key, p in full.named_parameters()}
    for key, p in narrow.named_parameters():
        full_out = shapes[key][0]
        assert p.shape[0] == (3 if full_out == 3 else full_out // 2), key  # 3 logits
    assert count(narrow) < 0.6 * count(full)
    assert narrow(torch.randn(2, 1, 28, 28)).shape == (2, 3)
    assert count(make(name, 28, width=1.5)) > count(full)


@pytest.mark.parametrize("channels", [1, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("dims", [2, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("head", ["fc", "gap"])
@pytest.mark.parametrize("name", SPATIAL)
@pytest.mark.filterwarnings("ignore")  # of what torch says of its own parts while it exports
def test_every_net_trains_exports_and_survives_a_checkpoint(
    name: str, head: str, dims: int, channels: int, tmp_path: Path
) -> None:
    if head == "fc" and name not in DENSE:
        with pytest.raises(UserError, match=f"model.head=fc: {name} has gap, attention, lse, top"):
            make(name, 28, head="fc")
        return
    size = (16,) * dims
    given = {"in_channels": channels, "num_classes": 2, "spatial_dims": dims, "input_size": size}
    torch.manual_seed(0)
    net = nets.build(name, width=0.125, head=head, **given)
    x, y = torch.randn(2, channels, *size), torch.tensor([0, 1])
    loss = F.cross_entropy(net(x), y)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    net.eval()
    torch.save(net.state_dict(), tmp_path / "net.pt")
    twin = nets.build(name, width=0.125, head=head, weights=tmp_path / "net.pt", **given).eval()
    with torch.inference_mode():
        logits = net(x)
        assert torch.equal(twin(x), logits)
    program = torch.export.export(net, (x,))
    torch.testing.assert_close(program.module()(x), logits, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in ("densenet", "googlenet") else name
        for name in nets.FAMILIES
    ],
)
def test_compiles_without_a_break_in_the_graph(name: str) -> None:
    net = make(name, 16, **({} if name == "linear" else {"width": 0.125})).eval()
    x = torch.randn(2, 1, 16, 16)
    torch.compiler.reset()  # else nets of one class count as recompilations of one
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    with torch.inference_mode():
        torch.testing.assert_close(compiled(x), net(x))


def test_flat_nets_export_too() -> None:
    for name in FLAT:
        net, x = make(name, 8).eval(), torch.randn(2, 1, 8, 8)
        torch.testing.assert_close(torch.export.export(net, (x,)).module()(x), net(x))


def test_stochastic_depth() -> None:
    net = make("resnet", 28, stochastic_depth=0.4)
    drops = [m.drop for m in net.modules() if isinstance(m, StochasticDepth)]
    assert drops == pytest.approx([0.05 * i for i in range(1, 9)])
    layer, residual = StochasticDepth(0.25), torch.ones(4000, 2, 1, 1)
    torch.manual_seed(0)
    kept = layer(residual)
    assert torch.equal(kept[:, 0], kept[:, 1]), "an image as a whole"
    assert kept.unique().tolist() == [0.0, pytest.approx(1 / 0.75)]
    assert float(kept.mean()) == pytest.approx(1.0, abs=0.03)
    assert torch.equal(layer.eval()(residual), residual)
    theirs = StochasticDepthOfTorchvision(0.25, "row").train()
    torch.manual_seed(3)
    expected = theirs(residual)
    torch.manual_seed(3)
    torch.testing.assert_close(layer.train()(residual), expected)


class TestMLP:
    @pytest.mark.parametrize("name", FLAT)
    def test_needs_the_size(self, name: str) -> None:
        with pytest.raises(UserError, match=f"{name} needs to know the size"):
            nets.build(name, in_channels=1, num_classes=2)

    def test_takes_one_size(self) -> None:
        with pytest.raises(UserError, match="built for images of 28×28 px, got 32×28"):
            make("mlp", 28)(torch.zeros(1, 1, 32, 28))

    @pytest.mark.parametrize("hidden", [[], [16, 0], ["a"], "ab", 16])
    def test_needs_hidden_units(self, hidden: object) -> None:
        with pytest.raises(UserError, match=r"model\.hidden=.*: give a list of sizes"):
            make("mlp", 28, hidden=hidden)

    def test_has_no_map(self) -> None:
        net = make("mlp", 28, hidden=(16, 8))
        assert not net.spatial
        assert nets.coarse_map_warning(net, (28, 28)) is None
        assert nets.stage_shapes(net, (28, 28)) == {
            "flatten": (784,),
            "hidden1": (16,),
            "hidden2": (8,),
        }


class TestGoogLeNetAux:
    def test_logits_of_three_heads(self) -> None:
        net = make("googlenet", 28, aux=True).eval()
        x = torch.randn(2, 1, 28, 28)
        logits, aux1, aux2 = net.forward_with_aux(x)  # type: ignore[operator]
        torch.testing.assert_close(logits, net(x))
        assert logits.shape == aux1.shape == aux2.shape == (2, 3)
        lower = net.get_parameter("features.inception4.b.branch1.conv.weight")

        def reaches(output: Tensor) -> bool:
            (grad,) = torch.autograd.grad(output.sum(), lower, retain_graph=True, allow_unused=True)
            return grad is not None

        assert not reaches(aux1)  # it sits after 4a
        assert reaches(aux2)  # and this after 4d

    def test_needs_the_heads(self) -> None:
        with pytest.raises(UserError, match=r"set model\.aux=true"):
            make("googlenet", 28).forward_with_aux(torch.zeros(1, 1, 28, 28))  # type: ignore[operator]
