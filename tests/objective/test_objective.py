import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medcnn.errors import UserError
from medcnn.objective import (
    TASKS,
    UNKNOWN,
    Objective,
    balanced_weights,
    class_prior,
    effective_weights,
    target_statistics,
)


def logits(count: int = 6, outputs: int = 3) -> Tensor:
    return 2 * torch.randn(count, outputs, generator=torch.Generator().manual_seed(0))


LABELS = torch.tensor([0, 1, 2, 2, 1, 0])


@pytest.mark.parametrize(
    ("task", "classes", "outputs"),
    [
        ("binary", 2, 1), ("multiclass", 4, 4), ("multilabel", 1, 1), ("ordinal", 5, 4),
        ("regression", 1, 1), ("regression", 3, 3),
    ],
)  # fmt: skip
def test_number_of_outputs(task: Any, classes: int, outputs: int) -> None:
    objective = Objective(task, classes)
    assert objective.num_outputs == outputs
    assert objective.probs(torch.zeros(3, outputs)).shape == (3, classes)


def test_multiclass() -> None:
    z = logits()
    objective = Objective("multiclass", 3, class_weights=[1.0, 2.0, 5.0])
    probs = z.exp() / z.exp().sum(1, keepdim=True)
    torch.testing.assert_close(objective.probs(z), probs)
    weights = torch.tensor([1.0, 2.0, 5.0])[LABELS]
    losses = -probs.log()[torch.arange(6), LABELS]
    torch.testing.assert_close(objective.loss(z, LABELS), (weights * losses).sum() / weights.sum())
    assert torch.equal(objective.decide(probs), z.argmax(1))
    assert torch.equal(objective.score(z, LABELS), z[torch.arange(6), LABELS])


@pytest.mark.parametrize("positive", [0, 1])
def test_binary_is_a_softmax_of_two(positive: int) -> None:
    """The single logit is the difference of the positive and the negative class's logits."""
    z, labels = logits(outputs=1), LABELS.clamp(max=1)
    two = torch.zeros(6, 2)
    two[:, positive] = z[:, 0]
    weights = [0.5, 3.0]
    objective = Objective("binary", 2, positive=positive, class_weights=weights)
    torch.testing.assert_close(objective.probs(z), two.softmax(1))
    expected = F.cross_entropy(two, labels, weight=torch.tensor(weights))
    torch.testing.assert_close(objective.loss(z, labels), expected)
    assert torch.equal(objective.decide(objective.probs(z)), two.argmax(1))
    score = objective.score(z, labels)
    assert torch.equal(score, torch.where(labels == positive, z[:, 0], -z[:, 0]))


def test_multilabel() -> None:
    z, labels = logits(), torch.tensor([[0, 1, 1], [1, 0, 0]] * 3)
    objective = Objective("multilabel", 3, class_weights=[1.0, 2.0, 3.0])
    probs = 1 / (1 + (-z).exp())
    torch.testing.assert_close(objective.probs(z), probs)
    weights = torch.tensor([1.0, 2.0, 3.0])
    losses = -torch.where(labels == 1, weights * probs.log(), (1 - probs).log())
    torch.testing.assert_close(objective.loss(z, labels), losses.mean())
    assert torch.equal(objective.decide(probs), (z >= 0).long())
    assert torch.equal(objective.score(z, LABELS), z[torch.arange(6), LABELS])


def test_ordinal_probabilities_by_hand() -> None:
    """P(y>0) = 0.8 and P(y>1 | y≥1) = 0.25: 0.2, 0.8 · 0.75 and 0.8 · 0.25."""
    z = torch.tensor([[math.log(4.0), math.log(1 / 3)]])
    objective = Objective("ordinal", 3)
    torch.testing.assert_close(objective.probs(z), torch.tensor([[0.2, 0.6, 0.2]]))
    torch.testing.assert_close(objective.loss(z, torch.tensor([1])), torch.tensor(-math.log(0.6)))
    scores = [objective.score(z, torch.tensor([k])).exp().item() for k in range(3)]
    assert scores == pytest.approx([0.2, 0.6, 0.2])


def test_ordinal_loss_is_that_of_the_conditional_tasks() -> None:
    """CORN: task k sees the samples with y ≥ k and learns whether y > k."""
    z, labels = logits(outputs=2), LABELS
    total = torch.zeros(())
    for k in range(2):
        rows = labels >= k
        truth = (labels[rows] > k).float()
        total += F.binary_cross_entropy_with_logits(z[rows, k], truth, reduction="sum")
    objective = Objective("ordinal", 3)
    torch.testing.assert_close(objective.loss(z, LABELS), total / 6)
    weighted = Objective("ordinal", 3, class_weights=[0.0, 1.0, 1.0]).loss(z, LABELS)
    torch.testing.assert_close(weighted, objective.loss(z[1:5], LABELS[1:5]))


def test_ordinal_is_consistent_and_stable() -> None:
    objective = Objective("ordinal", 5)
    z = (50 * logits(200, 4)).requires_grad_()
    probs = objective.probs(z)
    torch.testing.assert_close(probs.sum(1), torch.ones(200))
    assert (probs >= 0).all()
    loss = objective.loss(z, torch.arange(200) % 5)
    loss.backward()
    assert loss.isfinite()
    assert z.grad is not None
    assert z.grad.isfinite().all()


def test_ordinal_decides_the_median() -> None:
    probs = torch.tensor([[0.4, 0.3, 0.3], [0.6, 0.2, 0.2], [0.3, 0.15, 0.55], [0.5, 0.5, 0.0]])
    assert Objective("ordinal", 3).decide(probs).tolist() == [1, 0, 2, 0]


@pytest.mark.parametrize("task", TASKS)
def test_loss_falls_when_the_truth_gets_likelier(task: Any) -> None:
    objective = Objective(task, 2 if task == "binary" else 3)
    labels = LABELS.clamp(max=objective.num_classes - 1)
    if task == "multilabel":
        labels = F.one_hot(labels, 3)
    if task == "regression":
        labels = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
    z = torch.zeros(6, objective.num_outputs, requires_grad=True)
    (gradient,) = torch.autograd.grad(objective.loss(z, labels), z)
    assert objective.loss(-gradient, labels) < objective.loss(z, labels)


@pytest.mark.parametrize("task", TASKS)
def test_bfloat16_logits(task: Any) -> None:
    objective = Objective(task, 2 if task == "binary" else 3)
    z = logits(outputs=objective.num_outputs).bfloat16()
    probs = objective.probs(z)
    assert probs.dtype == torch.float32
    torch.testing.assert_close(probs, objective.probs(z.float()))


def test_class_weights_are_not_in_the_checkpoint() -> None:
    objective = Objective("multiclass", 3, class_weights=[1, 2, 3])
    assert objective.class_weights.dtype == torch.float32
    assert not objective.state_dict()


def test_bad_input() -> None:
    with pytest.raises(UserError, match=r"objective\.task=rank: choose one of binary"):
        Objective("rank", 3)
    with pytest.raises(UserError, match="at least 2 classes, got 1"):
        Objective("multiclass", 1)
    with pytest.raises(UserError, match="needs 2 classes, got 3; use multiclass"):
        Objective("binary", 3)
    with pytest.raises(UserError, match="holds 2 numbers for 3 classes"):
        Objective("multiclass", 3, class_weights=[1.0, 2.0])


def test_balanced_weights() -> None:
    labels = torch.tensor([0, 0, 0, 1])
    weights = torch.tensor(balanced_weights(labels, "multiclass", 3))
    torch.testing.assert_close(weights, torch.tensor([4 / 9, 4 / 3, 1.0]))
    shares = weights[labels][labels == 0].sum(), weights[labels][labels == 1].sum()
    assert shares[0] == pytest.approx(shares[1])
    many = torch.tensor([[1, 0], [0, 0], [0, 0], [1, 0]])
    assert balanced_weights(many, "multilabel", 2) == [1.0, 1.0]
    assert balanced_weights(many[:3], "multilabel", 2) == [2.0, 1.0]


WEIGHTED = {"binary": 2, "multiclass": 3, "ordinal": 3, "multilabel": 3}


def known_data(task: Any, classes: int) -> tuple[Objective, Tensor, Tensor]:
    """An objective with weights of its own, and 6 samples."""
    weights = None if task == "regression" else [0.5, 2.0, 3.0][:classes]
    targets = {"target_mean": [50.0, 0.1, -3.0], "target_std": [12.0, 0.02, 4.0]}
    objective = Objective(
        task, classes, class_weights=weights, **(targets if task == "regression" else {})
    )
    labels: Tensor = LABELS.clamp(max=classes - 1)
    if task == "multilabel":
        labels = F.one_hot(labels, 3)
    if task == "regression":
        numbers = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
        labels = numbers * objective.target_std + objective.target_mean
    return objective, logits(outputs=objective.num_outputs), labels


@pytest.mark.parametrize("task", ["binary", "multiclass", "ordinal"])
def test_samples_of_unknown_class_leave_loss_and_gradient_alone(task: Any) -> None:
    """As if they were not in the batch."""
    objective, z, labels = known_data(task, WEIGHTED[task])
    more = torch.cat([labels[:2], torch.tensor([UNKNOWN]), labels[2:], torch.tensor([UNKNOWN])])
    padded = torch.cat([z[:2], 9 * torch.ones(1, z.shape[1]), z[2:], -z[:1]]).requires_grad_()
    alone = z.requires_grad_()
    loss, expected = objective.loss(padded, more), objective.loss(alone, labels)
    torch.testing.assert_close(loss, expected)
    (gradient,) = torch.autograd.grad(loss, padded)
    (expected_gradient,) = torch.autograd.grad(expected, alone)
    kept = more != UNKNOWN
    torch.testing.assert_close(gradient[kept], expected_gradient)
    assert (gradient[~kept] == 0).all()


@pytest.mark.parametrize("task", ["multilabel", "regression"])
def test_loss_is_the_mean_over_the_known_entries(task: Any) -> None:
    objective, z, labels = known_data(task, 3)
    there = torch.tensor([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0], [1, 1, 0], [1, 0, 0]]).bool()
    masked = torch.where(there, labels, torch.nan if task == "regression" else UNKNOWN)
    z.requires_grad_()
    loss = objective.loss(z, masked)
    terms = []
    for i, k in there.nonzero().tolist():
        truth = float(labels[i, k])
        if task == "regression":
            standard = (truth - float(objective.target_mean[k])) / float(objective.target_std[k])
            terms.append((float(z[i, k].detach()) - standard) ** 2)
        else:
            p = 1 / (1 + math.exp(-float(z[i, k].detach())))
            weight = float(objective.class_weights[k])
            terms.append(-weight * math.log(p) if truth else -math.log(1 - p))
    assert loss.item() == pytest.approx(np.mean(terms), rel=1e-5)
    (gradient,) = torch.autograd.grad(loss, z)
    assert torch.equal(gradient != 0, there)


@pytest.mark.parametrize("task", TASKS)
def test_a_batch_of_which_nothing_is_known(task: Any) -> None:
    objective, z, labels = known_data(task, WEIGHTED.get(task, 3))
    nothing = torch.full_like(labels, torch.nan if task == "regression" else UNKNOWN)
    z.requires_grad_()
    loss = objective.loss(z, nothing)
    assert loss.item() == 0
    (gradient,) = torch.autograd.grad(loss, z)
    assert torch.equal(gradient, torch.zeros_like(z))


def test_regression_speaks_the_unit_of_its_labels() -> None:
    objective = Objective("regression", 2, target_mean=[60.0, 1.5], target_std=[10.0, 0.5])
    z = torch.tensor([[0.0, 2.0], [-1.5, 0.0]])
    predicted = objective.probs(z)
    assert predicted.tolist() == [[60.0, 2.5], [45.0, 1.5]]
    assert torch.equal(objective.decide(predicted), predicted)
    assert objective.loss(z, predicted).item() == 0
    assert objective.score(z, torch.tensor([1, 0])).tolist() == [2.0, -1.5]
    assert objective.loss(z, predicted + torch.tensor([10.0, 0.0])).item() == pytest.approx(0.5)
    assert not objective.state_dict()


def test_the_class_that_a_map_explains() -> None:
    probs = torch.tensor([[0.6, 0.4], [0.2, 0.3]])
    thresholds = [0.35]
    expected = {"binary": [1, 0], "multilabel": [0, 1], "regression": [0, 0], "multiclass": [0, 1]}
    for task, classes in expected.items():
        found = Objective(task, 2).explained(probs, thresholds)  # type: ignore[arg-type]
        assert found.tolist() == classes, task


def test_the_monitored_figure() -> None:
    assert {task: Objective(task, 2).monitor for task in TASKS} == {
        "binary": "auroc", "multiclass": "auroc", "multilabel": "auroc", "ordinal": "auroc",
        "regression": "r2",
    }  # fmt: skip


def test_target_statistics() -> None:
    values = np.random.default_rng(0).normal([70, 0], [9, 1], (20, 2)).astype(np.float32)
    values[3:7, 0], values[1, 1] = np.nan, np.nan
    found = target_statistics(torch.from_numpy(values), ["age", "depth"])
    assert found["mean"] == pytest.approx(np.nanmean(values.astype(float), 0))
    assert found["std"] == pytest.approx(np.nanstd(values.astype(float), 0))
    constant = target_statistics(torch.full((3, 1), 7.0), ["age"])
    assert constant == {"mean": [7.0], "std": [1.0]}


@pytest.mark.parametrize("values", [[1.0, math.nan], [math.nan, math.nan], [1.0, math.inf]])
def test_targets_that_cannot_be_learnt(values: list[float]) -> None:
    with pytest.raises(UserError, match=r"regression of age: the training split has \d known lab"):
        target_statistics(torch.tensor(values)[:, None], ["age"])


def test_balanced_weights_do_not_count_the_unknown() -> None:
    labels = torch.tensor([0, UNKNOWN, 0, 0, 1, UNKNOWN])
    expected = balanced_weights(labels[labels >= 0], "binary", 2)
    assert balanced_weights(labels, "binary", 2) == expected == pytest.approx([4 / 6, 4 / 2])
    many = torch.tensor([[1, UNKNOWN], [0, 1], [UNKNOWN, 1], [0, 0]])
    assert balanced_weights(many, "multilabel", 2) == [2.0, 0.5]


def test_a_regression_has_no_class_weights() -> None:
    with pytest.raises(UserError, match="a regression has no classes to weigh"):
        Objective("regression", 2, class_weights=[1.0, 2.0])
    with pytest.raises(UserError, match="a regression has no classes to weigh"):
        balanced_weights(torch.zeros(3, 1), "regression", 1)


def test_effective_weights_are_those_of_the_paper() -> None:
    """Cui et al. (2019), eq. 2: E = (1 - β^n) / (1 - β), here as a sum of β^i, i < n."""
    labels = torch.tensor([0] * 300 + [2] * 5 + [UNKNOWN])
    numbers = [sum(0.999**i for i in range(n)) for n in (300, 5)]
    inverse = np.array([1 / number for number in numbers])
    expected = 2 * inverse / inverse.sum()  # of the classes that are there
    weights = effective_weights(labels, "multiclass", 3)
    assert weights == pytest.approx([expected[0], 1.0, expected[1]])
    several = torch.tensor([[1, 0]] * 5 + [[0, 0]] * 300 + [[UNKNOWN, 0]])
    assert effective_weights(several, "multilabel", 2) == pytest.approx(
        [numbers[0] / numbers[1], 1]
    )
    with pytest.raises(UserError, match="a regression has no classes to weigh"):
        effective_weights(torch.zeros(3, 1), "regression", 1)


def test_prior_counts_what_is_known() -> None:
    labels = torch.tensor([0, 0, 0, 1, UNKNOWN])
    assert class_prior(labels, "multiclass", 2) == [0.75, 0.25]
    absent = class_prior(labels, "multiclass", 3)
    assert absent == pytest.approx([0.75, 0.25, 0.5 / 4.5])  # as half a sample
    several = torch.tensor([[1, UNKNOWN], [0, 1], [0, 1]])
    assert class_prior(several, "multilabel", 2) == pytest.approx([1 / 3, 2 / 2.5])
