"""Averages of the weights over the steps or the epochs of a training."""

from math import cos, pi
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn, get_swa_multi_avg_fn

from medcnn.errors import UserError, check_whole_number
from medcnn.jobs.settings.values import is_number


class Average(Callback):
    """An average of the weights, in the net from each validation to the next step.

    So the average is validated, saved in best.ckpt and tested; batch norms take their statistics
    through it (`BatchNormStatistics`, which comes after this). Lightning's own callback would put
    it into no checkpoint of weights alone, and copies the module with its data. The weights that
    aren't in the net are a part of last.ckpt, so that a run which goes on ends with the same.
    """

    def __init__(self) -> None:
        self.other: dict[str, Tensor] = {}  # weights, by name: the average, or what it replaces
        self.count = 0  # of weights in the average
        self.inside = False  # the average is in the net

    def state_dict(self) -> dict[str, Any]:
        """Return the weights that aren't in the net, and whether these are the average."""
        return {"other": self.other, "count": self.count, "inside": self.inside}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what the checkpoint says."""
        self.other, self.count = state_dict["other"], state_dict["count"]
        self.inside = state_dict["inside"]

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the average into the net."""
        if trainer.state.fn == "fit" and self.count and not self.inside:
            self._swap(pl_module)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Put the weights that learn into the net."""
        if self.inside:
            self._swap(pl_module)

    @torch.no_grad()
    def _swap(self, module: pl.LightningModule) -> None:
        for name, weight in weights_of(module).items():
            there = self.other[name].to(weight.device)
            self.other[name] = weight.clone()
            weight.copy_(there)
        self.inside = not self.inside

    @torch.no_grad()
    def _add(self, module: pl.LightningModule, mean: Any) -> None:
        """Add the weights of now; `mean` is one of PyTorch's functions of averages."""
        weights = weights_of(module)
        if self.count == 0:
            self.other = {name: weight.clone() for name, weight in weights.items()}
        else:
            self.other = {name: self.other[name].to(weights[name].device) for name in weights}
            mean([*self.other.values()], [*weights.values()], self.count)
        self.count += 1


def weights_of(module: pl.LightningModule) -> dict[str, Tensor]:
    """Return the parameters of the classifier that a module trains, by their names."""
    classifier: Any = module.classifier
    return {name: weight.detach() for name, weight in classifier.named_parameters()}


class EMA(Average):
    """An exponential moving average over the steps (B. Polyak, A. Juditsky, 1992).

    After step n of it, a ← d a + (1 − d) w; the first average is the weights themselves.

    Args:
        decay: d, the share of the average that is kept at each step.
        start: Epochs before it begins.
        warmup: Whether d is at most (1 + n) / (10 + n), as in TensorFlow, so that it isn't weighed
            down by the first weights in a short training.

    Raises:
        UserError: A value that can't be.
    """

    def __init__(self, decay: float, start: int, warmup: bool) -> None:
        super().__init__()
        if not is_number(decay) or not 0 < decay < 1:
            raise UserError(f"average.decay={decay}: a number between 0 and 1, such as 0.999")
        check_whole_number("average.start", start, least=0)
        if not isinstance(warmup, bool):
            raise UserError(f"average.warmup={warmup}: choose one of true, false")
        self.decay, self.start, self.warmup = decay, start, warmup
        self.step = 0  # after which the average was taken last

    def state_dict(self) -> dict[str, Any]:
        """Return that of `Average`, with the last step in it."""
        return {**super().state_dict(), "step": self.step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what the checkpoint says."""
        super().load_state_dict(state_dict)
        self.step = state_dict["step"]

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        """Add the weights where the batch ended with a step of the optimiser."""
        if trainer.global_step == self.step:
            return
        self.step = trainer.global_step
        if trainer.current_epoch < self.start:
            return
        kept = (1 + self.count) / (10 + self.count) if self.warmup else self.decay
        self._add(pl_module, get_ema_multi_avg_fn(min(self.decay, kept)))


class SWA(Average):
    """Stochastic weight averaging: the mean over the last epochs, at a rate that stays high.

    P. Izmailov et al., "Averaging weights leads to wider optima and better generalization", 2018,
    algorithm 1, with a constant rate, to which a cosine may lead as in PyTorch's `SWALR`.

    Args:
        start: Share of the epochs after which it begins.
        rate: Learning rate from then on, as a share of the highest.
        anneal: Share of the epochs in which the rate goes there from that of the schedule.

    Raises:
        UserError: A value that can't be.
    """

    def __init__(self, start: float, rate: float, anneal: float = 0.0) -> None:
        super().__init__()
        for key, value in (("start", start), ("rate", rate)):
            if not is_number(value) or not 0 < value <= 1:
                raise UserError(f"average.{key}={value}: give a share, above 0 and up to 1")
        if not is_number(anneal) or not 0 <= anneal <= 1:
            raise UserError(f"average.anneal={anneal}: give a share, 0 … 1")
        self.start, self.rate, self.anneal = start, rate, anneal
        self.before: list[float] = []  # the rates of the schedule as it begins

    def state_dict(self) -> dict[str, Any]:
        """Return that of `Average`, with the rates before it."""
        return {**super().state_dict(), "before": self.before}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what the checkpoint says."""
        super().load_state_dict(state_dict)
        self.before = state_dict.get("before", [])  # last.ckpt of an older version has none

    def _epochs(self, trainer: pl.Trainer) -> int:
        """Return the epochs since it began, negative before."""
        epochs = trainer.max_epochs or 1
        return trainer.current_epoch - min(int(self.start * epochs), epochs - 1)

    def _set_rates(self, trainer: pl.Trainer, module: Any, batches: int) -> None:
        """Set the learning rates after so many batches of an epoch, whatever the schedule says."""
        if self._epochs(trainer) < 0:
            return
        groups = trainer.optimizers[0].param_groups
        self.before = self.before or [group["lr"] for group in groups]
        done = self._epochs(trainer) + batches / trainer.num_training_batches
        length = self.anneal * (trainer.max_epochs or 1)
        old = (1 + cos(pi * done / length)) / 2 if done < length else 0.0
        rates = zip(groups, self.before, module.highest_rates, strict=True)
        for group, before, highest in rates:
            group["lr"] = old * before + (1 - old) * self.rate * highest

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Put the weights that learn into the net, and set their rate."""
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        self._set_rates(trainer, pl_module, batch_idx)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Add the weights at the end of an epoch."""
        self._set_rates(trainer, pl_module, batch_idx + 1)
        if self._epochs(trainer) >= 0 and batch_idx + 1 == trainer.num_training_batches:
            self._add(pl_module, get_swa_multi_avg_fn())
