"""The mean of the weights of the best epochs."""

from math import isfinite
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from medcnn.classifier.checkpoint import read_checkpoint, save
from medcnn.errors import UserError, check_whole_number
from medcnn.training.module import MONITOR

Weights = dict[str, Tensor]


class Soup(Callback):
    """The mean of the weights of the epochs that are best on validation, made after the last one.

    M. Wortsman et al., "Model soups", 2022, there of fine-tuned networks. Greedy (algorithm 1):
    from the best epoch on, each one is added that leaves the validation figure no lower. The soup
    takes the place of the best epoch in best.ckpt if its figure is no lower. The weights wait in
    ``checkpoints/soup/``, and those of an epoch are deleted once last.ckpt does without them.

    Args:
        k: Epochs.
        how: ``greedy``, or ``uniform``: all of them.

    Raises:
        UserError: A value that can't be.
    """

    def __init__(self, k: int, how: Literal["greedy", "uniform"]) -> None:
        check_whole_number("average.k", k, least=2)
        if how not in ("greedy", "uniform"):
            raise UserError(f"average.how={how}: choose one of greedy, uniform")
        self.k, self.how = k, how
        self.best: list[list[Any]] = []  # [figure, epoch], the highest figure first

    def state_dict(self) -> dict[str, Any]:
        """Return the best epochs and their figures."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what the checkpoint says."""
        self.best = [list(one) for one in state_dict["best"]]

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the weights of an epoch that is one of the best."""
        if trainer.state.fn != "fit":
            return
        figure, epoch = float(trainer.callback_metrics[MONITOR]), trainer.current_epoch
        if not isfinite(figure):
            return
        others = [one for one in self.best if one[1] != epoch]
        self.best = sorted([*others, [figure, epoch]], key=lambda one: (-one[0], one[1]))[: self.k]
        if trainer.is_global_zero and [figure, epoch] in self.best:
            path = _file(trainer, epoch)
            path.parent.mkdir(exist_ok=True)
            classifier: Any = pl_module.classifier
            save({"state_dict": classifier.state_dict()}, path)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Delete what last.ckpt does without."""
        wanted = {_file(trainer, epoch) for _, epoch in self.best}
        if trainer.is_global_zero:
            for path in _file(trainer, 0).parent.glob("epoch-*.ckpt"):
                if path not in wanted:
                    path.unlink()

    def mix(self, trainer: pl.Trainer, module: Any, data: Any, best: Path) -> float | None:
        """Put the soup into the best checkpoint, if it is no worse on validation.

        Args:
            trainer: After the training; of every process.
            module: Ends with the weights of the soup.
            data: The loaders.
            best: The file.

        Returns:
            Its figure; None if the best epoch stays.
        """
        if len(self.best) < 2:
            return None
        weights = [_weights(_file(trainer, epoch)) for _, epoch in self.best]
        highest = self.best[0][0]
        chosen, reached = weights[: 1 if self.how == "greedy" else None], highest
        for part in weights[len(chosen) :]:
            figure = _figure([*chosen, part], trainer, module, data)
            if figure >= reached:
                chosen, reached = [*chosen, part], figure
        figure = _figure(chosen, trainer, module, data)
        kept = len(chosen) > 1 and figure >= highest
        if trainer.is_global_zero:
            of = f"{len(chosen)} of the {len(weights)} best epochs"
            said = "it is tested" if kept else "the best epoch is tested"
            print(
                f"soup of {of}: validation figure {figure:.4f}, of the best epoch {highest:.4f}; "
                f"{said}",
                flush=True,
            )
            if kept:
                mixed = module.classifier.state_dict()
                save({**read_checkpoint(best), "state_dict": mixed}, best)
        trainer.strategy.barrier()
        return figure if kept else None


def _file(trainer: pl.Trainer, epoch: int) -> Path:
    folder = Path(trainer.checkpoint_callback.dirpath)  # type: ignore[union-attr]
    return folder / "soup" / f"epoch-{epoch + 1}.ckpt"


def _weights(path: Path) -> Weights:
    weights: Weights = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    return weights


def mean_of(parts: list[Weights]) -> Weights:
    """Return the mean of weights; whole numbers, as a batch norm counts its batches, of the first.

    >>> mean_of([{"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([3.0, 2.0])}])
    {'w': tensor([2., 2.])}
    """
    return {
        name: torch.stack([part[name].double() for part in parts]).mean(0).to(first.dtype)
        if first.is_floating_point()
        else first
        for name, first in parts[0].items()
    }


def _figure(parts: list[Weights], trainer: pl.Trainer, module: Any, data: Any) -> float:
    """Return the validation figure of the mean of weights, with batch norms that fit it."""
    module.classifier.load_state_dict(mean_of(parts))
    trainer.validate(module, data, verbose=False)
    return float(trainer.callback_metrics[MONITOR])
