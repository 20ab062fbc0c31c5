import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medcnn.errors import UserError
from medcnn.objective import TASKS, Objective, balanced_weights


def logits(count: int = 6, outputs: int = 3) -> Tensor:
    return 2 * torch.randn(count, outputs, generator=torch.Generator().manual_seed(0))


LABELS = torch.tensor([0, 1, 2, 2, 1, 0])


@pytest.mark.parametrize(
    ("task", "classes", "outputs"),
    [("binary", 2, 1), ("multiclass", 4, 4), ("multilabel", 1, 1), ("ordinal", 5, 4)],
)
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
