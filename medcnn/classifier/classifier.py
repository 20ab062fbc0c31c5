"""The LightningModule: a net, an objective, an optimiser."""

from collections.abc import Callable
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from medcnn import evaluation
from medcnn._version import __version__
from medcnn.classifier.answers import Answers
from medcnn.classifier.freezing import SCRATCH, FeatureCache, Freezing, parameter_groups
from medcnn.classifier.gathered import Collected
from medcnn.classifier.normalise import Normalise, Statistics
from medcnn.errors import UserError
from medcnn.evaluation.few_images import too_rare_to_rank
from medcnn.objective import Objective, known

Card = dict[str, Any]
CARD_KEYS = (
    "config",
    "task",
    "class_names",
    "positive",
    "class_weights",
    "targets",
    "in_channels",
    "input_size",
    "intensity_range",
    "normalise",
    "mean",
    "std",
    "whitening",
    "image_spec",
)


class Classifier(Answers):
    """A net with what its numbers mean, ready to train or to use.

    Like the net it is ``head(features(images))``, but takes images as they are in a batch, in
    0 … 1, and normalises them itself, so that a checkpoint needs nothing beside it.

    Args:
        net: `features` and `head`.
        objective: Loss, probabilities and decision.
        card: What a user of the checkpoint needs, as plain values and tensors by `CARD_KEYS`;
            ``mean``, ``std`` and ``whitening`` are `medcnn.classifier.normalise.Statistics`,
            ``image_spec`` tells how files were prepared (`medcnn.data.image.ImageSpec`; None for
            arrays),
            ``targets`` is by what the targets of a regression are standardised, else None.
        optimizer: From parameter groups to an optimiser; None for use without training.
        scheduler: From (optimiser, total_steps) to Lightning's scheduler dict; None for none.
        freezing: Which parts of the net learn.
        cache: Keeps what a frozen trunk gives; None to compute it anew each time.
        channels_last: Memory format of images and weights.
    """

    def __init__(
        self,
        net: nn.Module,
        objective: Objective,
        card: Card,
        *,
        optimizer: Callable[[list[dict[str, Any]]], torch.optim.Optimizer] | None = None,
        scheduler: Callable[[torch.optim.Optimizer, int], dict[str, Any] | None] | None = None,
        freezing: Freezing = SCRATCH,
        cache: FeatureCache | None = None,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        self.objective, self.card = objective, card
        self.memory_format = _memory_format(channels_last, len(card["input_size"]))
        self.net = net.to(memory_format=self.memory_format)
        self.make_optimizer, self.make_scheduler = optimizer, scheduler
        known = Statistics(*(card[key] for key in Statistics._fields))
        self.normaliser = Normalise(card["normalise"], known, len(card["input_size"]))
        self.collected = Collected()
        self.tested: dict[str, Tensor] = {}
        self.calibration = "none"
        self.mirrored: tuple[int, ...] = ()  # axes along which images are turned, but in training
        self.freezing, self.cache = freezing, cache
        freezing.freeze(self.net, 0)
        self.train()

    @property
    def spatial(self) -> bool:
        """Whether the net has feature maps to draw."""
        return bool(getattr(self.net, "spatial", True))

    def train(self, mode: bool = True) -> Self:
        """As in PyTorch, but frozen stages stay in evaluation mode: their batch norms are fixed."""
        super().train(mode)
        if hasattr(self, "freezing"):  # not while it is set up
            for stage in self.freezing.frozen(self.net, self.current_epoch):
                stage.eval()
        return self

    def on_train_epoch_start(self) -> None:
        """Unfreeze what is to learn from this epoch on."""
        if self.freezing.unfreeze:
            self.freezing.freeze(self.net, self.current_epoch)
            self.train()

    def normalise(self, images: Tensor) -> Tensor:
        """Images (N, C, *spatial) in 0 … 1 → what the net sees; see the module `normalise`."""
        images = self.normaliser(images)
        return images.contiguous(memory_format=self.memory_format)

    def features(self, images: Tensor) -> Tensor:
        """Feature maps (N, K, *spatial) of images (N, C, *spatial) in 0 … 1."""
        return self.net.features(self.normalise(images))  # type: ignore[operator]

    def head(self, maps: Tensor) -> Tensor:
        """Logits (N, outputs) float32 of feature maps; outside training in full precision."""
        if self.training:
            return self.net.head(maps).float()  # type: ignore[operator]
        with torch.autocast(maps.device.type, enabled=False):
            return self.net.head(maps.float())  # type: ignore[operator]

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, outputs) float32 of images (N, C, *spatial) in 0 … 1."""
        return self.head(self.features(images))

    def logits(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits (N, outputs) float32 of a batch, by features that are known where they are."""
        if self.cache is None:
            mirrored = self.mirrored and not self.training
            return self(batch["image"].flip(self.mirrored) if mirrored else batch["image"])
        net: Any = self.net
        return self.head(self.cache(batch["row"], batch["image"], self.features, net.head))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Loss of a batch.

        Dropout is seeded by (seed, epoch, batch, process), so that a run which goes on after an
        interruption draws what it would have drawn.
        """
        key = [self.card["config"]["seed"], self.current_epoch, batch_idx, self.global_rank]
        seed = int(np.random.SeedSequence(key).generate_state(1)[0])
        torch.default_generator.manual_seed(seed)  # torch.manual_seed takes 0.4 ms without a GPU
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        loss = self.training_loss(batch)
        self.log(
            "train/loss",
            loss,
            on_step=False,
            on_epoch=True,
            prog_bar=True,
            # A tensor, for the CPU would wait for the GPU to tell it an int; and float, for
            # Lightning rounds the mean of whole numbers over processes down.
            batch_size=known(batch["label"]).sum().float(),  # type: ignore[arg-type]
            sync_dist=True,
        )
        return loss

    def training_loss(self, batch: dict[str, Tensor]) -> Tensor:
        """Loss of a batch, with that of auxiliary heads where the net has any."""
        if self.freezing.trunk_is_fixed or not len(getattr(self.net, "aux", ())):
            return self.objective.loss(self.logits(batch), batch["label"])
        # GoogLeNet's two auxiliary heads count 0.3 each (Szegedy et al. 2015, section 5).
        main, *aux = self.net.forward_with_aux(self.normalise(batch["image"]))  # type: ignore[operator]
        losses = [self.objective.loss(logits.float(), batch["label"]) for logits in (main, *aux)]
        return losses[0] + 0.3 * sum(losses[1:])

    def on_train_epoch_end(self) -> None:
        """Adapt a learning rate that waits for a plateau.

        Lightning would do so after last.ckpt is written, and not at all in the first epoch of a
        resumed run.
        """
        for config in self.trainer.lr_scheduler_configs:
            figure = self.trainer.callback_metrics.get(config.monitor or "")
            if isinstance(config.scheduler, ReduceLROnPlateau) and figure is not None:
                config.scheduler.step(figure)

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Called by Lightning; see `on_train_epoch_end` for the schedule left out here."""
        if not isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step()

    def validation_step(self, batch: dict[str, Tensor]) -> None:
        """Collect a batch."""
        self.collected.update(batch["row"], self.logits(batch), batch["label"])

    test_step = validation_step

    def on_validation_epoch_start(self) -> None:
        """Forget the epoch before."""
        self.collected.reset()

    on_test_epoch_start = on_validation_epoch_start

    def on_test_epoch_end(self) -> None:
        """Keep what was collected in `tested`."""
        self.tested = self.collected.gathered()

    def on_validation_epoch_end(self) -> None:
        """Log the figures of the validation split; stop a training that has diverged."""
        epoch = self.collected.gathered()
        if not epoch["logits"].isfinite().all():
            raise UserError(
                f"after epoch {self.current_epoch + 1} the net gives NaN: training has diverged; "
                "lower optimizer.lr, or find the cause with trainer.detect_anomaly=true"
            )
        figures = self.figures(epoch)
        monitor = self.objective.monitor
        for name in (monitor, "accuracy" if monitor == "auroc" else "mae"):
            value = figures[name]["value"]
            shown = float("nan") if value is None else value
            self.log(f"val/{name}", shown, prog_bar=name == monitor, rank_zero_only=False)
        loss = self.objective.loss(epoch["logits"], epoch["label"])
        self.log("val/loss", loss, rank_zero_only=False)
        few = too_rare_to_rank(epoch["label"], self.objective.task, self.card["class_names"])
        chosen_by = evaluation.score(figures, monitor, float(loss), few)
        self.log("val/score", chosen_by, rank_zero_only=False)

    def figures(self, collected: dict[str, Tensor]) -> dict[str, Any]:
        """`evaluation.evaluate` of collected rows, logits and labels; decisions are at 0.5."""
        probs = self.probs(collected["logits"])
        return evaluation.evaluate(
            probs.numpy(),
            collected["label"].numpy(),
            self.objective.decide(probs).numpy(),
            task=self.objective.task,
            class_names=self.card["class_names"],
            positive=self.card["positive"],
        )

    def configure_optimizers(self) -> Any:
        """The optimiser, with a learning rate for each stage, and its schedule."""
        assert self.make_optimizer is not None, "a loaded classifier is not trained further"
        rate = self.card["config"]["optimizer"].get("lr")
        optimizer = self.make_optimizer(parameter_groups(self.net, self.freezing, rate))
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = self.make_scheduler(optimizer, steps) if self.make_scheduler else None
        if schedule is not None and schedule.get("monitor", "") is None:
            schedule["monitor"] = "val/score"
        return optimizer if schedule is None else {"optimizer": optimizer, "lr_scheduler": schedule}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put the card into every checkpoint."""
        checkpoint["medcnn"] = {"version": __version__, **self.card}


def _memory_format(channels_last: bool, spatial_dims: int) -> torch.memory_format:
    if not channels_last:
        return torch.contiguous_format
    return torch.channels_last if spatial_dims == 2 else torch.channels_last_3d
