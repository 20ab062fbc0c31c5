"""The common part of a classifier and an ensemble: names, thresholds, decisions."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from medcnn.data.input_files import File
from medcnn.data.inputs import read_images
from medcnn.evaluation.operating_point import threshold_of, thresholds_of
from medcnn.jobs.hardware import autocast
from medcnn.objective import Objective


class BaseClassifier(nn.Module):
    """Names, thresholds and decisions; its two subclasses add `classify` and `members`."""

    objective: Objective
    card: dict[str, Any]
    calibration = "none"
    mirrored = False  # probabilities are means over mirror images, too: that moves the threshold

    @property
    def operating_point(self) -> dict[str, Any] | None:
        """The threshold for probabilities as they are calibrated and `mirrored`; None for 0.5."""
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    def autocast(self) -> torch.autocast:
        """Return the context of the precision that its config asks for, on its device."""
        return autocast(self.card["config"]["trainer"]["precision"], self.device)

    def read(self, path: File | Sequence[File | None], mask: File | None = None) -> Tensor:
        """Return the images of a file as `classify` takes them: prepared as in training.

        Args:
            path: Of an image, or the folder of a DICOM series. Of a network that takes several
                files as one image these, in the order of ``dataset.columns.image``; None for one
                that is missing.
            mask: Of the lesion, of a network that takes it as a channel (``dataset.mask_as``).

        Returns:
            (S, C, *spatial) float32 in 0 … 1: S slices of a volume that is seen slice by slice, or
            one image.

        Raises:
            UserError: The file can't be used.
        """
        return read_images(path, self.card, mask)

    @property
    def class_names(self) -> list[str]:
        """Names of the K classes, labels or targets, in the order of the probabilities."""
        return list(self.card["class_names"])

    @property
    def threshold(self) -> float | dict[str, float] | None:
        """The probability from which on the positive class is called, or each of several labels.

        As `decide` applies it; None in tasks that have none.
        """
        return threshold_of(self.operating_point, self.objective, self.class_names)

    def decide(self, probs: Tensor) -> Tensor:
        """Return decisions from probabilities (N, K) at the operating point.

        As `medcnn.objective.decide`; before an operating point was chosen at 0.5.
        """
        return self.objective.decide(probs, thresholds_of(self.operating_point, self.class_names))
