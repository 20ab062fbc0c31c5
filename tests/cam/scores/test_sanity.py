import copy

import pytest
import torch
from torch import Tensor, nn

from medcnn.cam import explain
from medcnn.cam.scores.sanity import DECIDING_STEP, LIMIT, randomisation, randomised
from medcnn.cam.scores.similarity import rank_correlation, ssim
from medcnn.errors import UserError
from medcnn.nets import build


class Scale(nn.Module):
    """Parameters of its own and no reset_parameters."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.arange(1.0, channels + 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale.reshape(-1, *[1] * (x.dim() - 2))


class Toy(nn.Module):
    """Four stages, one without parameters, and a head that learned to like the second channel."""

    def __init__(self, dims: int = 2) -> None:
        super().__init__()
        conv = nn.Conv2d if dims == 2 else nn.Conv3d
        norm = nn.BatchNorm2d if dims == 2 else nn.BatchNorm3d
        pool = nn.AvgPool2d(2) if dims == 2 else nn.AvgPool3d(2)
        self.features = nn.Sequential()
        self.features.add_module("first", nn.Sequential(conv(1, 8, 3, padding=1), nn.ReLU()))
        self.features.add_module("pool", pool)
        second = nn.Sequential(conv(8, 8, 3, padding=1), norm(8), Scale(8), nn.ReLU())
        self.features.add_module("second", second)
        self.features.add_module("third", nn.Sequential(conv(8, 8, 3, padding=1), nn.ReLU()))
        flat = nn.AdaptiveAvgPool2d(1) if dims == 2 else nn.AdaptiveAvgPool3d(1)
        self.head = nn.Sequential(flat, nn.Flatten(), nn.Linear(8, 3))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(x))
        return logits


def toy(dims: int = 2) -> Toy:
    torch.manual_seed(0)
    net = Toy(dims)
    norm = net.features.second[1]
    for _ in range(3):  # its statistics are those of images
        net(2 + batch(dims))
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.uniform_(norm.bias, -0.5, 0.5)
    return net.eval()


def batch(dims: int = 2) -> Tensor:
    return torch.randn(3, 1, *[16] * dims, generator=torch.Generator().manual_seed(1))


def changed(net: nn.Module, twin: nn.Module) -> set[str]:
    """Names of the parameters and buffers that differ."""
    other = twin.state_dict()
    return {name for name, value in net.state_dict().items() if not torch.equal(value, other[name])}


def names(net: nn.Module, *prefixes: str) -> set[str]:
    return {name for name in net.state_dict() if name.startswith(prefixes)}


@pytest.mark.parametrize("dims", [2, 3])
def test_cascading_goes_down_and_independent_takes_one_at_a_time(dims: int) -> None:
    net = toy(dims)
    before = copy.deepcopy(net.state_dict())
    steps = [(name, changed(net, twin)) for name, twin in randomised(net)]
    head, third = names(net, "head"), names(net, "features.third")
    second, first = names(net, "features.second"), names(net, "features.first")
    assert [name for name, _ in steps] == ["head", "third", "second", "first"]
    assert [found for _, found in steps] == [
        head,
        head | third,
        head | third | second,
        head | third | second | first,
    ]
    steps = [(name, changed(net, twin)) for name, twin in randomised(net, "independent")]
    assert [name for name, _ in steps] == ["head", "third", "second", "first"]
    assert [found for _, found in steps] == [head, third, second, first]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_batch_norms_begin_again_and_own_parameters_are_shuffled() -> None:
    net = toy()
    twin = dict(randomised(net))["first"]
    _, norm, scale, _ = twin.get_submodule("features.second").children()
    assert (norm.running_mean == 0).all()
    assert (norm.running_var == 1).all()
    assert norm.num_batches_tracked == 0
    assert (norm.weight == 1).all()
    assert (norm.bias == 0).all()
    assert scale.scale.sort().values.tolist() == list(range(1, 9))


def test_weight_normalised_layers_change_too() -> None:
    """Their reset_parameters doesn't reach what is learned."""
    net = toy()
    nn.utils.parametrizations.weight_norm(net.features.third[0])
    twin = next(twin for name, twin in randomised(net, "independent") if name == "third")
    net_weight = net.features.third[0].weight
    assert not torch.allclose(twin.get_submodule("features.third")[0].weight, net_weight)


def test_draws_depend_on_seed_and_part_alone() -> None:
    net = toy()
    state = torch.get_rng_state()
    one = {name: twin.state_dict() for name, twin in randomised(net) if name == "third"}
    again = {
        name: copy.deepcopy(twin.state_dict())
        for name, twin in randomised(net, "independent")
        if name == "third"
    }
    key = "features.third.0.weight"
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one["third"][key], again["third"][key])
    other = next(twin for name, twin in randomised(net, seed=1) if name == "third")
    assert not torch.equal(other.state_dict()[key], again["third"][key])


def test_the_copy_has_the_nets_mode_and_there_is_one() -> None:
    net = toy()
    net.features.first.train()
    twins = []
    for _, twin in randomised(net, "independent"):
        twins.append(twin)
        assert [m.training for m in twin.modules()] == [m.training for m in net.modules()]
    assert all(twin is twins[0] for twin in twins)
    assert twins[0] is not net


def test_features_without_stages_are_one_part() -> None:
    net = nn.ModuleDict({"features": Scale(8), "head": nn.Linear(8, 3)})
    assert [name for name, _ in randomised(net)] == ["head", "features"]


def test_randomisation_compares_with_the_nets_own_maps() -> None:
    net, images, classes = toy(), batch(), torch.tensor([0, 1, 2])

    def gradcam(net: nn.Module, images: Tensor) -> Tensor:
        return explain(net, images, classes, method="cam")  # type: ignore[arg-type]

    steps = randomisation(net, images, gradcam, order="independent", seed=3)
    original = gradcam(net, images)
    expected = [(name, gradcam(twin, images)) for name, twin in randomised(net, "independent", 3)]
    for step, (name, maps) in zip(steps, expected, strict=True):
        assert step.part == name
        assert torch.equal(step.rank_correlation, rank_correlation(original, maps))
        assert torch.equal(step.ssim, ssim(original, maps))
        assert (step.rank_correlation < 0.999).all()


@pytest.fixture(scope="module")
def disc_finder() -> tuple[nn.Module, Tensor]:
    """A net that learned in a few steps to tell small bright discs from squares of noise."""
    torch.manual_seed(0)
    net = build("vgg", in_channels=1, num_classes=2, input_size=(32, 32), width=0.125, head="gap")
    generator = torch.Generator().manual_seed(2)
    images = torch.rand(64, 1, 32, 32, generator=generator) / 2
    labels = torch.arange(64) % 2
    corners = torch.randint(0, 22, (64, 2), generator=generator).tolist()
    ys, xs = torch.meshgrid(torch.arange(10) - 4.5, torch.arange(10) - 4.5, indexing="ij")
    disc = (ys**2 + xs**2 < 20).float()
    for image, label, (y, x) in zip(images, labels, corners, strict=True):
        image[0, y : y + 10, x : x + 10] += disc if label else 0.4 * disc.flip(0).roll(5, 0)
    optimiser = torch.optim.AdamW(net.parameters(), 3e-3)
    for _ in range(20):
        loss = nn.functional.cross_entropy(net(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    net.eval()
    assert (net(images).argmax(1) == labels).float().mean() > 0.9
    return net, images[:16]


def test_guided_backpropagation_fails_and_gradcam_passes(
    disc_finder: tuple[nn.Module, Tensor],
) -> None:
    """As J. Adebayo et al. 2018 found."""
    net, images = disc_finder
    classes = net(images).argmax(1)
    means = {}
    for method in ("gradcam", "gradient", "guided_backprop"):

        def maps(net: nn.Module, images: Tensor, method: str = method) -> Tensor:
            return explain(net, images, classes, method=method)

        steps = randomisation(net, images, maps)
        means[method] = float(steps[DECIDING_STEP].rank_correlation.nanmean())
    assert means["gradcam"] < LIMIT
    assert means["gradient"] < LIMIT
    assert means["guided_backprop"] > LIMIT


def test_at_the_deciding_step_the_head_and_the_last_stage_are_random() -> None:
    parts = [name for name, _ in randomised(toy())]
    assert parts[: DECIDING_STEP + 1] == ["head", "third"]


def test_bad_input() -> None:
    with pytest.raises(UserError, match="order=upwards: choose one of cascading, independent"):
        next(randomised(toy(), "upwards"))
