"""The logits of a data set: one pass of a classifier, by Lightning, over all processes."""

import logging
from collections.abc import Sequence

import pytorch_lightning as pl
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from medcnn.classifier.classifier import Classifier
from medcnn.data.batches import DataModule
from medcnn.data.row_batches import context_of
from medcnn.inference.mc_dropout import dropping

for _library in ("pytorch_lightning", "lightning_fabric"):  # notices that aren't about the job
    logging.getLogger(_library).setLevel(logging.ERROR)


def collect_logits(
    trainer: pl.Trainer,
    classifier: Classifier,
    data: DataModule,
    mirrored: Sequence[int] = (),
    number: int | None = None,
) -> dict[str, Tensor]:
    """Return ``row`` (n,), ``logits`` (n, outputs) and ``label`` of the test splits of data.

    `mirrored` are axes along which images are turned, from the end; `number` is that of a pass with
    dropout on (`medcnn.inference.mc_dropout`), None for one without.
    """
    module = Collector(classifier, mirrored, number)
    trainer.test(module, data, verbose=False)
    return module.tested


def as_looks(found: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return ``row``, ``label`` and ``looks`` (L, n, outputs) of L passes over the same images."""
    looks = torch.stack([one["logits"] for one in found])
    return {"row": found[0]["row"], "label": found[0]["label"], "looks": looks}


class Collector(pl.LightningModule):
    """A pass of a classifier that collects logits in `tested`; see `collect_logits`."""

    def __init__(
        self, classifier: Classifier, mirrored: Sequence[int] = (), number: int | None = None
    ) -> None:
        super().__init__()
        self.classifier, self.mirrored, self.number = classifier, tuple(mirrored), number
        self.collected = Collected()
        self.tested: dict[str, Tensor] = {}

    def logits(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits (N, outputs) float32 of a batch."""
        images = batch["image"].flip(self.mirrored) if self.mirrored else batch["image"]
        with dropping(self.classifier, self.number, batch["row"], batch.get("place")):
            logits: Tensor = self.classifier(images, context_of(batch))
        return logits

    def test_step(self, batch: dict[str, Tensor]) -> None:
        """Collect a batch."""
        self.collected.update(batch["row"], self.logits(batch), batch["label"])

    def on_test_epoch_start(self) -> None:
        """Forget the epoch before."""
        self.collected.reset()

    def on_test_epoch_end(self) -> None:
        """Keep the logits of the whole epoch."""
        self.tested = self.collected.gathered()


class Collected(Metric):
    """Rows, logits and labels of an epoch, gathered over all processes, in order of the rows."""

    full_state_update = False
    row: list[Tensor]
    logits: list[Tensor]
    label: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        for name in ("row", "logits", "label"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, row: Tensor, logits: Tensor, label: Tensor) -> None:
        """Add a batch."""
        self.row.append(row)
        self.logits.append(logits)
        self.label.append(label)

    def gathered(self) -> dict[str, Tensor]:
        """The whole epoch, on the CPU.

        Instead of `compute`, whose caller in torchmetrics would take the dimensions off the tensors
        of a single sample.
        """
        with self.sync_context():
            row = dim_zero_cat(self.row).cpu()
            order = row.argsort()
            return {
                "row": row[order],
                "logits": dim_zero_cat(self.logits).cpu()[order],
                "label": dim_zero_cat(self.label).cpu()[order],
            }

    compute = gathered
