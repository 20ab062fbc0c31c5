"""Heads: what pools, and that a map is exact where it is said to be."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medcnn.errors import UserError
from medcnn.nets.heads import (
    LSE_SHARPNESS,
    TOP_SHARE,
    AttentionHead,
    DenseHead,
    LinearHead,
    LogSumExpHead,
    TopHead,
    choose_head,
    pooled_head,
)

SIZES = [(5, 7), (3, 4, 5)]


def maps_of(*size: int) -> Tensor:
    """Maps (2, 6, *size)."""
    return torch.randn(2, 6, *size, generator=torch.Generator().manual_seed(0))


def head_of(form: type[LinearHead]) -> LinearHead:
    torch.manual_seed(1)
    return form(6, 3)


@pytest.mark.parametrize("size", SIZES)
def test_the_mean_of_the_class_map_is_the_logit(size: tuple[int, ...]) -> None:
    head, maps = head_of(LinearHead), maps_of(*size)
    logits = head(maps)
    for k in range(3):  # Zhou et al. 2016, eq. 2: the map of class k is the weighted sum of maps
        weights = head.fc.weight[k].view(1, -1, *[1] * len(size))
        cam = (weights * maps).sum(1)
        torch.testing.assert_close(cam.flatten(1).mean(1) + head.fc.bias[k], logits[:, k])


@pytest.mark.parametrize("size", SIZES)
def test_log_sum_exp_by_hand_and_between_mean_and_maximum(size: tuple[int, ...]) -> None:
    assert LSE_SHARPNESS == 10
    head, maps = head_of(LogSumExpHead), maps_of(*size)
    pooled = head.pool(maps)
    flat = maps.flatten(2).double()
    torch.testing.assert_close(pooled.double(), (10 * flat).exp().mean(2).log() / 10)
    assert (pooled > maps.flatten(2).mean(2)).all()
    assert (pooled < maps.flatten(2).amax(2)).all()
    torch.testing.assert_close(head(maps), F.linear(pooled, head.fc.weight, head.fc.bias))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_log_sum_exp_of_large_values(dtype: torch.dtype) -> None:
    maps = torch.tensor([[[[1e4, -1e4], [0.0, 1e4]]]], dtype=dtype)
    pooled = head_of(LogSumExpHead).pool(maps)
    assert pooled.dtype == dtype
    expected = 1e4 - torch.tensor(2.0).log().item() / 10  # two of four places have the maximum
    assert pooled.item() == pytest.approx(expected, rel=1e-6 if dtype == torch.float32 else 4e-3)
    flat = head_of(LogSumExpHead).pool(torch.full((1, 6, 2, 2), -1e4))
    torch.testing.assert_close(flat, torch.full((1, 6), -1e4))


def test_log_sum_exp_in_half_precision_is_rounded_once() -> None:
    head, maps = head_of(LogSumExpHead), maps_of(5, 7).bfloat16()
    assert torch.equal(head.pool(maps), head.pool(maps.float()).bfloat16())


@pytest.mark.parametrize("size", SIZES)
def test_attention_is_the_formula_of_ilse(size: tuple[int, ...]) -> None:
    head, maps = head_of(AttentionHead), maps_of(*size)
    assert isinstance(head, AttentionHead)
    weights = head.weights(maps)
    assert weights.shape == (2, *size)
    assert (weights > 0).all()
    torch.testing.assert_close(weights.flatten(1).sum(1), torch.ones(2))
    v, b, w = head.v.weight, head.v.bias, head.w.weight[0]
    assert v.shape == (128, 6)
    for n, bag in enumerate(maps.flatten(2)):  # (channels, places): one instance a column
        scores = torch.stack([w @ torch.tanh(v @ h + b) for h in bag.T]).exp()
        a = scores / scores.sum()
        torch.testing.assert_close(weights[n].flatten(), a)
        torch.testing.assert_close(head.pool(maps)[n], (a * bag).sum(1))
    torch.testing.assert_close(head(maps), head.fc(head.pool(maps)))


@pytest.mark.parametrize("form", [LinearHead, LogSumExpHead, AttentionHead])
def test_gradient_reaches_every_place_and_weight(form: type[LinearHead]) -> None:
    head, maps = head_of(form), maps_of(5, 7).requires_grad_()
    head(maps)[:, 0].sum().backward()
    assert maps.grad is not None
    assert maps.grad.isfinite().all()
    assert (maps.grad.abs().sum(1) > 0).all()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_dropout_is_between_pooling_and_the_linear_layer() -> None:
    for form in (LinearHead, LogSumExpHead, AttentionHead):
        head, maps = form(6, 3, dropout=0.5), maps_of(5, 7)
        torch.manual_seed(2)
        logits = head(maps)
        torch.manual_seed(2)
        dropped = F.dropout(head.pool(maps), 0.5)
        torch.testing.assert_close(logits, head.fc(dropped))
        assert not torch.equal(head.eval()(maps), logits)


@pytest.mark.parametrize(("size", "count"), [((5, 7), 4), ((3, 4, 5), 6), ((2, 2), 1)])
def test_the_highest_tenth_of_the_class_map_decides(size: tuple[int, ...], count: int) -> None:
    assert TOP_SHARE == 0.1
    head, maps = head_of(TopHead), maps_of(*size).requires_grad_()
    logits = head(maps)
    for n, k in ((0, 0), (0, 2), (1, 1)):
        weights = head.fc.weight[k].view(-1, *[1] * len(size))
        scores = ((weights * maps[n]).sum(0) + head.fc.bias[k]).flatten().tolist()
        highest = sorted(scores)[-count:]
        assert logits[n, k].item() == pytest.approx(sum(highest) / count, rel=1e-5)
        (gradient,) = torch.autograd.grad(logits[n, k], maps, retain_graph=True)
        reached = gradient[n].abs().sum(0).flatten() > 0
        assert reached.nonzero()[:, 0].tolist() == [
            place for place, score in enumerate(scores) if score >= highest[0]
        ]
        # so Grad-CAM's weights are those of the class, divided by the number of places
        mean = gradient[n].flatten(1).mean(1) * len(scores)
        torch.testing.assert_close(mean, head.fc.weight[k])


def test_dropout_of_the_top_head_is_before_the_linear_layer() -> None:
    head, maps = TopHead(6, 3, dropout=0.5), maps_of(5, 7)
    torch.manual_seed(2)
    logits = head(maps)
    torch.manual_seed(2)
    dropped = F.dropout(maps.flatten(2).transpose(1, 2), 0.5)
    torch.testing.assert_close(logits, head.fc(dropped).topk(4, 1).values.mean(1))
    assert not torch.equal(head.eval()(maps), logits)


def test_dense_head_by_hand() -> None:
    head = DenseHead(
        2, 3, grid=2, hidden=(5, 4), dropout=0.5, pool=nn.MaxPool2d(2), activation=nn.Tanh
    )
    maps = maps_of(8, 12)[:, :2]
    pooled = F.max_pool2d(maps, 2)  # 4×6, whose quarters are 2×3
    rows = [quarter for half in pooled.split(2, 2) for quarter in half.split(3, 3)]
    x = torch.stack([quarter.mean((2, 3)) for quarter in rows], 2).flatten(1)
    for fc in (head.fc1, head.fc2):
        x = torch.tanh(fc(x))
    torch.testing.assert_close(head.eval()(maps), head.fc3(x))


def test_dropout_comes_after_both_hidden_layers() -> None:
    head, maps = DenseHead(2, 3, grid=1, hidden=(50, 40), dropout=0.5), maps_of(5, 7)[:, :2]
    torch.manual_seed(2)
    logits = head(maps)
    torch.manual_seed(2)
    x = maps.mean((2, 3))
    for fc in (head.fc1, head.fc2):
        x = F.dropout(F.relu(fc(x)), 0.5)
    torch.testing.assert_close(logits, head.fc3(x))


def test_dense_head_in_3d() -> None:
    head = DenseHead(2, 3, grid=1, hidden=(5, 4), spatial_dims=3)
    maps = maps_of(2, 3, 4)[:, :2]
    x = maps.mean((2, 3, 4))
    expected = head.fc3(F.relu(head.fc2(F.relu(head.fc1(x)))))
    torch.testing.assert_close(head(maps), expected)


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        ("gap", LinearHead),
        ("attention", AttentionHead),
        ("lse", LogSumExpHead),
        ("top", TopHead),
    ],
)
def test_by_name(kind: str, form: type[LinearHead]) -> None:
    head = pooled_head("resnet", kind, 6, 3, 0.25)
    assert type(head) is form
    assert (head.fc.in_features, head.fc.out_features, head.dropout.p) == (6, 3, 0.25)


def test_unknown_names() -> None:
    with pytest.raises(UserError, match=r"^model\.head=fc: resnet has gap, attention, lse, top$"):
        pooled_head("resnet", "fc", 6, 3, 0.0)
    with pytest.raises(UserError, match=r"^model\.head=max: vgg has fc, gap, attention, lse, top$"):
        choose_head("vgg", "max")
    assert choose_head("vgg", "fc") == "fc"
