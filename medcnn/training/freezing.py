"""The trained part of a net: frozen stages, learning rates by stage, features kept."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from medcnn.errors import UserError
from medcnn.nets.base import evaluating, stages_of

FROZEN = ("head", "partial")  # the trunk never changes


@dataclass(frozen=True)
class Freezing:
    """The parts of a net that learn.

    Args:
        mode: scratch: all, as drawn; finetune: all, from given weights; head and partial: only the
            head, on the whole trunk or on what is left of it (`medcnn.nets.cut`).
        first_lr: With finetune: the first stage's learning rate as a share of the head's; the
            stages between have equal ratios (J. Howard, S. Ruder, "Universal language model
            fine-tuning", 2018, section 3.2, "discriminative fine-tuning").
        head_lr: With head and partial: the head's learning rate as a multiple of that of a whole
            net, which is too low for a single linear layer.
        unfreeze: With finetune: the head is trained alone at first, and one more stage, from the
            last to the first, after every so many epochs ("gradual unfreezing", there); 0: all at
            once.
    """

    mode: str = "scratch"
    first_lr: float = 1.0
    unfreeze: int = 0
    head_lr: float = 1.0

    @property
    def trunk_is_fixed(self) -> bool:
        """True if features(x) of an image is the same in all epochs."""
        return self.mode in FROZEN

    def frozen(self, net: nn.Module, epoch: int) -> list[nn.Module]:
        """The stages that don't learn in an epoch, counted from 0."""
        if self.mode in FROZEN:
            return [*stages_of(net).values()]
        if self.mode == "finetune" and self.unfreeze:
            stages = [*stages_of(net).values()]
            return stages[: max(0, len(stages) - epoch // self.unfreeze)]
        return []

    def freeze(self, net: nn.Module, epoch: int) -> None:
        """Sets what takes part in the backward pass of an epoch; scratch changes nothing."""
        if self.mode == "scratch":
            return
        frozen = self.frozen(net, epoch)
        for stage in stages_of(net).values():
            stage.requires_grad_(stage not in frozen)

    def rates(self, net: nn.Module) -> list[tuple[list[nn.Parameter], float]]:
        """Parameters that are ever trained, with their learning rate as a share of the head's."""
        if self.mode == "scratch":
            return [(list(net.parameters()), 1.0)]
        stages = [list(stage.parameters()) for stage in dict.fromkeys(stages_of(net).values())]
        trunk = {id(p) for stage in stages for p in stage}
        rest = [p for p in net.parameters() if id(p) not in trunk]
        if self.mode in FROZEN:
            return [(rest, self.head_lr)]
        steps = len(stages)
        rates = [self.first_lr ** ((steps - i) / steps) for i in range(steps)]
        return [*zip(stages, rates, strict=True), (rest, 1.0)]


SCRATCH = Freezing()


def parameter_groups(
    net: nn.Module, freezing: Freezing, learning_rate: object
) -> list[dict[str, Any]]:
    """Parameters by learning rate, each group once with weight decay and once without.

    Biases and normalisation have none. `learning_rate` is the head's.

    Raises:
        UserError: A learning rate that is no number, where stages have different ones.
    """
    by_rate: dict[float, list[nn.Parameter]] = {}
    for parameters, factor in freezing.rates(net):
        by_rate.setdefault(factor, []).extend(parameters)
    groups = []
    for factor, parameters in by_rate.items():
        rate = {}
        if factor != 1.0:
            if not isinstance(learning_rate, int | float):
                raise UserError(f"optimizer.lr={learning_rate}: give a number")
            rate = {"lr": learning_rate * factor}
        for several in (True, False):
            chosen = [p for p in parameters if (p.ndim > 1) == several and learns(p, freezing)]
            if chosen:
                groups.append(
                    {"params": chosen} | rate | ({} if several else {"weight_decay": 0.0})
                )
    return groups


def learns(parameter: nn.Parameter, freezing: Freezing) -> bool:
    """Return True if a parameter is trained now, or will be once its stage is unfrozen."""
    return parameter.requires_grad or bool(freezing.unfreeze)


class FeatureCache:
    """The features of a frozen trunk for each row of the sample table, computed once.

    Where the head only takes their mean, that alone is kept. Rows are computed in blocks that lie
    fixed: what a convolution gives for an image depends in its last bits on the batch that it is
    in, and a run that goes on after an interruption meets the rows in other batches.

    Args:
        rows: Rows of the sample table.
        budget: Bytes that the features may take; above it nothing is kept.
        images: From rows (N,) to images (N, C, *spatial) in 0 … 1.
        block: Rows of a block.
    """

    def __init__(
        self, rows: int, budget: int, images: Callable[[Tensor], Tensor], block: int
    ) -> None:
        self.known = torch.zeros(rows, dtype=torch.bool)
        self.budget = budget
        self.images, self.block = images, block
        self.kept: Tensor | None = None
        self.mean_is_enough = False
        self.too_small = False  # the budget

    @torch.no_grad()
    def __call__(
        self, rows: Tensor, features: Callable[[Tensor], Tensor], head: nn.Module
    ) -> Tensor:
        """Feature maps (N, K, *spatial), or their means (N, K, 1, …), of a batch.

        Args:
            rows: (N,) int64 of the images, on the device that computes.
            features: From images to maps; frozen and in evaluation mode.
            head: What the maps are given to.
        """
        device = rows.device
        rows = rows.cpu()
        for number in (rows[~self.known[rows]] // self.block).unique().tolist():
            if self.too_small:
                break
            start = number * self.block
            whole = torch.arange(start, min(start + self.block, len(self.known)))
            self._keep(whole, features(self.images(whole).to(device)), head)
        if self.kept is None:
            parts = rows.split(self.block)  # as a study may have thousands of images
            return torch.cat([features(self.images(part).to(device)) for part in parts])
        return self.kept[rows].to(device)

    def _keep(self, rows: Tensor, maps: Tensor, head: nn.Module) -> None:
        """Keep the maps of some rows, or find out that there is no room for those of all."""
        if self.kept is None:
            self.mean_is_enough = only_mean(head, maps)
        maps = mean(maps) if self.mean_is_enough else maps
        if self.kept is None:
            needed = len(self.known) * maps[0].numel() * maps.element_size()
            self.too_small = needed > self.budget
            if self.too_small:
                return
            self.kept = maps.new_empty(len(self.known), *maps.shape[1:], device="cpu")
        self.kept[rows] = maps.cpu()
        self.known[rows] = True


def mean(maps: Tensor) -> Tensor:
    """Means (N, K, 1, …) float32 of maps (N, K, *spatial) over the image."""
    return maps.float().mean(tuple(range(2, maps.ndim)), keepdim=True)


@torch.no_grad()
def only_mean(head: nn.Module, maps: Tensor) -> bool:
    """Return True if a head gives the same for the mean of maps as for the maps themselves."""
    if maps.ndim < 3:
        return False
    try:
        with evaluating(head), torch.autocast(maps.device.type, enabled=False):
            whole, pooled = head(maps.float()), head(mean(maps))
    except RuntimeError:  # a head that takes maps of one size only
        return False
    return torch.allclose(whole, pooled, rtol=1e-4, atol=1e-5)
