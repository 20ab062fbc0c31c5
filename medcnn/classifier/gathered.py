"""What an epoch of validation or test is reduced to before it is evaluated."""

from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


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
