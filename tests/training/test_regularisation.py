"""Penalties and limits of the weights, and mixing of training images."""

from pathlib import Path

import jobs
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchvision.transforms import v2

from medcnn.objective import Objective
from medcnn.training.regularisation import Regularisation, mixed_loss

KEYS = [(3, epoch, number) for epoch in range(4) for number in range(100)]


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3))


def penalised(regularisation: Regularisation) -> nn.Sequential:
    """A net whose gradients are those of the penalty alone."""
    module = net()
    penalty = regularisation.penalty(module)
    assert penalty is not None
    penalty.backward()
    return module


def test_l1_pulls_each_weight_by_the_same() -> None:
    conv, norm, _, fc = penalised(Regularisation(l1=0.1))
    assert torch.allclose(fc.weight.grad, 0.1 * fc.weight.sign())
    assert torch.allclose(conv.weight.grad, 0.1 * conv.weight.sign())
    assert [p.grad for p in (conv.bias, norm.weight, norm.bias, fc.bias)] == [None] * 4


def test_l2_is_the_weight_decay_of_sgd() -> None:
    module, decayed = penalised(Regularisation(l2=0.3)), net()
    torch.optim.SGD(module.parameters(), lr=0.5).step()
    weights = [p for p in decayed.parameters() if p.ndim > 1]
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    torch.optim.SGD(weights, lr=0.5, weight_decay=0.3).step()
    for one, other in zip(module.parameters(), decayed.parameters(), strict=True):
        assert torch.allclose(one, other)


def test_frozen_weights_have_no_penalty_and_no_limit() -> None:
    module = net().requires_grad_(False)
    before = module[0].weight.clone()
    Regularisation(max_norm=0.01).limit(module)
    assert torch.equal(module[0].weight, before)
    assert Regularisation(l1=1.0, l2=1.0).penalty(module) is None
    assert Regularisation().penalty(net()) is None


def test_units_with_long_weights_are_scaled_to_the_greatest_length() -> None:
    module = net()
    before = {name: p.clone() for name, p in module.named_parameters()}
    lengths = before["0.weight"].flatten(1).norm(dim=1)
    limit = float(lengths.detach().median())
    Regularisation(max_norm=limit).limit(module)
    factors = (limit / lengths).clamp(max=1)
    assert 0 < (factors < 1).sum() < 4
    assert torch.allclose(module[0].weight, before["0.weight"] * factors[:, None, None, None])
    assert torch.equal(module[0].bias, before["0.bias"])


def batch(*size: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    labels = torch.tensor([0, 2, 1, 1, 0])
    return {"image": torch.rand(5, 1, *size, generator=generator), "label": labels}


def soft_labels_of(
    transform: nn.Module, given: dict[str, Tensor], **params: object
) -> list[Tensor]:
    params |= {"labels": given["label"], "batch_size": 5}
    return [transform.transform(given[name], params) for name in ("image", "label")]


def test_mixup_is_that_of_torchvision() -> None:
    given, logits = batch(6, 8), torch.randn(5, 3)
    mixed = Regularisation(mixup=0.7).mix(given, (0, 0, 0))
    transform = v2.MixUp(num_classes=3)
    images, labels = soft_labels_of(transform, given, lam=float(mixed["share"]))
    assert torch.allclose(mixed["image"], images, atol=1e-6)
    loss = mixed_loss(Objective("multiclass", 3).loss, logits, mixed)
    assert torch.allclose(loss, cross_entropy(logits, labels))


def test_cutmix_is_that_of_torchvision() -> None:
    given, logits = batch(16, 24), torch.randn(5, 3)
    mixed = Regularisation(cutmix=1.0).mix(given, (0, 0, 4))
    inside = (mixed["image"] != given["image"]).any(0)[0].nonzero()
    (y1, x1), (y2, x2) = inside.min(0).values.tolist(), (inside.max(0).values + 1).tolist()
    share = float(mixed["share"])
    assert share == pytest.approx(1 - (y2 - y1) * (x2 - x1) / (16 * 24))
    transform = v2.CutMix(num_classes=3)
    images, labels = soft_labels_of(transform, given, box=(x1, y1, x2, y2), lam_adjusted=share)
    assert torch.equal(mixed["image"], images)
    loss = mixed_loss(Objective("multiclass", 3).loss, logits, mixed)
    assert torch.allclose(loss, cross_entropy(logits, labels))


def test_shares_are_distributed_as_in_the_papers() -> None:
    given = {"image": torch.zeros(2, 1, 64, 64), "label": torch.zeros(2)}
    shares = [float(Regularisation(mixup=0.4).mix(given, key)["share"]) for key in KEYS]
    assert stats.kstest(shares, stats.beta(0.4, 0.4).cdf).pvalue > 0.01
    cut = [float(Regularisation(cutmix=1.0).mix(given, key)["share"]) for key in KEYS]
    torch.manual_seed(0)
    size = [torch.zeros(2, 1, 64, 64)]
    theirs = [v2.CutMix(num_classes=2).make_params(size)["lam_adjusted"] for _ in KEYS]
    assert stats.ks_2samp(np.round(cut, 2), np.round(theirs, 2)).pvalue > 0.01


def test_a_box_of_a_volume_is_cut_along_all_axes() -> None:
    given = batch(8, 10, 12)
    mixed = Regularisation(cutmix=1.0).mix(given, (0, 0, 1))
    changed = (mixed["image"] != given["image"])[0, 0]
    sides = (changed.nonzero().max(0).values - changed.nonzero().min(0).values + 1).tolist()
    assert all(1 < side < whole for side, whole in zip(sides, (8, 10, 12), strict=True))
    assert float(mixed["share"]) == pytest.approx(1 - np.prod(sides) / changed.numel())
    assert torch.equal(mixed["image"][changed.expand(5, 1, -1, -1, -1)],
                       given["image"].roll(1, 0)[changed.expand(5, 1, -1, -1, -1)])  # fmt: skip


def test_the_draw_depends_on_seed_epoch_and_batch_alone() -> None:
    both, given = Regularisation(mixup=1.0, cutmix=1.0), batch(24, 24)
    shares, cuts = set(), 0
    for key in KEYS:
        mixed = both.mix(given, key)
        torch.rand(3)
        again = both.mix({name: one[2:] for name, one in given.items()}, key)
        assert again["share"] == mixed["share"]
        shares.add(float(mixed["share"]))
        cuts += bool((mixed["image"] == given["image"]).any())
    assert 160 < cuts < 240  # either way as likely
    assert len(shares) > 250
    assert mixed.keys() - given.keys() == {"other_label", "share"}
    assert Regularisation(l1=1.0).mix(given, KEYS[0]) is given


@pytest.mark.parametrize("task", ["multilabel", "regression"])
def test_unknown_labels_count_for_nothing(task: str) -> None:
    labels = torch.tensor([[1, 0], [-1, 1], [0, -1], [1, 1]])
    if task == "regression":
        labels = labels.float().masked_fill(labels == -1, torch.nan)
    objective = Objective(task, 2)  # type: ignore[arg-type]
    logits = torch.randn(4, 2, requires_grad=True)
    given = {"image": torch.rand(4, 1, 8, 8), "label": labels}
    mixed = Regularisation(mixup=1.0).mix(given, (0, 0, 0))
    loss, share = mixed_loss(objective.loss, logits, mixed), mixed["share"]
    first, second = objective.loss(logits, labels), objective.loss(logits, labels.roll(1, 0))
    assert torch.allclose(loss, share * first + (1 - share) * second)
    assert loss.isfinite()


ALL = (
    *jobs.QUICK, "regularise=mixup", "regularise.cutmix=1.0", "regularise.l1=1e-4",
    "regularise.l2=1e-3", "regularise.max_norm=0.4", "model.dropout=0.2",
)  # fmt: skip


def test_a_training_with_all_of_it_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    whole = jobs.train(tmp_path / "whole", *ALL)
    parts = jobs.train_in_parts(tmp_path / "parts", *ALL)
    weights = [jobs.checkpoint(run, "last")["state_dict"] for run in (whole, parts)]
    assert jobs.same_weights(*weights)
    several = [w.flatten(1).norm(dim=1) for w in weights[0].values() if w.ndim > 1]
    assert torch.cat(several).max() <= 0.4 + 1e-6
    penalties = pd.read_csv(whole / "metrics.csv")["train/penalty"]
    assert (penalties > 0).all()
