"""Class activation maps in TensorBoard, as the training goes on."""

from typing import Any

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor

from medcnn import cam
from medcnn.data.samples import Samples
from medcnn.errors import UserError, check_whole_number
from medcnn.nets.base import evaluating
from medcnn.objective import known
from medcnn.training.compiled import as_it_is


class MapsInTensorBoard(Callback):
    """Maps of the same validation images, drawn before the training and after its epochs.

    Each map explains the image's true class (of several labels the first that is there, of several
    targets of a regression the first), so that maps of two epochs can be compared. Images without a
    known label are left out. Modes and gradients stay as they are and nothing is random, so that a
    training is the same with and without.

    Args:
        n: Images, evenly from the classes.
        every: Epochs from one picture to the next.
        method: One of `medcnn.cam.METHODS`.
        stage: Whose activations are weighted, by its name.

    Raises:
        UserError: A number out of range or an unknown method; when the training begins, a method or
            a stage that the net doesn't have.
    """

    def __init__(
        self, n: int = 8, every: int = 1, method: str = "gradcam", stage: str = "last"
    ) -> None:
        check_whole_number("callbacks.maps.n", n, least=1)
        check_whole_number("callbacks.maps.every", every, least=1)
        if method not in cam.METHODS:
            raise UserError(
                f"callbacks.maps.method={method}: choose one of {', '.join(cam.METHODS)}"
            )
        self.n, self.every, self.method, self.stage = n, every, method, stage

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the maps of a net that is untrained; say so if there is nowhere to draw them."""
        if trainer.is_global_zero and _writer(trainer) is None:
            print("note: callbacks.maps draws nothing, for logger has no TensorBoard", flush=True)
        if trainer.current_epoch == 0:
            self._draw(trainer, pl_module.classifier, "before the first epoch")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the maps where it is the epoch's turn."""
        epoch = trainer.current_epoch + 1
        if epoch % self.every == 0:
            self._draw(trainer, pl_module.classifier, f"after epoch {epoch}")

    def _draw(self, trainer: pl.Trainer, classifier: Any, when: str) -> None:
        writer = _writer(trainer)
        if writer is None or not trainer.is_global_zero:
            return
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        from medcnn.evidence import Explainer, scale_of
        from medcnn.evidence.gallery import figure_of, pictures_of
        from medcnn.report.figure_files import legible

        samples: Samples = trainer.datamodule.samples  # type: ignore[attr-defined]
        rows = _chosen(samples, self.n)
        if len(rows) == 0:
            return
        with evaluating(classifier), as_it_is(classifier.net):
            explainer = Explainer(classifier, samples, stage=self.stage)
            batch, truth = explainer.batch(rows), explainer.truth(rows)
            probs = explainer.probs(batch.images, batch.context)
            maps = explainer.maps(batch, truth, self.method).cpu()
            # while the net is in evaluation mode, for those of studies ask it again
            items = list(pictures_of(explainer, batch, probs, truth, maps))
        title = f"{self.method} of the true class, {when}"
        figure = figure_of(explainer, items, title, scale_of(self.method, "own"))
        legible(figure)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        picture = np.asarray(canvas.buffer_rgba())[..., :3]
        writer.add_image("maps", picture, trainer.global_step, dataformats="HWC")


def _writer(trainer: pl.Trainer) -> Any:
    """Return TensorBoard's writer, or None."""
    boards = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
    return boards[0].experiment if boards else None


def _chosen(samples: Samples, n: int) -> Tensor:
    """Return at most `n` validation rows with a known label, evenly from the classes."""
    rows = samples.rows("val")
    there = known(samples.labels[rows])
    if there.ndim == 2:
        there = there[:, 0] if samples.task == "regression" else there.any(1)
    return samples.spread(rows[there], n)
