"""Logits put right for the classes' shares, where training drew them in other shares."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medcnn.errors import UserError
from medcnn.objective import Objective


class PriorCorrection(nn.Module):
    """Logits for the shares π of the classes in the training split, of a net that saw shares q.

    A net that is trained on classes in other shares than those of the data learns posterior
    probabilities for these others; the right ones are p(y|x) ∝ p_q(y|x) · π_y / q_y (M. Saerens,
    P. Latinne, C. Decaestecker, "Adjusting the outputs of a classifier to new a priori
    probabilities: a simple procedure", 2002, eq. 2.4). For one logit that is a shift by
    log(π / (1-π)) - log(q / (1-q)) (G. King, L. Zeng, "Logistic regression in rare events data",
    2001, section 4.1), for several a shift of each by log(π_y / q_y). The order of images by the
    probability of one logit stays as it is.

    Each of several labels is shifted by itself. That is exact where a label's draws don't depend on
    the other labels of an image, and an approximation where they do.

    Args:
        objective: Its task, not a regression, says how classes lie on the logits.
        train: π, the shares of the K classes (or of the images with each of K labels).
        drawn: q, those in what is drawn. Where one of both is 0, or of a label 1, nothing changes.

    Raises:
        UserError: Grades whose logits aren't continuation ratios.
    """

    log_ratio: Tensor

    def __init__(
        self, objective: Objective, train: Sequence[float], drawn: Sequence[float]
    ) -> None:
        super().__init__()
        if objective.task == "ordinal" and objective.num_outputs != len(train) - 1:
            raise UserError(
                f"sampler.correct_prior=true: loss={objective.loss_name} has one score for all "
                "grades, which their shares can't put right; set it to false"
            )
        self.task, self.positive = objective.task, objective.positive
        of_data, of_draws = torch.tensor([list(train), list(drawn)], dtype=torch.float64)
        change = of_data.log() - of_draws.log()
        if self.task == "multilabel":
            change = of_data.logit() - of_draws.logit()
        ratio = change.nan_to_num(0.0, posinf=0.0, neginf=0.0).float()
        self.register_buffer("log_ratio", ratio, persistent=False)

    def forward(self, logits: Tensor) -> Tensor:
        """Return logits (N, outputs) as if classes had been drawn as they come in the data."""
        change = self.log_ratio.to(logits.device)
        if self.task == "binary":
            return logits + (change[self.positive] - change[1 - self.positive])
        if self.task == "ordinal":
            return _of_grades(logits, change)
        return logits + change


def _of_grades(logits: Tensor, change: Tensor) -> Tensor:
    """Return continuation ratios (N, K-1) of grades whose log-probabilities change by (K,)."""
    passed = F.pad(F.logsigmoid(logits).cumsum(1), (1, 0))  # log P(y ≥ k) of each grade k
    grades = passed + F.pad(F.logsigmoid(-logits), (0, 1)) + change  # log P(y = k), and a constant
    above = grades.flip(1).logcumsumexp(1).flip(1)[:, 1:]  # log P(y > k)
    return above - grades[:, :-1]
