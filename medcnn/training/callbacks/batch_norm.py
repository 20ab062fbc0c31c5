"""The statistics by which batch norms divide outside training."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from medcnn.data.batches import DataModule
from medcnn.data.row_batches import context_of
from medcnn.training.compiled import as_it_is

IMAGES = 128  # of the training split, evenly spread over it


class BatchNormStatistics(Callback):
    """Statistics of all batch norms, taken anew before each validation.

    A batch norm divides in training by the deviation of its batch, and elsewhere by a running mean
    of the deviations of some ten batches before. While the learning rate is high the weights change
    faster than that mean can follow (phantom, medium stem, first epoch: validation loss 8.5,
    with statistics taken anew 1.0), and with one step an epoch it has hardly left its first value
    after ten. So it is replaced by the mean over batches of training images, without augmentation,
    through the weights as they are ("precise batch norm": Y. Wu and J. Johnson, "Rethinking 'batch'
    in BatchNorm", 2021, section 3). Frozen stages keep what they have.

    Each of several processes passes the same images, so that all have the same statistics.
    """

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Pass training images through the net, for the statistics alone."""
        if trainer.state.fn not in ("fit", "validate"):
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, DataModule)
        net: Any = pl_module.classifier.net  # type: ignore[union-attr]
        with fresh_statistics(pl_module) as norms, as_it_is(net):
            for batch in data.statistics_batches(IMAGES) if norms else ():
                on_device = pl_module.transfer_batch_to_device(batch, pl_module.device, 0)
                scaled = data.scaled(on_device)
                with trainer.precision_plugin.forward_context():
                    pl_module.classifier(scaled["image"], context_of(scaled))  # type: ignore[operator]


@contextmanager
def fresh_statistics(module: nn.Module) -> Iterator[list[_BatchNorm]]:
    """Let batch norms that learn take the plain mean over all batches inside the block.

    Args:
        module: In evaluation mode, as it is again afterwards; in training mode inside.

    Yields:
        Those batch norms; frozen ones, in evaluation mode inside the block, too, aren't among them.
    """
    module.train()
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm) and part.training]
    norms = [norm for norm in norms if norm.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # PyTorch's word for a plain mean
    try:
        yield norms
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        module.eval()
