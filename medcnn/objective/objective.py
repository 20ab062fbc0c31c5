"""The objective of a net: what its logits mean."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medcnn.errors import UserError
from medcnn.objective.choice import FUNCTIONS, MARGINS, OF_PRIOR, OF_THRESHOLDS, choose_loss
from medcnn.objective.label_statistics import NO_CLASSES
from medcnn.objective.labels import TASKS, Task, decide, known
from medcnn.objective.losses import continuation_log_probs, continuation_logits


class Objective(nn.Module):
    r"""The meaning of a net's logits: loss, probabilities, decision, and the score to explain.

    | task       | logits            | probabilities of the K classes        | its own loss  |
    |------------|-------------------|---------------------------------------|---------------|
    | binary     | 1: positive class | sigmoid, and its complement           | cross_entropy |
    | multiclass | K                 | softmax                               | cross_entropy |
    | multilabel | K                 | sigmoid of each                       | cross_entropy |
    | ordinal    | K-1: P(y>k\|y≥k)   | continuation ratios (Shi et al. 2021) | corn          |
    | regression | K: standardised   | none; instead the K predicted values  | mse           |

    The ordinal form is CORN (X. Shi, W. Cao, S. Raschka, "Deep neural networks for rank-consistent
    ordinal regression based on conditional probabilities", 2021, eq. 4-6): its cumulative
    probabilities fall with k by construction. With the losses ``coral`` and ``cumulative`` the net
    gives one score, and P(y>k) = σ(score − threshold k), of thresholds that are learnt beside it.

    A regression has K targets in the place of classes. Its net gives them standardised, by their
    mean and standard deviation in the training split, so that targets of any unit weigh alike. With
    the loss ``quantile`` it gives several quantiles of each (`quantiles`), and predicts the median.

    Args:
        task: One of `TASKS`.
        num_classes: K, at least 2 (at least 1 for multilabel and regression).
        positive: The class that the single logit of a binary task speaks for.
        class_weights: K factors of the loss, one a class (multi-label: of its positive term);
            None for all ones.
        target_mean: Mean of each of the K targets of a regression; None for zeros.
        target_std: Standard deviation of each, above 0; None for ones.
        loss: The name of a loss of `medcnn.objective.losses` and its parameters, as in
            ``{"name": "focal", "gamma": 2.0}``; without a name, or None, the task's own.
        prior: Share of each class in training (`class_prior`), for losses that take it;
            None where the loss can do without.

    Raises:
        UserError: Unknown task, a count of classes or weights that doesn't fit it, or a loss that
            there is not or that is for other tasks.

    Example:
        >>> objective = Objective("binary", 2, loss={"name": "focal", "gamma": 2.0})
        >>> objective.loss(torch.tensor([[2.0], [-1.0]]), torch.tensor([1, 1]))
        tensor(0.3518)
    """

    class_weights: Tensor
    target_mean: Tensor
    target_std: Tensor
    prior: Tensor

    def __init__(
        self,
        task: Task,
        num_classes: int,
        *,
        positive: int | None = None,
        class_weights: Sequence[float] | None = None,
        target_mean: Sequence[float] | None = None,
        target_std: Sequence[float] | None = None,
        loss: Mapping[str, Any] | None = None,
        prior: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        _check_counts(task, num_classes, class_weights)
        self.loss_name, self.loss_options = choose_loss(loss, task)
        if self.loss_name in OF_PRIOR and prior is None:
            raise UserError(f"loss={self.loss_name} needs the prior of the classes")
        self.task: Task = task
        self.num_classes = num_classes
        self.positive = 1 if positive is None else positive
        self.learnt = nn.ParameterDict(self._first_values(prior or [1.0] * num_classes))
        given = {
            "class_weights": class_weights or [1.0] * num_classes,
            "target_mean": target_mean or [0.0] * num_classes,
            "target_std": target_std or [1.0] * num_classes,
            "prior": prior or [0.5] * num_classes,
        }
        for name, values in given.items():
            self.register_buffer(name, torch.tensor(values).float(), persistent=False)

    @property
    def num_outputs(self) -> int:
        """Number of logits that the net has to give."""
        if self.loss_name in OF_THRESHOLDS:
            return 1
        single = {"binary": 1, "ordinal": self.num_classes - 1}
        return single.get(self.task, self.num_classes * max(1, len(self.levels)))

    @property
    def levels(self) -> list[float]:
        """The quantiles of each target that the net gives, rising; none but with that loss."""
        return list(self.loss_options.get("levels", []))

    @property
    def monitor(self) -> Literal["auroc", "r2"]:
        """The figure of the validation, the higher the better, that tells how good a net is."""
        return "r2" if self.task == "regression" else "auroc"

    @property
    def gives_margins(self) -> bool:
        """True if its logits are scores of a margin, of which calibration makes probabilities."""
        return self.loss_name in MARGINS

    def _first_values(self, prior: Sequence[float]) -> dict[str, Tensor]:
        """Return what the loss learns beside the net, as it is at the start.

        Of AUC margin the saddle point for a net that gives each sample the score 0 (so that the
        mean scores σ(0) are 0.5, and α is the margin); of ordinal tasks the thresholds by which the
        score 0 gives the shares of the grades.
        """
        if self.loss_name == "auc_margin":
            shape = [self.num_classes] if self.task == "multilabel" else []
            first = {"a": 0.5, "b": 0.5, "alpha": float(self.loss_options["margin"])}
            return {name: torch.full(shape, value) for name, value in first.items()}
        if self.loss_name in OF_THRESHOLDS:
            shares = torch.tensor(prior).float().cumsum(0)
            thresholds = (shares[:-1] / shares[-1]).logit()
            if self.loss_name == "coral":
                return {"thresholds": thresholds}
            return {"first": thresholds[:1], "gaps": thresholds.diff().expm1().log()}
        return {}

    @torch.no_grad()
    def keep_within_bounds(self) -> None:
        """Bring what the loss learns back to where it may lie; called before each step."""
        if "alpha" in self.learnt:
            self.learnt["alpha"].clamp_(min=0)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss, scalar, over what is known of the labels; 0 if nothing is.

        Each sample counts by the weight of its class; in multi-label data each positive term is
        multiplied by that of its label, and all known terms count the same. In regression the
        errors are those of the standardised targets.

        Args:
            logits: (N, outputs).
            labels: (N,), or (N, K) in multilabel and regression, with unknown ones (see `known`).
        """
        there = known(labels)
        filled = torch.where(there, labels, 0)  # a number that does no harm, and counts for nothing
        factors = self.class_weights.to(logits.device)  # logits of a whole epoch lie on the CPU
        losses = self._losses(logits, filled)
        weights = factors[filled] * there if labels.ndim == 1 else there.to(logits.dtype)
        if self.task == "multilabel":
            losses = torch.where(filled == 1, factors, 1.0) * losses
        total = weights.sum()
        return (weights * losses).sum() / torch.where(total > 0, total, 1.0)

    def _losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss (N,), or (N, K), of each of the labels, all of which are known."""
        options, prior = self.loss_options, self.prior.to(logits.device)
        if self.task == "binary":
            logits, labels, prior = logits[:, 0], labels == self.positive, prior[self.positive]
        if self.task == "regression":
            mean, std = self.target_mean.to(logits.device), self.target_std.to(logits.device)
            labels = (labels - mean) / std
        if self.levels:
            logits = self._by_level(logits)
        if self.loss_name in OF_PRIOR:
            options = options | {"prior": prior}
        if self.loss_name in OF_THRESHOLDS:
            logits = logits - self._thresholds().to(logits.device)
        if self.loss_name == "auc_margin":
            learnt = {name: value.to(logits.device) for name, value in self.learnt.items()}
            alpha = learnt["alpha"]
            learnt["alpha"] = 2 * alpha.detach() - alpha  # its gradient turned: a descent ascends
            options = options | learnt
        return FUNCTIONS[self.loss_name](logits, labels, **options)

    def _by_level(self, logits: Tensor) -> Tensor:
        """Return outputs (N, K · Q) as (N, K, Q), Q quantiles of each of K targets."""
        return logits.unflatten(1, (self.num_classes, len(self.levels)))

    def quantiles(self, logits: Tensor) -> Tensor:
        """Return the predicted quantiles (N, K, Q) of a regression, in the labels' own units.

        In the order of `levels`. Where a net gives a higher one for a lower level they are sorted
        (V. Chernozhukov, I. Fernández-Val, A. Galichon, "Quantile and probability curves without
        crossing", Econometrica 2010).
        """
        mean, std = (x.to(logits)[:, None] for x in (self.target_mean, self.target_std))
        return self._by_level(logits).sort(-1).values * std + mean

    def _medians(self, logits: Tensor) -> Tensor:
        """Return the standardised predictions (N, K) of a regression."""
        if not self.levels:
            return logits
        return self._by_level(logits).sort(-1).values[..., self.levels.index(0.5)]

    def _thresholds(self) -> Tensor:
        """Return the thresholds (K−1,) that the score of an ordinal task is compared with.

        In ``cumulative`` each is above the one before, by the softplus of a number.
        """
        if self.loss_name == "coral":
            return self.learnt["thresholds"]
        gaps = F.softplus(self.learnt["gaps"])
        return torch.cat([self.learnt["first"], self.learnt["first"] + gaps.cumsum(0)])

    def continuation_logits(self, logits: Tensor) -> Tensor:
        """Return an ordinal task's logits (N, K−1) of P(y>k | y≥k), whatever its loss.

        They are the net's own with CORN. Thresholds of CORAL that cross are taken in order.
        """
        if self.loss_name not in OF_THRESHOLDS:
            return logits
        thresholds = self._thresholds().detach().sort().values.to(logits)
        return continuation_logits(logits - thresholds)

    def probs(self, logits: Tensor, temperature: float = 1.0) -> Tensor:
        """Return probabilities (N, K) in the order of the class names.

        Rows sum to 1 but in multilabel. In regression, which has none, the predictions (N, K) in
        the labels' own units: what is done with probabilities elsewhere (collected, averaged,
        written) is done with these.

        float64 of float64 logits, else float32, in which a logit of 17 is the probability 1.

        Args:
            logits: (N, outputs).
            temperature: By which logits are divided (of an ordinal task `continuation_logits`).
        """
        logits = logits if logits.dtype == torch.float64 else logits.float()
        if self.task == "regression":
            mean, std = self.target_mean.to(logits.device), self.target_std.to(logits.device)
            return self._medians(logits) * std + mean
        if self.task == "ordinal":
            logits = self.continuation_logits(logits)
        logits = logits / temperature
        if self.task == "multiclass":
            return logits.softmax(1)
        if self.task == "multilabel":
            return logits.sigmoid()
        if self.task == "ordinal":
            return continuation_log_probs(logits).exp()
        signed = torch.cat([-logits, logits], 1).sigmoid()  # negative class, positive class
        return signed if self.positive == 1 else signed.flip(1)

    def decide(self, probs: Tensor, thresholds: Sequence[float] | Tensor | None = None) -> Tensor:
        """Return decisions from probabilities (N, K); see `decide`."""
        return decide(probs, self.task, positive=self.positive, thresholds=thresholds)

    def explained(
        self, probs: Tensor, thresholds: Sequence[float] | Tensor | None = None
    ) -> Tensor:
        """Return the class (N,) that a map explains, from probabilities (N, K); see `decide`.

        That is the decision; of several labels the most probable, of several targets the first.
        """
        if self.task == "regression":
            return torch.zeros(len(probs), dtype=torch.int64, device=probs.device)
        return probs.argmax(1) if self.task == "multilabel" else self.decide(probs, thresholds)

    def score(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the scalar (N,) that a map for class targets (N,) explains.

        The logit of the class; for a binary task the single logit with the sign of the class, for
        an ordinal one the log-probability of the class. In regression a target is an index into
        the K targets, and its score the net's standardised prediction of it.
        """
        if self.task == "binary":
            return torch.where(targets == self.positive, logits[:, 0], -logits[:, 0])
        if self.task == "ordinal":
            logits = continuation_log_probs(self.continuation_logits(logits))
        if self.task == "regression":
            logits = self._medians(logits)
        return logits.gather(1, targets[:, None])[:, 0]


def _check_counts(task: Task, num_classes: int, class_weights: Sequence[float] | None) -> None:
    if task not in TASKS:
        raise UserError(f"objective.task={task}: choose one of {', '.join(TASKS)}")
    if num_classes < (1 if task in ("multilabel", "regression") else 2):
        raise UserError(f"objective {task} needs at least 2 classes, got {num_classes}")
    if task == "binary" and num_classes != 2:
        raise UserError(f"objective binary needs 2 classes, got {num_classes}; use multiclass")
    if class_weights is None:
        return
    if task == "regression":
        raise UserError(NO_CLASSES)
    if len(class_weights) != num_classes:
        raise UserError(
            f"objective.class_weights holds {len(class_weights)} numbers for {num_classes} classes"
        )
