"""Ways to keep a net from learning its training images by heart."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

Batch = dict[str, Tensor]
Box = tuple[slice, ...]  # in an image's spatial axes
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Regularisation:
    """Penalties and limits of the weights, and mixing of training images.

    *Weights* are the parameters that learn and have two axes or more: no biases, no normalisation.

    Args:
        l1: λ of the penalty λ Σ|w| (R. Tibshirani, "Regression shrinkage and selection via the
            lasso", 1996). It is part of the loss: weights come close to zero, not to exactly zero.
        l2: λ of the penalty λ/2 Σw² ("ridge": A. Hoerl, R. Kennard, 1970), part of the loss, too.
            With SGD it is weight decay; adaptive optimisers divide its gradient as that of the
            images (I. Loshchilov, F. Hutter, "Decoupled weight decay regularization", 2019).
        max_norm: Greatest Euclidean length of the weights of one output unit or channel, to which
            longer ones are scaled after each step (N. Srebro, A. Shraibman, "Rank, trace-norm and
            max-norm", 2005; G. Hinton et al., "Improving neural networks by preventing
            co-adaptation of feature detectors", 2012); None for no limit.
        mixup: α of the Beta(α, α) distribution of the share λ in λ x + (1-λ) x', a training image
            blended with another one of its batch (H. Zhang et al., "mixup: beyond empirical risk
            minimization", 2018, eq. 1); 0 for none.
        cutmix: α of the same for a box cut out of another image, of 1-λ of the area or volume
            (S. Yun et al., "CutMix", 2019, eqs. 1-2); 0 for none. With both, each batch has one of
            them, either as likely.
    """

    l1: float = 0.0
    l2: float = 0.0
    max_norm: float | None = None
    mixup: float = 0.0
    cutmix: float = 0.0

    @property
    def mixes(self) -> bool:
        """True if training images are mixed."""
        return self.mixup > 0 or self.cutmix > 0

    def penalty(self, net: nn.Module) -> Tensor | None:
        """Return what the weights of a net add to its loss; None without a penalty."""
        terms = []
        for weight in weights(net) if self.l1 or self.l2 else ():
            if self.l1:
                terms.append(self.l1 * weight.abs().sum())
            if self.l2:
                terms.append(self.l2 / 2 * weight.square().sum())
        return torch.stack(terms).sum() if terms else None

    @torch.no_grad()
    def limit(self, net: nn.Module) -> None:
        """Scale the weights of each output unit that are longer than `max_norm` down to it."""
        if self.max_norm is not None:
            for weight in weights(net):
                weight.renorm_(2, 0, self.max_norm)

    def mix(self, batch: Batch, key: Sequence[int]) -> Batch:
        """Return a batch each of whose images is mixed with the one before it.

        Args:
            batch: ``image`` (N, C, *spatial) in 0 … 1 and ``label`` (N, …), in random order.
            key: Seed, epoch and number of the batch: the draw depends on these alone.

        Returns:
            The batch with ``other_label`` (N, …) of the images that came in, and ``share`` (), the
            part of each mixture that is the image's own, for `mixed_loss`.
        """
        chosen = [(way, alpha) for way, alpha in self._ways.items() if alpha > 0]
        if not chosen:
            return batch
        # spawned, so that other draws with this key are independent of it
        draw = np.random.default_rng(np.random.SeedSequence(key, spawn_key=(1,)))
        way, alpha = chosen[draw.integers(len(chosen))]
        share, images = float(draw.beta(alpha, alpha)), batch["image"]
        if way == "mixup":
            images = torch.lerp(images.roll(1, 0), images, share)
        else:
            box = cut_box(images.shape[2:], 1 - share, draw)
            images, share = paste(images, images.roll(1, 0), box)
        mixed = {"image": images, "other_label": batch["label"].roll(1, 0)}
        return batch | mixed | {"share": torch.tensor(share, device=images.device)}

    @property
    def _ways(self) -> dict[str, float]:
        return {"mixup": self.mixup, "cutmix": self.cutmix}


NONE = Regularisation()


def weights(net: nn.Module) -> Iterator[nn.Parameter]:
    """Yield the parameters of a net that learn, but biases and those of normalisation."""
    return (one for one in net.parameters() if one.requires_grad and one.ndim > 1)


def mixed_loss(loss: Loss, logits: Tensor, batch: Batch) -> Tensor:
    """Return the loss of a batch; of a mixed one λ L(labels) + (1-λ) L(labels of the others).

    For losses that are linear in the label, such as cross-entropy, that is the loss of the mixed
    label. An unknown label counts for nothing in its own term.

    Args:
        loss: From logits and labels to a scalar.
        logits: (N, outputs).
        batch: Of `Regularisation.mix`, or one that wasn't mixed.
    """
    own = loss(logits, batch["label"])
    if "share" not in batch:
        return own
    share = batch["share"]
    return share * own + (1 - share) * loss(logits, batch["other_label"])


def cut_box(size: Sequence[int], part: float, draw: np.random.Generator) -> Box:
    """Return the place of a box in an image: its shape, and at most a part 0 … 1 of it.

    Its centre is uniform over the image, and what lies beyond the edge is lost (Yun et al., eq. 2).
    """
    box = []
    for side in size:
        half, centre = int(side * part ** (1 / len(size)) / 2), int(draw.integers(side))
        box.append(slice(max(centre - half, 0), min(centre + half, side)))
    return tuple(box)


def paste(images: Tensor, others: Tensor, box: Box) -> tuple[Tensor, float]:
    """Return images (N, C, *spatial) with a box out of others, and the part that is their own."""
    pasted, place = images.clone(), (slice(None), slice(None), *box)
    pasted[place] = others[place]
    return pasted, 1 - others[place].numel() / others.numel()
