"""The LightningModule that trains a classifier."""

from collections.abc import Callable
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from medcnn import evaluation
from medcnn._version import __version__
from medcnn.classifier.classifier import Classifier
from medcnn.data.row_batches import context_of
from medcnn.errors import UserError
from medcnn.evaluation.few_images import too_rare_to_rank
from medcnn.inference.logits import Collector
from medcnn.objective import known
from medcnn.training.freezing import SCRATCH, FeatureCache, Freezing, parameter_groups
from medcnn.training.optimizers import second_pass
from medcnn.training.regularisation import NONE, Regularisation, mixed_loss

MONITOR = "val/score"  # what the best checkpoint is chosen by: see medcnn.evaluation.score
OF_CLASSIFIER = "classifier."  # begins the names of its weights here, but in no checkpoint


class TrainingModule(Collector):
    """Loss, optimiser and schedule of a classifier, and its figures on the validation split.

    Args:
        classifier: Learns.
        optimizer: From parameter groups to an optimiser.
        scheduler: From (optimiser, total_steps) to Lightning's scheduler dict; None for none.
        freezing: Which parts of the net learn.
        cache: Keeps what a frozen trunk gives; None to compute it anew each time.
        regularisation: Penalties and limits of the weights, and mixing of images.
    """

    def __init__(
        self,
        classifier: Classifier,
        *,
        optimizer: Callable[[list[dict[str, Any]]], torch.optim.Optimizer],
        scheduler: Callable[[torch.optim.Optimizer, int], dict[str, Any] | None],
        freezing: Freezing = SCRATCH,
        cache: FeatureCache | None = None,
        regularisation: Regularisation = NONE,
    ) -> None:
        super().__init__(classifier)
        self.make_optimizer, self.make_scheduler = optimizer, scheduler
        self.freezing, self.cache, self.regularisation = freezing, cache, regularisation
        freezing.freeze(classifier.net, 0)
        self.train()

    def train(self, mode: bool = True) -> Self:
        """As in PyTorch, but frozen stages stay in evaluation mode: their batch norms are fixed."""
        super().train(mode)
        for stage in self.freezing.frozen(self.classifier.net, self.current_epoch):
            stage.eval()
        return self

    def on_train_epoch_start(self) -> None:
        """Unfreeze what is to learn from this epoch on."""
        if self.freezing.unfreeze:
            self.freezing.freeze(self.classifier.net, self.current_epoch)
            self.train()

    def logits(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits (N, outputs) float32 of a batch, by features that are known where they are."""
        if self.cache is None:
            return super().logits(batch)
        classifier, net = self.classifier, self.classifier.net
        rows = batch.get("place", batch["row"])
        known_features = self.cache(rows, classifier.features, net.head)  # type: ignore[arg-type]
        return classifier.head(known_features, context_of(batch))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Loss of a batch, with the penalty of the weights.

        ``train/loss`` is logged without that penalty, and of mixed images as it is: higher than of
        plain ones.

        Dropout is seeded by (seed, epoch, batch, process), so that a run which goes on after an
        interruption draws what it would have drawn.
        """
        key = [self._config["seed"], self.current_epoch, batch_idx, self.global_rank]
        seed = int(np.random.SeedSequence(key).generate_state(1)[0])
        torch.default_generator.manual_seed(seed)  # torch.manual_seed takes 0.4 ms without a GPU
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        with second_pass(self.classifier, self.trainer.optimizers) as second:
            if not second:
                self.classifier.objective.keep_within_bounds()
            loss = self.training_loss(self.regularisation.mix(batch, key[:3]))
        penalty = self.regularisation.penalty(self.classifier.net)
        whole = loss if penalty is None else loss + penalty
        if second:
            return whole
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
        if penalty is not None:
            how = {"on_step": False, "on_epoch": True, "batch_size": 1, "sync_dist": True}
            self.log("train/penalty", penalty, **how)  # type: ignore[arg-type]
        return whole

    def training_loss(self, batch: dict[str, Tensor]) -> Tensor:
        """Loss of a batch, with that of auxiliary heads where the net has any."""
        net, objective = self.classifier.net, self.classifier.objective
        if self.freezing.trunk_is_fixed or not len(getattr(net, "aux", ())):
            return mixed_loss(objective.loss, self.logits(batch), batch)
        # GoogLeNet's two auxiliary heads count 0.3 each (Szegedy et al. 2015, section 5).
        main, *aux = net.forward_with_aux(self.classifier.normalise(batch["image"]))  # type: ignore[operator]
        losses = [mixed_loss(objective.loss, one.float(), batch) for one in (main, *aux)]
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

    validation_step = Collector.test_step
    on_validation_epoch_start = Collector.on_test_epoch_start

    def on_validation_epoch_end(self) -> None:
        """Log the figures of the validation split; stop a training that has diverged."""
        epoch = self.collected.gathered()
        if not epoch["logits"].isfinite().all():
            raise UserError(
                f"after epoch {self.current_epoch + 1} the net gives NaN: training has diverged; "
                "lower optimizer.lr, or find the cause with trainer.detect_anomaly=true"
            )
        figures = self._figures(epoch)
        curves = None if self.trainer.state.fn == "fit" else False  # of all loggers, or of none
        log = partial(self.log, rank_zero_only=False, logger=curves)
        objective, monitor = self.classifier.objective, self.classifier.objective.monitor
        for name in (monitor, "accuracy" if monitor == "auroc" else "mae"):
            value = figures[name]["value"]
            shown = float("nan") if value is None else value
            log(f"val/{name}", shown, prog_bar=name == monitor)
        loss = objective.loss(epoch["logits"], epoch["label"])
        log("val/loss", loss)
        few = too_rare_to_rank(epoch["label"], objective.task, self.classifier.class_names)
        chosen_by = evaluation.score(figures, monitor, float(loss), few)
        log(MONITOR, chosen_by)

    def _figures(self, epoch: dict[str, Tensor]) -> dict[str, Any]:
        """Figures of an epoch's rows, logits and labels; decisions are at 0.5."""
        objective, card = self.classifier.objective, self.classifier.card
        probs = self.classifier.probs(epoch["logits"])
        return evaluation.evaluate(
            probs.numpy(),
            epoch["label"].numpy(),
            objective.decide(probs).numpy(),
            task=objective.task,
            class_names=card["class_names"],
            positive=card["positive"],
        )

    def configure_optimizers(self) -> Any:
        """The optimiser, with a learning rate for each stage, and its schedule."""
        optimizer = self.make_optimizer(self.groups())
        self.highest_rates = [group["lr"] for group in optimizer.param_groups]
        if self.regularisation.max_norm is not None:
            limit, net = self.regularisation.limit, self.classifier.net
            optimizer.register_step_post_hook(lambda *_: limit(net))
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = self.make_scheduler(optimizer, steps)
        if schedule is not None and schedule.get("monitor", "") is None:
            schedule["monitor"] = MONITOR
        return optimizer if schedule is None else {"optimizer": optimizer, "lr_scheduler": schedule}

    def groups(self) -> list[dict[str, Any]]:
        """Return the parameter groups of the optimiser, those that the loss learns among them."""
        rate = self._config["optimizer"].get("lr")
        groups = parameter_groups(self.classifier.net, self.freezing, rate)
        learnt = list(self.classifier.objective.parameters())
        return [*groups, *([{"params": learnt, "weight_decay": 0.0}] if learnt else [])]

    @property
    def _config(self) -> dict[str, Any]:
        config: dict[str, Any] = self.classifier.card["config"]
        return config

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make of every checkpoint one of the classifier: its weights and its card."""
        weights = checkpoint["state_dict"]
        checkpoint["state_dict"] = {
            name.removeprefix(OF_CLASSIFIER): values for name, values in weights.items()
        }
        checkpoint["medcnn"] = {"version": __version__, **self.classifier.card}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the weights of a classifier."""
        weights = checkpoint["state_dict"]
        checkpoint["state_dict"] = {OF_CLASSIFIER + name: weights[name] for name in weights}
