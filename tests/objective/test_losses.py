"""Each loss against an independent source: PyTorch, torchvision, MONAI, or the paper by hand."""

import math
from typing import Any

import monai.losses
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from statsmodels.miscmodels.ordinal_model import OrderedModel
from torch import Tensor, nn
from torchvision.ops import sigmoid_focal_loss

from medcnn.errors import UserError
from medcnn.objective import UNKNOWN, Objective, losses
from medcnn.objective.choice import FUNCTIONS, OF_PRIOR, tasks_of
from medcnn.objective.labels import TASKS

LABELS = torch.tensor([0, 1, 2, 2, 1, 0])
SEVERAL = torch.tensor([[0, 1, 1], [1, 0, 0]] * 3)
OPTIONS: dict[str, dict[str, Any]] = {
    "cross_entropy": {"label_smoothing": 0.1},
    "focal": {"gamma": 1.5},
    "asymmetric": {"gamma_positive": 1.0, "gamma_negative": 4.0, "clip": 0.05},
    "logit_adjusted": {"tau": 1.0},
    "auc_margin": {"margin": 1.0},
    "generalised_cross_entropy": {"q": 0.7},
    "huber": {"delta": 0.5},
    "quantile": {"levels": [0.1, 0.5, 0.9]},
}
CASES = [(name, task) for name in FUNCTIONS for task in tasks_of(name)]


def logits(outputs: int = 3) -> Tensor:
    return 2 * torch.randn(6, outputs, generator=torch.Generator().manual_seed(0))


def made(name: str, task: Any, **options: Any) -> tuple[Objective, Tensor, Tensor]:
    """An objective, and the logits and labels of six samples."""
    classes = 2 if task == "binary" else 3
    prior = [0.9, 0.1, 0.3][:classes] if name in OF_PRIOR else None
    loss = {"name": name, **OPTIONS.get(name, {})}
    objective = Objective(task, classes, loss=loss, prior=prior, **options)
    labels = {"multilabel": SEVERAL, "regression": logits(3).flip(0)}.get(task, LABELS)
    return objective, logits(objective.num_outputs), labels.clamp(max=1 if classes == 2 else 9)


def test_label_smoothing() -> None:
    expected = F.cross_entropy(logits(), LABELS, label_smoothing=0.2, reduction="none")
    found = losses.cross_entropy(logits(), LABELS, label_smoothing=0.2)
    torch.testing.assert_close(found, expected)
    log_p = logits().sigmoid().log(), (1 - logits().sigmoid()).log()
    each = torch.where(
        SEVERAL == 1, -0.9 * log_p[0] - 0.1 * log_p[1], -0.1 * log_p[0] - 0.9 * log_p[1]
    )
    torch.testing.assert_close(losses.cross_entropy(logits(), SEVERAL, label_smoothing=0.2), each)


def test_focal() -> None:
    several = sigmoid_focal_loss(logits(), SEVERAL.float(), alpha=-1, gamma=2)
    torch.testing.assert_close(losses.focal(logits(), SEVERAL, gamma=2), several)
    by_monai = monai.losses.FocalLoss(use_softmax=True, gamma=1.5, reduction="none")
    each = by_monai(logits(), F.one_hot(LABELS, 3).float()).sum(1)
    torch.testing.assert_close(losses.focal(logits(), LABELS, gamma=1.5), each)
    plain = losses.cross_entropy(logits(), LABELS)
    torch.testing.assert_close(losses.focal(logits(), LABELS, gamma=0), plain)


def test_asymmetric_is_that_of_the_paper() -> None:
    p = logits().sigmoid()
    shifted = (p - 0.2).clamp(min=0)
    there, absent = -((1 - p) ** 1.5) * p.log(), -(shifted**3) * (1 - shifted).log()
    found = losses.asymmetric(logits(), SEVERAL, gamma_positive=1.5, gamma_negative=3, clip=0.2)
    torch.testing.assert_close(found, torch.where(SEVERAL == 1, there, absent))
    none = losses.asymmetric(logits(), SEVERAL, gamma_positive=0, gamma_negative=0, clip=0)
    torch.testing.assert_close(none, losses.cross_entropy(logits(), SEVERAL))
    focal = losses.asymmetric(logits(), SEVERAL, gamma_positive=2, gamma_negative=2, clip=0)
    torch.testing.assert_close(focal, losses.focal(logits(), SEVERAL, gamma=2))


def test_logit_adjustment() -> None:
    """Menon et al. (2021), eq. 10: log(1 + Σ_{k≠y} (π_k / π_y)^τ exp(f_k − f_y))."""
    prior, tau, z = torch.tensor([0.7, 0.2, 0.1]), 0.5, logits()
    expected = []
    for row, y in zip(z, LABELS.tolist(), strict=True):
        others = [k for k in range(3) if k != y]
        terms = [(prior[k] / prior[y]) ** tau * (row[k] - row[y]).exp() for k in others]
        expected.append(math.log1p(float(sum(terms))))
    found = losses.logit_adjusted(z, LABELS, prior=prior, tau=tau)
    torch.testing.assert_close(found, torch.tensor(expected))


def test_two_classes_are_adjusted_as_one_logit_of_both() -> None:
    z, labels = logits(2), LABELS.clamp(max=1)
    prior = torch.tensor([0.8, 0.2])
    expected = losses.logit_adjusted(z, labels, prior=prior, tau=1.3)
    found = losses.logit_adjusted(z[:, 1] - z[:, 0], labels, prior=prior[1], tau=1.3)
    torch.testing.assert_close(found, expected)
    objective = Objective(
        "binary", 2, positive=0, loss={"name": "logit_adjusted", "tau": 1.3}, prior=[0.8, 0.2]
    )
    torch.testing.assert_close(objective.loss(z[:, :1] - z[:, 1:], labels), expected.mean())


def test_generalised_cross_entropy() -> None:
    p = logits().softmax(1)[torch.arange(6), LABELS]
    found = losses.generalised_cross_entropy(logits(), LABELS, q=0.7)
    torch.testing.assert_close(found, (1 - p**0.7) / 0.7)
    absolute = losses.generalised_cross_entropy(logits(), LABELS, q=1.0)
    torch.testing.assert_close(absolute, 1 - p)
    nearly = losses.generalised_cross_entropy(logits().double(), LABELS, q=1e-7)
    torch.testing.assert_close(nearly, -p.log().double(), rtol=1e-5, atol=1e-5)


def test_regression() -> None:
    predicted, targets = logits(), logits().flip(0)
    error = (predicted - targets).abs()
    torch.testing.assert_close(losses.l1(predicted, targets), error)
    found = losses.huber(predicted, targets, delta=0.7)
    torch.testing.assert_close(found, torch.where(error < 0.7, error**2 / 2, 0.7 * (error - 0.35)))
    mean, std = [50.0, 0.1, -3.0], [12.0, 0.02, 4.0]
    objective = Objective("regression", 3, loss={"name": "l1"}, target_mean=mean, target_std=std)
    labels = targets * torch.tensor(std) + torch.tensor(mean)
    torch.testing.assert_close(objective.loss(predicted, labels), error.mean())


@pytest.mark.parametrize(("name", "task"), CASES)
def test_weights_and_unknown_labels(name: str, task: Any) -> None:
    """A label that isn't known is as one that isn't there; a weight of 2 as a sample twice."""
    objective, z, labels = made(name, task)
    unknown = torch.nan if task == "regression" else UNKNOWN
    masked = labels.clone()
    masked[2:4] = unknown
    kept = [0, 1, 4, 5]
    z.requires_grad_()
    loss = objective.loss(z, masked)
    torch.testing.assert_close(loss, objective.loss(z[kept], labels[kept]))
    (gradient,) = torch.autograd.grad(loss, z)
    assert (gradient[2:4] == 0).all()
    assert gradient[kept].abs().sum() > 0
    assert objective.loss(z, torch.full_like(labels, unknown)).item() == 0
    if task in ("binary", "multiclass", "ordinal"):
        weights = [1.0, 2.0, 1.0][: objective.num_classes]
        weighted, *_ = made(name, task, class_weights=weights)
        twice = torch.cat([torch.arange(6), torch.where(labels == 1)[0]])
        torch.testing.assert_close(
            weighted.loss(z, labels), objective.loss(z[twice], labels[twice])
        )


@pytest.mark.parametrize(("name", "task"), CASES)
def test_loss_falls_along_its_gradient_and_is_finite(name: str, task: Any) -> None:
    objective, z, labels = made(name, task)
    z.requires_grad_()
    before = objective.loss(z, labels)
    (gradient,) = torch.autograd.grad(before, z)
    assert objective.loss(z - 0.01 * gradient, labels) < before
    for scale in (0.0, 100.0):
        far = (scale * z.detach()).requires_grad_()
        loss = objective.loss(far, labels)
        (gradient,) = torch.autograd.grad(loss, far)
        assert loss.isfinite()
        assert gradient.isfinite().all()


def test_of_each_task_there_is_its_own() -> None:
    for task in TASKS:
        classes = 2 if task == "binary" else 3
        own, named = Objective(task, classes), Objective(task, classes, loss={"name": None})
        assert own.loss_name == named.loss_name
        assert task in tasks_of(own.loss_name)


def test_losses_that_do_not_fit() -> None:
    with pytest.raises(UserError, match=r"loss=hing: choose one of cross_entropy, focal"):
        Objective("binary", 2, loss={"name": "hing"})
    with pytest.raises(UserError, match="loss=focal is for binary and multiclass and multilabel"):
        Objective("ordinal", 3, loss={"name": "focal", "gamma": 2.0})
    with pytest.raises(UserError, match="this one is multiclass: choose one of cross_entropy"):
        Objective("multiclass", 3, loss={"name": "huber", "delta": 1.0})
    with pytest.raises(UserError, match="loss=logit_adjusted needs the prior"):
        Objective("multiclass", 3, loss={"name": "logit_adjusted", "tau": 1.0})


def test_hinge() -> None:
    """The formulas of Weston and Watkins (1999), and of Cortes and Vapnik (1995)."""
    z = logits()
    for power, name in ((1, "hinge"), (2, "squared_hinge")):
        terms = (1 - z[torch.arange(6), LABELS][:, None] + z).clamp(min=0) ** power
        others = F.one_hot(LABELS, 3) == 0
        expected = torch.where(others, terms, 0).sum(1) / 3
        torch.testing.assert_close(losses.hinge(z, LABELS, power=power), expected)
        one = nn.MultiMarginLoss(p=power)(z, LABELS)
        torch.testing.assert_close(
            Objective("multiclass", 3, loss={"name": name}).loss(z, LABELS), one
        )
        signs = torch.where(SEVERAL == 1, 1.0, -1.0)
        several = (1 - signs * z).clamp(min=0) ** power
        torch.testing.assert_close(losses.hinge(z, SEVERAL, power=power), several)


def test_auc_margin_is_that_of_monai() -> None:
    z, truth = logits(1)[:, 0], torch.tensor([0, 1, 0, 0, 1, 0])
    reference = monai.losses.AUCMLoss(margin=0.8, imratio=0.3)
    with torch.no_grad():
        for parameter, value in ((reference.a, 0.7), (reference.b, 0.2), (reference.alpha, 0.4)):
            parameter.fill_(value)
    expected = reference(z.sigmoid()[:, None], truth[:, None].float())
    objective = Objective("binary", 2, loss={"name": "auc_margin", "margin": 0.8}, prior=[0.7, 0.3])
    assert sorted(objective.state_dict()) == ["learnt.a", "learnt.alpha", "learnt.b"]
    values = {"learnt.a": 0.7, "learnt.b": 0.2, "learnt.alpha": 0.4}
    objective.load_state_dict({key: torch.tensor(value) for key, value in values.items()})
    loss = objective.loss(z[:, None], truth)
    torch.testing.assert_close(loss, expected)
    found = torch.autograd.grad(loss, [objective.learnt[name] for name in ("a", "b", "alpha")])
    theirs = torch.autograd.grad(expected, [reference.a, reference.b, reference.alpha])
    for name, gradient, other in zip(("a", "b", "alpha"), found, theirs, strict=True):
        turned = -other if name == "alpha" else other  # which a descent shall make large
        torch.testing.assert_close(gradient, turned)
    with torch.no_grad():
        objective.learnt["alpha"].fill_(-0.1)
    objective.keep_within_bounds()
    assert objective.learnt["alpha"].item() == 0


def test_auc_margin_of_several_labels_is_the_mean_of_each() -> None:
    prior = [0.2, 0.5, 0.7]
    loss = {"name": "auc_margin", "margin": 1.0}
    several = Objective("multilabel", 3, loss=loss, prior=prior)
    each = [
        Objective("binary", 2, loss=loss, prior=[1 - p, p]).loss(z[:, None], truth)
        for p, z, truth in zip(prior, logits().T, SEVERAL.T, strict=True)
    ]
    torch.testing.assert_close(several.loss(logits(), SEVERAL), torch.stack(each).mean())


def test_the_saddle_point_of_auc_margin() -> None:
    """Of scores that stay, a and b become the mean scores, α = m + b − a (Yuan et al. 2021)."""
    scores, truth = torch.tensor([0.9, 0.6, 0.3, 0.2]), torch.tensor([1, 1, 0, 0])
    objective = Objective("binary", 2, loss={"name": "auc_margin", "margin": 1.0}, prior=[0.5, 0.5])
    for parameter in objective.parameters():
        parameter.data.zero_()
    optimizer = torch.optim.SGD(objective.parameters(), lr=0.5)
    for _ in range(200):
        objective.keep_within_bounds()
        optimizer.zero_grad()
        objective.loss(scores.logit()[:, None], truth).backward()
        optimizer.step()
    learnt = {name: value.item() for name, value in objective.learnt.items()}
    assert learnt == pytest.approx({"a": 0.75, "b": 0.25, "alpha": 0.5}, abs=1e-4)


def test_what_is_learnt_begins_where_a_net_that_knows_nothing_belongs() -> None:
    """At the saddle point, with no gradient, and at the shares of the grades."""
    loss = {"name": "auc_margin", "margin": 0.7}
    objective = Objective("multilabel", 3, loss=loss, prior=[0.5, 0.5, 0.5])
    gradients = torch.autograd.grad(
        objective.loss(torch.zeros(6, 3), SEVERAL), [*objective.parameters()]
    )
    for gradient in gradients:
        torch.testing.assert_close(gradient, torch.zeros(3))
    for name in ("coral", "cumulative"):
        graded = Objective("ordinal", 4, loss={"name": name}, prior=[0.6, 0.1, 0.05, 0.25])
        expected = torch.tensor([[0.6, 0.1, 0.05, 0.25]])
        torch.testing.assert_close(graded.probs(torch.zeros(1, 1)), expected)


def test_coral() -> None:
    """Cao et al. (2020), eq. 4, with the gradient of the thresholds that they share."""
    objective = Objective("ordinal", 4, loss={"name": "coral"})
    assert objective.num_outputs == 1
    z, grades = logits(1), torch.tensor([0, 1, 2, 3, 1, 0])
    torch.testing.assert_close(objective.probs(torch.zeros(1, 1)), torch.full((1, 4), 0.25))
    bias = torch.tensor([1.5, 0.2, -0.7])
    objective.load_state_dict({"learnt.thresholds": -bias})
    expected = []
    for row, grade in zip(z, grades.tolist(), strict=True):
        levels = torch.tensor([1.0] * grade + [0.0] * (3 - grade))
        p = (row + bias).sigmoid()
        expected.append(-(levels * p.log() + (1 - levels) * (1 - p).log()).sum())
    torch.testing.assert_close(objective.loss(z, grades), torch.stack(expected).mean())
    above = (z + bias).sigmoid()
    by_hand = -torch.cat([torch.ones(6, 1), above, torch.zeros(6, 1)], 1).diff()
    torch.testing.assert_close(objective.probs(z), by_hand)
    scores = objective.score(z, grades)
    torch.testing.assert_close(scores, by_hand.log()[torch.arange(6), grades])
    objective.load_state_dict({"learnt.thresholds": torch.tensor([0.5, -0.5, 2.0])})  # they cross
    probs = objective.probs(z)
    torch.testing.assert_close(probs.sum(1), torch.ones(6))
    assert (probs >= 0).all()


def test_cumulative_is_the_ordered_logit_model_of_statsmodels() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=300)
    grades = np.digitize(1.5 * x + random.logistic(size=300), [-1.0, 0.3, 2.0])
    fitted = OrderedModel(grades, x[:, None], distr="logit").fit(method="bfgs", disp=False)
    slope, first, *gaps = fitted.params  # gaps as logarithms
    objective = Objective("ordinal", 4, loss={"name": "cumulative"}).double()
    torch.testing.assert_close(
        objective.probs(torch.zeros(1, 1)), torch.full((1, 4), 0.25), rtol=1e-5, atol=1e-5
    )
    theirs = {"first": torch.tensor([first]), "gaps": torch.tensor(np.log(np.expm1(np.exp(gaps))))}
    objective.load_state_dict({f"learnt.{name}": value for name, value in theirs.items()})
    z, y = torch.from_numpy(slope * x)[:, None].requires_grad_(), torch.from_numpy(grades)
    loss = objective.loss(z, y)
    assert loss.item() == pytest.approx(-fitted.llf / 300, rel=1e-5)
    gradients = torch.autograd.grad(loss, [*objective.parameters()])
    assert max(gradient.abs().max() for gradient in gradients) < 1e-4  # it is the minimum
    expected = fitted.model.predict(fitted.params, x[:, None])
    np.testing.assert_allclose(objective.probs(z.detach()).numpy(), expected, rtol=1e-5, atol=1e-7)


def test_quantiles() -> None:
    levels = [0.1, 0.5, 0.8]
    objective = Objective(
        "regression", 2, loss={"name": "quantile", "levels": levels},
        target_mean=[60.0, 1.5], target_std=[10.0, 0.5],
    )  # fmt: skip
    assert objective.num_outputs == 6
    z, labels = logits(6), torch.tensor([60.0, 1.5]) + torch.tensor([10.0, 0.5]) * logits(2)
    expected = []
    for row, truth in zip(z.view(6, 2, 3), logits(2), strict=True):
        for k in range(2):
            for tau, predicted in zip(levels, row[k], strict=True):
                error = truth[k] - predicted
                expected.append(tau * error if error >= 0 else (tau - 1) * error)
    torch.testing.assert_close(objective.loss(z, labels), torch.stack(expected).mean())
    z = torch.tensor([[-1.0, 0.0, 2.0, 1.0, -1.0, 0.5]])  # those of the second target cross
    found = objective.quantiles(z)
    assert found.tolist() == [[[50.0, 60.0, 80.0], [1.0, 1.75, 2.0]]]
    assert objective.probs(z).tolist() == [[60.0, 1.75]]
    assert objective.score(z, torch.tensor([1])).tolist() == [0.5]


def test_a_quantile_is_where_its_share_of_the_labels_lies_below() -> None:
    labels = torch.randn(2000, 1, generator=torch.Generator().manual_seed(0))
    objective = Objective("regression", 1, loss={"name": "quantile", "levels": [0.25, 0.5, 0.9]})
    z = torch.zeros(1, 3, requires_grad=True)
    optimizer = torch.optim.SGD([z], lr=1.0)
    for _ in range(400):
        optimizer.zero_grad()
        objective.loss(z.expand(2000, 3), labels).backward()
        optimizer.step()
    expected = labels[:, 0].quantile(torch.tensor([0.25, 0.5, 0.9]))
    torch.testing.assert_close(z.detach()[0], expected, rtol=0, atol=0.02)
