"""The parts of a training that its checks look at, and the guard that puts all back."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from pytorch_lightning.utilities.seed import isolate_rng
from torch import Tensor, nn

from medcnn.classifier.build import make_classifier
from medcnn.classifier.card import make_card
from medcnn.classifier.classifier import Classifier
from medcnn.data.batches import DataModule
from medcnn.data.row_batches import Batch, RowDataset
from medcnn.data.samples import Samples
from medcnn.jobs.settings.commands import Train
from medcnn.nets.families.resnet import StochasticDepth
from medcnn.objective import Objective, known
from medcnn.training.from_config import make_data, make_module
from medcnn.training.module import TrainingModule
from medcnn.training.transfer import has_weights, is_own


@dataclass(frozen=True)
class Parts:
    """A training before its first step.

    Args:
        cfg: Its settings.
        samples: Its data.
        module: What will learn, on its device.
        data: Its batches.
    """

    cfg: Train
    samples: Samples
    module: TrainingModule
    data: DataModule

    @property
    def classifier(self) -> Classifier:
        """The net with its normalisation and objective."""
        return self.module.classifier

    @property
    def objective(self) -> Objective:
        """Loss, probabilities and decision."""
        return self.module.classifier.objective

    @property
    def starts_trained(self) -> bool:
        """True where the net may have learnt before, from weights that its settings name."""
        return has_weights(self.cfg) or not is_own(self.cfg)

    def rows(self, split: str, n: int) -> Tensor:
        """Return at most `n` rows of a split whose labels are known, evenly from their classes."""
        rows = self.samples.rows(split)
        there = known(self.samples.labels[rows])
        return self.samples.spread(rows[there if there.ndim == 1 else there.any(1)], n)

    def count(self, most: int, values: int) -> int:
        """Return how many images to look at: fewer of large ones, at least two.

        Args:
            most: Of small ones.
            values: That all of them may hold together.
        """
        return max(2, min(most, values // self.size))

    @property
    def size(self) -> int:
        """Values of an image."""
        return self.samples.in_channels * torch.Size(self.samples.input_size).numel()

    def batch(self, rows: Tensor) -> Batch:
        """Return a batch of rows on the module's device, scaled but not augmented."""
        batch = self.data.scaled(RowDataset(self.samples)[rows])
        return {name: value.to(self.module.device) for name, value in batch.items()}

    def patients(self, rows: Tensor) -> np.ndarray:
        """Return the patient of each row (n,), as whole numbers."""
        column = self.samples.table["patient"].astype(str).to_numpy()[rows.numpy()]
        return np.unique(column, return_inverse=True)[1]


def make_parts(cfg: Train, samples: Samples, trust: Iterable[str]) -> Parts:
    """Return the parts that a training with these settings would start with.

    Raises:
        UserError: Settings that don't go together.
    """
    classifier = make_classifier(make_card(cfg, samples), trust, fresh=True)
    module = make_module(cfg, classifier, samples, trust)
    return Parts(cfg, samples, module, make_data(cfg, samples, trust))


@contextmanager
def preserved(module: TrainingModule) -> Iterator[None]:
    """Put back after the block what it did to a module and to the random states.

    These are weights, buffers, gradients, what is frozen, training or evaluation mode, and the
    generators of torch, numpy and Python. Inside, no feature of a frozen trunk is kept.
    """
    held: list[Tensor] = [*module.parameters(), *module.buffers()]
    tensors = [(one, one.detach().clone()) for one in held]
    learning = [(one, one.requires_grad, one.grad) for one in module.parameters()]
    modes = [(part, part.training) for part in module.modules()]
    cache, module.cache = module.cache, None
    try:
        for one, _, _ in learning:
            one.grad = None
        with isolate_rng(include_cuda=module.device.type == "cuda"):
            yield
    finally:
        module.cache = cache
        with torch.no_grad():
            for tensor, before in tensors:
                tensor.copy_(before)
        for one, learns, gradient in learning:
            one.requires_grad_(learns)
            one.grad = gradient
        for part, mode in modes:
            part.training = mode


def without_dropout(module: TrainingModule) -> list[nn.Module]:
    """Set a module to training mode but for what drops at random; return what would."""
    module.train()
    kinds = (nn.modules.dropout._DropoutNd, StochasticDepth)
    parts = [part for part in module.modules() if isinstance(part, kinds) and part.training]
    for part in parts:
        part.eval()
    return [part for part in parts if getattr(part, "p", 0) or getattr(part, "drop", 0)]
