"""Class activation maps in TensorBoard, as the training goes on."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor

from medcnn import cam
from medcnn.data.batches import unit_intensity
from medcnn.data.row_names import names_of_rows
from medcnn.data.samples import Samples
from medcnn.errors import UserError, check_whole_number
from medcnn.nets.base import evaluating
from medcnn.objective import known

if TYPE_CHECKING:
    from medcnn.report import GalleryItem


class MapsInTensorBoard(Callback):
    """Draws the maps of the same validation images before the training and after its epochs.

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

        from medcnn.report.figure_files import legible
        from medcnn.report.maps.gallery import gallery_figure

        samples: Samples = trainer.datamodule.samples  # type: ignore[attr-defined]
        rows, targets = _chosen(samples, self.n)
        if len(rows) == 0:
            return
        images = unit_intensity(samples.images[rows].to(classifier.device), samples.ranges(rows))
        with evaluating(classifier), trainer.precision_plugin.forward_context():
            probs = classifier.classify(images).cpu()
            maps = cam.explain(
                classifier.net,
                classifier.normalise(images),
                targets.to(classifier.device),
                method=self.method,
                stage=self.stage,
                objective=classifier.objective,
            ).cpu()
        items = _items(classifier, samples, rows, targets, images, probs, maps)
        scale: Any = "signed" if self.method in cam.SIGNED else "own"
        title = f"{self.method} of the true class, {when}"
        figure = gallery_figure(items, title=title, scale=scale)
        legible(figure)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        picture = np.asarray(canvas.buffer_rgba())[..., :3]
        writer.add_image("maps", picture, trainer.global_step, dataformats="HWC")


def _writer(trainer: pl.Trainer) -> Any:
    """TensorBoard's, or None."""
    boards = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
    return boards[0].experiment if boards else None


def _chosen(samples: Samples, n: int) -> tuple[Tensor, Tensor]:
    """At most `n` validation rows with a known label, evenly from the classes, and what to explain.

    Returns:
        Rows (m,) of the sample table, and of each the index of a class or target.
    """
    rows = samples.rows("val")
    labels = samples.labels[rows]
    there = known(labels if labels.ndim == 1 else labels[:, 0])
    if samples.task == "multilabel":
        there, labels = known(labels).any(1), (labels == 1).int().argmax(1)
    elif samples.task == "regression":
        labels = torch.zeros(len(rows), dtype=torch.long)
    chosen = samples.spread(rows[there], n)
    return chosen, labels[torch.searchsorted(rows, chosen)]


def _items(
    classifier: Any, samples: Samples, rows: Tensor, targets: Tensor, *found: Tensor
) -> Iterator["GalleryItem"]:
    """What is drawn of rows (n,), of which images, probabilities and maps were `found`."""
    from medcnn.evidence.own_grid import item_of_row
    from medcnn.report import GalleryItem

    masks = None if samples.masks is None else samples.masks[rows].bool()
    for k, name in enumerate(names_of_rows(samples.table, rows.tolist())):
        row, lesion = int(rows[k]), None if masks is None else masks[k]
        image, probs, map_ = (values[k] for values in found)
        picture = item_of_row(samples, row, image, map_, lesion)
        words = _caption(classifier, samples.labels[row], probs, int(targets[k]))
        yield GalleryItem(name=name, **picture, **words)


def _caption(classifier: Any, label: Tensor, probs: Tensor, target: int) -> dict[str, Any]:
    """What stands above an image: the truth and the net's view of it, as yet at 0.5."""
    names, task = classifier.card["class_names"], classifier.objective.task
    if task == "regression":
        shown = {"true": f"{float(label[0]):.4g}", "predicted": f"{float(probs[0]):.4g}"}
        return {**shown, "probability": None, "correct": None}
    decided = classifier.decide(probs[None])[0]
    if task == "multilabel":
        name, found = names[target], int(label[target])
        shown = {"true": name if found == 1 else f"no {name}", "predicted": name}
        right = bool(decided[target] == found)
        return {**shown, "probability": float(probs[target]), "correct": right}
    chosen = int(decided)
    shown = {"true": names[target], "predicted": names[chosen]}
    return {**shown, "probability": float(probs[chosen]), "correct": chosen == target}
