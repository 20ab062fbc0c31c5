"""Models are cut where they can be, and refused where they can't."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medcnn.errors import UserError
from medcnn.nets import Net, Problem
from medcnn.nets.foreign.calls import Call, is_flat
from medcnn.nets.foreign.net import foreign_net, make
from medcnn.nets.foreign.seam import layout, unused


class Toy(nn.Module):
    """Children are made in another order than they run in; `between` comes before the last pool."""

    def __init__(self, between: Any = None, inplace: bool = True) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 3)
        self._act = nn.ReLU(inplace=inplace)
        self._norm = nn.BatchNorm2d(4)
        self._conv = nn.Conv2d(2, 4, 3, stride=2)
        self._conv_padding = nn.ZeroPad2d(1)
        self.blocks = nn.Sequential(
            nn.Conv2d(4, 4, 3, padding=1), nn.Identity(), nn.Conv2d(4, 6, 3, stride=2)
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        x = self._act(self._norm(self._conv(self._conv_padding(x))))
        x = self._act(self.blocks(x))
        between = self.between
        for step in between if isinstance(between, nn.ModuleList) else [between]:
            x = step(x) if step is not None else x
        logits: Tensor = self.fc(self.pool(x).flatten(1))
        return logits


class Halves(nn.Module):
    """The form of timm's models, with arithmetic between the modules."""

    def __init__(self, channels_last: bool = False) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.5))
        self.nothing = nn.Parameter(torch.zeros(1), requires_grad=False)
        self.register_parameter("none", None)
        self.conv = nn.Conv2d(2, 6, 3, stride=4)
        self.drop = nn.Dropout(0.4)
        self.fc = nn.Linear(6, 3)
        self.channels_last = channels_last

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.drop(self.conv(x)) * self.scale
        return x.permute(0, 2, 3, 1) if self.channels_last else x

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        logits: Tensor = self.fc(x.mean((1, 2) if self.channels_last else (2, 3)))
        return logits

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


def taken(model: nn.Module, **changes: Any) -> Net:
    classifiers: Sequence[nn.Module] = [model.fc] if isinstance(model.fc, nn.Module) else []
    given = {"usual_size": (32, 32), "classifiers": classifiers, "dropout": 0.0} | changes
    problem = {"in_channels": 2, "num_classes": 3}
    problem |= {field: given.pop(field) for field in vars(Problem(2, 3)) if field in given}
    return foreign_net(model, "toy", Problem(**problem), **given)


def stages(net: Net) -> list[str]:
    return [name for name, _ in net.features.named_children()]


def same(net: Net, model: nn.Module, size: int = 32) -> bool:
    x = torch.randn(2, 2, size, size, generator=torch.Generator().manual_seed(1))
    # first the model: its modules are the net's
    return torch.equal(model.eval()(x), net.eval()(x))


def test_a_chain_is_cut_in_the_order_it_runs() -> None:
    torch.manual_seed(0)
    model = Toy()
    net = taken(model)
    assert stages(net) == ["stem", "blocks0", "blocks2"]
    stem = [name for name, _ in net.features.stem.named_children()]
    assert stem == ["conv_padding", "conv", "norm", "act"]
    assert [name for name, _ in net.head.named_children()] == ["pool", "flatten", "fc"]
    assert same(net, model)
    assert not model._act.inplace
    assert net.published_names["_conv.weight"] == "features.stem.conv.weight"
    assert net.published_names["fc.bias"] == "head.fc.bias"
    assert set(net.published_names) == set(model.state_dict())


def test_the_smallest_side_is_the_smallest_that_runs() -> None:
    net = taken(Toy())
    assert net.min_size == 5
    assert net.features(torch.zeros(1, 2, 5, 5)).shape == (1, 6, 1, 1)
    with pytest.raises(RuntimeError, match="Kernel size"):
        net.features(torch.zeros(1, 2, 4, 4))
    with pytest.raises(UserError, match="toy needs images of at least 5 px, got 4×4"):
        taken(Toy(), input_size=(4, 4))
    assert taken(Toy(), usual_size=(8, 8)).min_size == 5


def test_building_leaves_weights_statistics_and_mode_alone() -> None:
    model = Toy()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    net = taken(model)
    after = model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert all(module.training for module in net.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_dropout_takes_the_place_of_the_heads_own() -> None:
    net = taken(Toy(between=nn.Dropout(0.5)), dropout=0.25)
    rates = {n: m.p for n, m in net.head.named_modules() if isinstance(m, nn.Dropout)}
    assert rates == {"fc.dropout": 0.25}
    assert net.published_names["fc.weight"] == "head.fc.linear.weight"
    net = taken(Halves(), dropout=0.25)
    rates = {n: m.p for n, m in net.named_modules() if isinstance(m, nn.Dropout)}
    assert rates == {"features.body.part.drop": 0.4, "head.part.fc.dropout": 0.25}


@pytest.mark.parametrize("between", [lambda x: 2 * x, lambda x: x.add_(1)], ids=["new", "inplace"])
def test_arithmetic_between_modules_is_no_chain(between: Any) -> None:
    with pytest.raises(UserError, match="its modules don't follow one another"):
        taken(Toy(between=between))


def test_other_models_are_cut_between_their_methods() -> None:
    for channels_last in (False, True):
        model = Halves(channels_last)
        net = taken(model)
        assert stages(net) == ["body"]
        assert net.features(torch.zeros(1, 2, 32, 32)).shape == (1, 6, 8, 8)
        assert same(net, model)
        assert set(net.published_names) == set(model.state_dict())


def test_features_that_are_a_chain_have_stages_whatever_the_head() -> None:
    class Model(Toy):
        def forward_features(self, x: Tensor) -> Tensor:
            features: Tensor = self.blocks(self._act(self._norm(self._conv(x))))
            return features

        def forward_head(self, x: Tensor) -> Tensor:
            logits: Tensor = self.fc(x.mean((2, 3)))
            return logits

        def forward(self, x: Tensor) -> Tensor:
            return self.forward_head(self.forward_features(x))

    model = Model()
    net = taken(model)
    assert stages(net) == ["stem", "blocks0", "blocks2"]
    assert same(net, model)


def test_a_model_that_computes_with_tensors_of_its_own_is_tried_on_the_cpu() -> None:
    class Model(Toy):
        def __init__(self) -> None:
            super().__init__()
            self.fixed = torch.ones(4, 1, 1)
            self.pool = nn.Sequential(Plus(self.fixed), nn.AdaptiveAvgPool2d(1))

    class Plus(nn.Module):
        def __init__(self, fixed: Tensor) -> None:
            super().__init__()
            self.fixed = torch.ones(6, 1, 1)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.fixed

    model = Model()
    means = model._norm.running_mean.clone()
    net = taken(model)
    assert same(net, model)
    assert torch.equal(model._norm.running_mean, means)
    assert net.min_size == 5


def test_a_model_that_does_not_run_is_refused() -> None:
    with pytest.raises(UserError, match=r"toy doesn't run on 1×32×32 px: .*channels"):
        taken(Toy(), in_channels=1)


def test_another_number_of_logits_is_refused() -> None:
    with pytest.raises(UserError, match="toy gives 3 numbers in place of 4 logits"):
        taken(Toy(), num_classes=4)


def test_images_of_a_size_that_does_not_run_are_refused() -> None:
    class Square(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            assert x.shape[2] == x.shape[3], "square images only\nsecond line"
            return x

    with pytest.raises(UserError, match=r"of 32×40 px, but does 32×32: square images only$"):
        taken(Toy(between=Square()), input_size=(32, 40))


def test_features_that_are_no_tensor_are_refused() -> None:
    class Pair(Halves):
        def forward_features(self, x: Tensor) -> Any:
            return x, self.conv(x)

        def forward_head(self, x: Any, pre_logits: bool = False) -> Tensor:
            return super().forward_head(x[1])

    class Scaled(Halves):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * 2

    for model in (Pair(), Scaled()):
        with pytest.raises(UserError, match="its features aren't one tensor between"):
            taken(model)


def test_weights_on_both_sides_are_refused() -> None:
    class Twice(Halves):
        def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
            return super().forward_head(self.conv(torch.cat([x, x], 1)[:, :2]))

    class Scaled(Halves):
        def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
            return super().forward_head(x) * self.scale

    with pytest.raises(UserError, match="features and head share conv"):
        taken(Twice())
    with pytest.raises(UserError, match="no attribute 'scale'"):
        taken(Scaled())
    model = Halves()
    with pytest.raises(UserError, match="its classifier isn't in the head"):
        taken(model, classifiers=[model.conv])


def test_names_of_a_layer_that_is_there_twice() -> None:
    model = Halves()
    model.again = model.conv
    net = taken(model)
    assert net.published_names["conv.bias"] == "features.body.part.conv.bias"
    assert net.published_names["again.bias"] == "features.body.part.again.bias"


def test_a_layer_that_never_runs_has_no_place_in_a_chain() -> None:
    model = Toy()
    model.aux = nn.Linear(4, 3)
    with pytest.raises(UserError, match="its modules don't follow one another"):
        taken(model)


def test_a_classifier_before_the_pooling_is_refused() -> None:
    class Squeeze(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(2, 4, 3)
            self.fc = nn.Conv2d(4, 3, 1)
            self.pool = nn.AdaptiveAvgPool2d(1)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.pool(self.fc(self.conv(x))).flatten(1)
            return logits

    with pytest.raises(UserError, match="can't be taken apart as features and head"):
        taken(Squeeze())


def test_calls_that_are_not_from_one_tensor_to_one_are_no_chain() -> None:
    class Pool(nn.Module):
        def forward(self, x: Tensor, *, over: tuple[int, int] = (2, 3)) -> Any:
            return x.mean(over, keepdim=True)

    class Model(Toy):
        def forward(self, x: Tensor) -> Tensor:
            x = self.blocks(self._conv(x))
            logits: Tensor = self.fc(self.pool(x, over=(2, 3)).flatten(1))
            return logits

    model = Model()
    model.pool = Pool()  # type: ignore[assignment]
    with pytest.raises(UserError, match="its modules don't follow one another"):
        taken(model)


def test_flattening_is_told_from_other_views() -> None:
    x = torch.zeros(2, 3, 1, 1)
    assert is_flat(x.flatten(1), x)
    assert is_flat(x[:, :, 0].flatten(1), x[:, :, 0])
    assert not is_flat(x.flatten(), x)
    assert not is_flat(torch.zeros(2, 3), x)
    assert not is_flat(x.flatten(1).clone(), x)


def test_layout() -> None:
    def of(*shape: int) -> str | None:
        return layout(torch.zeros(2, *shape), (64, 96))

    assert of(8, 4, 6) == of(8, 1, 1) == of(8, 2, 2) == "first"
    assert of(4, 6, 32) == of(1, 1, 8) == of(3, 4, 512) == "last"
    assert of(24, 8) is of(8) is None
    assert layout(None, (64, 96)) is None


def test_short_names() -> None:
    assert unused("features.denseblock1", {}) == "denseblock1"
    assert unused("blocks.0", {}) == "blocks0"
    assert unused("stages.0.1", {}) == "stages0_1"
    assert unused("_conv_stem", {}) == "conv_stem"
    assert unused("act", {"act"}) == "act_2"
    assert unused("conv_stem", {"conv_stem", "conv_stem_2"}) == "conv_stem_3"
    assert Call("x", nn.Identity(), None).gave is None


def test_options_that_a_library_refuses() -> None:
    def factory(width: int = 1) -> int:
        if width < 0:
            raise ValueError("width below 0\nand more")
        return width

    assert make("toy", factory, {"width": 2, "size": 3}, optional=["size"]) == (2, {"width": 2})
    with pytest.raises(UserError, match=r"^model\.size: toy has no such option$"):
        make("toy", factory, {"size": 3})
    with pytest.raises(UserError, match=r"^toy can't be made: width below 0$"):
        make("toy", factory, {"width": -1})


class Tokens(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).transpose(1, 2)


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)[..., None, None]


def test_tokens_in_a_chain_are_no_head() -> None:
    with pytest.raises(UserError, match="its modules don't follow one another"):
        taken(Toy(between=nn.ModuleList([Tokens(), Mean()])))


def test_stages_may_have_their_channels_last() -> None:
    class Last(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.permute(0, 2, 3, 1)

    class First(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.permute(0, 3, 1, 2)

    model = Toy(between=nn.ModuleList([Last(), nn.Linear(6, 6), nn.Linear(6, 6), First()]))
    net = taken(model)
    assert stages(net) == ["stem", "blocks0", "blocks2", "between1", "between2"]
    x = torch.zeros(1, 2, 32, 32)
    for stage in net.features:
        x = stage(x)
        assert x.shape[1] in (4, 6)
        assert x.shape[2] == x.shape[3]
    assert same(net, model)
