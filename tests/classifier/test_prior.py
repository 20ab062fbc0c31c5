"""Probabilities put right for the classes' shares in the data."""

from pathlib import Path

import jobs
import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

import medcnn
from medcnn.classifier.prior import PriorCorrection
from medcnn.errors import UserError
from medcnn.objective import Objective

TRAIN, DRAWN = [0.7, 0.2, 0.1], [0.2, 0.3, 0.5]
LOGITS = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))


def reweighed(probs: torch.Tensor) -> torch.Tensor:
    """Saerens et al. (2002), equation 2.4."""
    moved = probs * torch.tensor(TRAIN) / torch.tensor(DRAWN)
    return moved / moved.sum(1, keepdim=True)


@pytest.mark.parametrize("task", ["multiclass", "ordinal"])
def test_classes_are_weighed_by_their_shares(task: str) -> None:
    objective = Objective(task, 3)  # type: ignore[arg-type]
    logits = LOGITS[:, : objective.num_outputs]
    corrected = objective.probs(PriorCorrection(objective, TRAIN, DRAWN)(logits))
    torch.testing.assert_close(corrected, reweighed(objective.probs(logits)))
    unchanged = PriorCorrection(objective, TRAIN, TRAIN)(logits)
    torch.testing.assert_close(unchanged, logits)


@pytest.mark.parametrize("positive", [0, 1])
def test_one_logit_is_shifted_by_the_odds(positive: int) -> None:
    """King and Zeng (2001): of 1 in 50, drawn as 1 in 2, the odds fall by 49."""
    objective = Objective("binary", 2, positive=positive)
    train = [0.98, 0.02] if positive else [0.02, 0.98]
    shifted = PriorCorrection(objective, train, [0.5, 0.5])(LOGITS[:, :1])
    torch.testing.assert_close(shifted, LOGITS[:, :1] - np.log(49))


def test_several_labels_are_shifted_each_by_its_own_odds() -> None:
    objective = Objective("multilabel", 3)
    shift = PriorCorrection(objective, [0.5, 0.1, 0.0], [0.5, 0.4, 0.0])(LOGITS) - LOGITS
    expected = torch.tensor([0.0, np.log(0.1 / 0.9 * 0.6 / 0.4), 0.0]).float()
    torch.testing.assert_close(shift, expected.expand(6, 3), atol=1e-6, rtol=0)


def test_a_class_that_is_never_there_changes_nothing() -> None:
    correction = PriorCorrection(Objective("multiclass", 3), [0.9, 0.1, 0.0], [0.5, 0.5, 0.0])
    assert correction.log_ratio[2] == 0
    assert correction(LOGITS).isfinite().all()


def test_a_logistic_model_of_balanced_draws_tells_the_true_probability() -> None:
    """Closed form: of two normal distributions the log-odds are a line."""
    generator = np.random.default_rng(0)
    classes = np.repeat([0, 1], 20_000)  # drawn evenly, of classes with shares of 0.95 and 0.05
    x = generator.normal(classes, 1.0)[:, None]
    model = LogisticRegression(C=1e6).fit(x, classes)
    grid = np.linspace(-2, 3, 11)
    logits = torch.from_numpy(model.decision_function(grid[:, None]))[:, None]
    objective = Objective("binary", 2)
    corrected = objective.probs(PriorCorrection(objective, [0.95, 0.05], [0.5, 0.5])(logits))
    true = 1 / (1 + np.exp(-(grid - 0.5 + np.log(0.05 / 0.95))))
    np.testing.assert_allclose(corrected[:, 1], true, atol=0.01)


def test_a_training_keeps_the_shares_in_its_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = [0, 0, 0, 0, 0, 0, 0, 1]
    root = jobs.write_medmnist(tmp_path, "pneumoniamnist", labels)
    data = ("dataset=pneumoniamnist", f"dataset.root='{root}'", "sampler=balanced")
    options = (*data, *jobs.PLAIN, "model=lenet", "cam.n=0", "trainer.max_epochs=1")
    runs = {
        name: jobs.train(tmp_path / name, *options, f"sampler.correct_prior={name}")
        for name in ("true", "false")
    }
    said = "sampler: an epoch draws 16 normal (there are 28) | 16 pneumonia (there are 4)\n"
    assert capsys.readouterr().out.count(said) == 2
    cards = {name: jobs.checkpoint(run)["medcnn"] for name, run in runs.items()}
    assert cards["true"]["prior"]["train"] == pytest.approx([7 / 8, 1 / 8])
    assert cards["true"]["prior"]["drawn"] == pytest.approx([1 / 2, 1 / 2])
    assert cards["false"]["prior"] is None
    right, drawn = (medcnn.load(runs[name] / "checkpoints" / "best.ckpt") for name in runs)
    assert jobs.same_weights(right.state_dict(), drawn.state_dict())
    images = torch.rand(4, 1, 28, 28)
    with torch.no_grad():
        torch.testing.assert_close(right(images), drawn(images) - np.log(7))
        torch.testing.assert_close(right.train()(images), drawn.train()(images))


def test_one_score_for_all_grades_is_refused() -> None:
    shares = [0.6, 0.3, 0.1]
    objective = Objective("ordinal", 3, loss={"name": "coral"}, prior=shares)
    with pytest.raises(UserError, match="loss=coral has one score for all grades"):
        PriorCorrection(objective, shares, [1 / 3] * 3)
