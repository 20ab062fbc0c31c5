"""Losses: pure functions from logits and targets to the loss of each sample.

Where a function takes *targets of either kind*, these are the class indices (N,) of logits (N, K),
whose probabilities p are their softmax, or 0 and 1 in the shape of the logits, each of which is a
question of its own with p = σ(logit) of its truth. What is the same for all samples comes by name.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

_TINY = 1e-12  # the least base of a power, whose slope at 0 can be infinite


def cross_entropy(logits: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Return −Σ_k q_k log p_k, the negative log-likelihood of the truth where nothing is smoothed.

    q is 1 − ε at the truth, and the rest ε is spread evenly over all K classes (C. Szegedy et al.,
    "Rethinking the Inception architecture for computer vision", CVPR 2016, section 7); over yes and
    no where the targets are 0 and 1.

    Args:
        logits: (N, K), or of any shape.
        targets: Of either kind.
        label_smoothing: ε, 0 … 1.
    """
    if logits.shape != targets.shape:
        return F.cross_entropy(logits, targets, reduction="none", label_smoothing=label_smoothing)
    soft = targets.to(logits.dtype) * (1 - label_smoothing) + label_smoothing / 2
    return F.binary_cross_entropy_with_logits(logits, soft, reduction="none")


def focal(logits: Tensor, targets: Tensor, *, gamma: float) -> Tensor:
    """Return −(1 − p)^γ log p of the truth: samples that are already right count less.

    T.-Y. Lin, P. Goyal, R. Girshick, K. He, P. Dollár, "Focal loss for dense object detection",
    ICCV 2017, eq. 4. Its α is ``objective.class_weights``.

    Args:
        logits: (N, K), or of any shape.
        targets: Of either kind.
        gamma: γ, at least 0; with 0 the cross-entropy.
    """
    surprise = cross_entropy(logits, targets)
    return _power(-torch.expm1(-surprise), gamma) * surprise


def generalised_cross_entropy(logits: Tensor, targets: Tensor, *, q: float) -> Tensor:
    """Return (1 − p^q) / q of the truth: wrong labels, which stay improbable, pull less.

    Z. Zhang, M. R. Sabuncu, "Generalized cross entropy loss for training deep neural networks with
    noisy labels", NeurIPS 2018, eq. 6. Its limits are the cross-entropy (q → 0) and the mean
    absolute error of p (q = 1).

    Args:
        logits: (N, K), or of any shape.
        targets: Of either kind.
        q: Above 0, up to 1.
    """
    return -torch.expm1(-q * cross_entropy(logits, targets)) / q


def asymmetric(
    logits: Tensor, targets: Tensor, *, gamma_positive: float, gamma_negative: float, clip: float
) -> Tensor:
    """Return −(1 − p)^γ₊ log p of a finding that is there, −p_m^γ₋ log(1 − p_m) of one that isn't.

    With p = σ(logit) of the finding and p_m = max(p − m, 0): absent findings, which are many, count
    less the surer they are, and nothing below p = m. T. Ridnik et al., "Asymmetric loss for
    multi-label classification", ICCV 2021, eq. 4-7.

    Args:
        logits: Of any shape.
        targets: 0 and 1, of that shape.
        gamma_positive: γ₊, at least 0.
        gamma_negative: γ₋, at least 0.
        clip: m, 0 … 1.
    """
    there = _power((-logits).sigmoid(), gamma_positive) * F.logsigmoid(logits)
    absence = ((-logits).sigmoid() + clip).clamp(max=1)  # 1 − p_m
    log_absence = absence.log() if clip > 0 else F.logsigmoid(-logits)
    absent = _power(1 - absence, gamma_negative) * log_absence
    return -torch.where(targets == 1, there, absent)


def logit_adjusted(logits: Tensor, targets: Tensor, *, prior: Tensor, tau: float) -> Tensor:
    """Return the cross-entropy of logits + τ log π, π being the shares of the classes.

    So the logits themselves, which predict, learn what they would on classes of equal share: a rare
    one isn't called less for being rare. A. K. Menon et al., "Long-tail learning via logit
    adjustment", ICLR 2021, eq. 10.

    Args:
        logits: (N, K), or of any shape.
        targets: Of either kind.
        prior: π (K,), above 0; of targets of 0 and 1 the shares of 1, each between 0 and 1, whose
            log odds take the place of log π.
        tau: τ, at least 0; with 1 the balanced error is made small.
    """
    shift = prior.log() if logits.shape != targets.shape else prior.logit()
    return cross_entropy(logits + tau * shift, targets)


def hinge(scores: Tensor, targets: Tensor, *, power: int) -> Tensor:
    """Return Σ_{k≠y} max(0, 1 − s_y + s_k)^power / K: a multiclass support vector machine.

    That of J. Weston, C. Watkins, "Support vector machines for multi-class pattern recognition",
    ESANN 1999, by `torch.nn.functional.multi_margin_loss`. Where the targets are 0 and 1, max(0,
    1 − t s)^power with t = ±1 (C. Cortes, V. Vapnik, "Support-vector networks", 1995). Scores
    beyond the margin count for nothing; they aren't log odds.

    Args:
        scores: (N, K), or of any shape.
        targets: Of either kind.
        power: 1 for the hinge, 2 for its square.
    """
    if scores.shape != targets.shape:
        return F.multi_margin_loss(scores, targets, p=power, reduction="none")
    sign = 2 * targets.to(scores.dtype) - 1
    return (1 - sign * scores).clamp(min=0) ** power


def auc_margin(
    scores: Tensor,
    targets: Tensor,
    *,
    prior: Tensor,
    margin: float,
    a: Tensor,
    b: Tensor,
    alpha: Tensor,
) -> Tensor:
    """Return the AUC-margin loss, by whose saddle point the AUROC gets high.

    With s = σ(score), the share π of positives and the margin m, it is of a positive sample

        (1 − π) (s − a)² − 2 α (1 − π) s + π (1 − π) (2 α m − α²),

    of a negative one π (s − b)² + 2 α π s + π (1 − π) (2 α m − α²). Net, a and b make the mean over
    the samples small, α ≥ 0 makes it large: a and b become the mean scores of either kind, and α
    asks that they be m apart. Z. Yuan, Y. Yan, M. Sonka, T. Yang, "Large-scale robust deep AUC
    maximization", ICCV 2021, eq. 5-6.

    Args:
        scores: Of any shape.
        targets: 0 and 1, of that shape.
        prior: π, between 0 and 1; like a, b and alpha of a shape that goes with that of the scores.
        margin: m, above 0.
        a: To be learnt.
        b: To be learnt.
        alpha: To be learnt by ascent.
    """
    s, of_positives, of_negatives = scores.sigmoid(), 1 - prior, prior
    positive = of_positives * ((s - a).square() - 2 * alpha * s)
    negative = of_negatives * ((s - b).square() + 2 * alpha * s)
    common = of_positives * of_negatives * (2 * alpha * margin - alpha.square())
    return torch.where(targets == 1, positive, negative) + common


def l1(predicted: Tensor, targets: Tensor) -> Tensor:
    """Return |ŷ − y|, by which the median is learnt."""
    return F.l1_loss(predicted, targets, reduction="none")


def mse(predicted: Tensor, targets: Tensor) -> Tensor:
    """Return (ŷ − y)², by which the mean is learnt."""
    return (predicted - targets).square()


def huber(predicted: Tensor, targets: Tensor, *, delta: float) -> Tensor:
    """Return (ŷ − y)² / 2 up to an error of δ, beyond it δ (|ŷ − y| − δ/2).

    P. J. Huber, "Robust estimation of a location parameter", Annals of Mathematical Statistics
    1964: outliers pull no harder than an error of δ.

    Args:
        predicted: Of any shape.
        targets: Of that shape.
        delta: δ, above 0, in the unit of both.
    """
    return F.huber_loss(predicted, targets, reduction="none", delta=delta)


def quantile(predicted: Tensor, targets: Tensor, *, levels: Sequence[float]) -> Tensor:
    """Return the mean over the levels τ of max(τ e, (τ − 1) e), e = y − ŷ_τ: the pinball loss.

    By it the quantiles of the target are learnt, the median by τ = 0.5 (R. Koenker, G. Bassett,
    "Regression quantiles", Econometrica 1978, eq. 1.1).

    Args:
        predicted: (…, Q), a prediction of each quantile.
        targets: (…).
        levels: Q numbers τ, each between 0 and 1.
    """
    tau = predicted.new_tensor(levels)
    error = targets[..., None] - predicted
    return torch.maximum(tau * error, (tau - 1) * error).mean(-1)


def corn(logits: Tensor, grades: Tensor) -> Tensor:
    """Return −log P(y = k) of grades k (N,), by `continuation_log_probs` of logits (N, K−1)."""
    return -continuation_log_probs(logits).gather(1, grades[:, None])[:, 0]


def continuation_log_probs(logits: Tensor) -> Tensor:
    """Return log P(y = k) (N, K) of logits (N, K−1) of P(y > k | y ≥ k).

    A grade passes every threshold below it and fails its own (X. Shi, W. Cao, S. Raschka, "Deep
    neural networks for rank-consistent ordinal regression based on conditional probabilities",
    2021, eq. 4-6).
    """
    passed = F.logsigmoid(logits).cumsum(1)
    failed = F.logsigmoid(-logits)
    before = F.pad(passed, (1, 0))[:, :-1]
    return torch.cat([before + failed, passed[:, -1:]], 1)


def coral(logits: Tensor, grades: Tensor) -> Tensor:
    """Return Σ_k −log P of whether the grade is above threshold k, of logits (N, K−1) of P(y > k).

    W. Cao, V. Mirjalili, S. Raschka, "Rank consistent ordinal regression for neural networks with
    application to age estimation", 2020, eq. 4: the logits are one score less K−1 thresholds.

    Args:
        logits: (N, K−1).
        grades: (N,).
    """
    above = grades[:, None] > torch.arange(logits.shape[1], device=grades.device)
    return cross_entropy(logits, above).sum(1)


def cumulative(logits: Tensor, grades: Tensor) -> Tensor:
    """Return −log P(y = k) of grades k (N,), P(y > k) being σ of logits (N, K−1) that fall with k.

    The proportional-odds model: P. McCullagh, "Regression models for ordinal data", Journal of the
    Royal Statistical Society B 1980, section 2.
    """
    return corn(continuation_logits(logits), grades)


def continuation_logits(cumulative: Tensor) -> Tensor:
    """Return logits (N, K−1) of P(y > k | y ≥ k), from logits c of P(y > k) that fall with k.

    With P(y = k) = σ(c_{k−1}) − σ(c_k) = σ(c_{k−1}) σ(−c_k) (1 − exp(c_k − c_{k−1})), they are
    log P(y > k) − log P(y = k) = c_k − log σ(c_{k−1}) − log(1 − exp(c_k − c_{k−1})).
    """
    first, before, after = cumulative[:, :1], cumulative[:, :-1], cumulative[:, 1:]
    gap = (before - after).clamp(min=1e-6)  # of thresholds that are the same
    return torch.cat([first, after - F.logsigmoid(before) - (-torch.expm1(-gap)).log()], 1)


def _power(base: Tensor, exponent: float) -> Tensor:
    """Return a power of a base of 0 … 1, of finite slope; exactly 1 for an exponent of 0."""
    return base.clamp(min=_TINY) ** exponent if exponent else torch.ones_like(base)
