"""Targets: the part of a net's output that a map explains."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from medcnn.errors import UserError
from medcnn.objective import Objective

Chosen = Tensor | Callable[[Tensor], Tensor] | None


class Targets:
    """The scalars that are explained in each image of a batch.

    Args:
        chosen: (N,) int64 class indices, one an image; (N, T), T classes of each; None for the
            class that the net decides on; or a function from logits (M, outputs) to scores (M,).
        objective: Says which scalar stands for a class; None for ``logits[:, target]``.
    """

    def __init__(self, chosen: Chosen, objective: Objective | None) -> None:
        self.function = chosen if callable(chosen) else None
        self.classes = chosen if isinstance(chosen, Tensor) else None
        self.objective = objective

    @property
    def single(self) -> bool:
        """True for one map an image, False for several."""
        return self.classes is None or self.classes.ndim == 1

    @property
    def count(self) -> int:
        """Maps of each image."""
        return 1 if self.classes is None or self.single else self.classes.shape[1]

    def resolved(self, logits: Tensor) -> "Targets":
        """Return the same with its classes checked, and decided where none were given.

        Args:
            logits: (N, outputs) of the images.

        Raises:
            UserError: Classes that don't fit, or one logit without an objective.
        """
        if self.function is not None:
            return self
        if self.objective is None and logits.shape[1] == 1:
            raise UserError(
                "a net with one logit: give its objective, which knows the positive class"
            )
        if self.classes is None:
            return Targets(self._decided(logits.detach()), self.objective)
        return Targets(self._checked(self.classes, logits), self.objective)

    def scores(self, logits: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return the scores that are explained (M, T), of logits (M, outputs).

        Args:
            logits: Of the images in the batch's order, or of copies of them.
            rows: (M,) int64, the image that each row of logits belongs to; None for the batch.

        Raises:
            UserError: A function that doesn't give one score a row.
        """
        if self.function is not None:
            scores = self.function(logits)
            if scores.shape != logits.shape[:1]:
                raise UserError(
                    f"targets: the function has to give one score a row, {len(logits)} of them, "
                    f"but gave shape {tuple(scores.shape)}"
                )
            return scores[:, None]
        assert self.classes is not None
        classes = self.classes if self.classes.ndim == 2 else self.classes[:, None]
        classes = classes if rows is None else classes[rows]
        if self.objective is None:
            return logits.gather(1, classes)
        return torch.stack([self.objective.score(logits, one) for one in classes.unbind(1)], 1)

    def _checked(self, classes: Tensor, logits: Tensor) -> Tensor:
        """Return class indices (N,) or (N, T) on the logits' device; raise UserError if unfit."""
        floating = classes.dtype.is_floating_point
        if classes.ndim not in (1, 2) or len(classes) != len(logits) or floating:
            raise UserError(
                f"targets: need one class index for each of the {len(logits)} images, or a row of "
                f"them, got {classes.dtype} of shape {tuple(classes.shape)}"
            )
        count = logits.shape[1] if self.objective is None else self.objective.num_classes
        classes = classes.to(logits.device, torch.int64).clone()
        if not ((classes >= 0) & (classes < count)).all():
            raise UserError(f"targets: {classes.tolist()} leave the classes 0 … {count - 1}")
        return classes

    def _decided(self, logits: Tensor) -> Tensor:
        """Return the class (N,) that the net decides on."""
        if self.objective is None:
            return logits.argmax(1)
        return self.objective.explained(self.objective.probs(logits))


def gradients_of(scores: Tensor, inputs: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
    """Return the gradients of each of T scores (N, T) with respect to each of the inputs."""
    return [
        torch.autograd.grad(one.sum(), inputs, retain_graph=k < scores.shape[1] - 1)
        for k, one in enumerate(scores.unbind(1))
    ]
