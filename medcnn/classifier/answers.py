"""What a trained classifier answers: probabilities, decisions, and at which thresholds."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from medcnn.data.inputs import checked_images, read_images
from medcnn.errors import UserError
from medcnn.evaluation.operating_point import threshold_of, thresholds_of
from medcnn.evaluation.recalibration import apply_isotonic
from medcnn.jobs.hardware import autocast
from medcnn.objective import Objective

CALIBRATIONS = ("none", "temperature", "isotonic")


class Answers(pl.LightningModule):
    """The part of `medcnn.classifier.classifier.Classifier` that its user asks."""

    objective: Objective
    card: dict[str, Any]
    calibration: str

    def classify(self, images: Tensor | NDArray[Any]) -> Tensor:
        """Return probabilities (N, K) of images, in evaluation mode.

        In regression the predictions, in the labels' own units.

        Args:
            images: (N, C, *spatial), floating point in 0 … 1, as `read` gives them.

        Raises:
            UserError: Whole numbers or a range that can't be 0 … 1, or another shape.
        """
        return self.answer(checked_images(images, self.card))

    @torch.inference_mode()
    def answer(self, images: Tensor) -> Tensor:
        """Return `classify` of images that may leave 0 … 1, such as noisy copies."""
        was_training = self.training
        self.eval()
        try:
            return self.probs(self(images.to(self.device, torch.float32)))
        finally:
            self.train(was_training)

    def read(self, path: str | Path) -> Tensor:
        """Return the images of a file as `classify` takes them: prepared as in training.

        Args:
            path: Of an image, or the folder of a DICOM series.

        Returns:
            (S, C, *spatial) float32 in 0 … 1: S slices of a volume that is seen slice by slice, or
            one image.

        Raises:
            UserError: The file can't be used.
        """
        return read_images(Path(path), self.card)

    def autocast(self) -> torch.autocast:
        """Return the context of the precision that its config asks for, on its device."""
        return autocast(self.card["config"]["trainer"]["precision"], self.device)

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

    @property
    def choices(self) -> dict[str, Any]:
        """What `medcnn.classifier.chosen_on_validation.choose` chose; empty before."""
        return self.card.get("choices") or {}

    def calibrate(self, how: str) -> None:
        """Take calibrated probabilities from now on.

        Args:
            how: One of `CALIBRATIONS`.

        Raises:
            UserError: Unknown, or there is none in the checkpoint.
        """
        if how not in CALIBRATIONS:
            raise UserError(f"calibration={how}: choose one of {', '.join(CALIBRATIONS)}")
        if how != "none" and self.choices.get(how) is None:
            why = self.choices.get("reasons", {}).get(how, "it was trained without")
            raise UserError(f"calibration={how}: the checkpoint has none ({why})")
        self.calibration = how

    def probs(self, logits: Tensor) -> Tensor:
        """Probabilities (N, K) of logits, calibrated if that was asked for.

        In float64, which tells two large logits apart, but on Apple's GPUs, which lack it.
        """
        logits = logits if logits.device.type == "mps" else logits.double()
        if self.calibration == "temperature":
            logits = logits / self.choices["temperature"]
        probs = self.objective.probs(logits)
        if self.calibration == "isotonic":
            fitted = apply_isotonic(probs.cpu().double().numpy(), self.choices["isotonic"])
            probs = torch.from_numpy(fitted.copy()).to(probs)
        return probs

    @property
    def operating_point(self) -> dict[str, Any] | None:
        """What was chosen on the validation split, with thresholds as they are calibrated."""
        point = self.choices.get("operating_point")
        if point is None or self.calibration == "none":
            return point
        if "labels" not in point:
            return {**point, "threshold": self._calibrated([point["threshold"]])[0]}
        there = [one or {"threshold": 0.5} for one in point["labels"].values()]
        moved = self._calibrated([one["threshold"] for one in there])
        columns = zip(point["labels"].items(), moved, strict=True)
        labels = {k: one and {**one, "threshold": new} for (k, one), new in columns}
        return {**point, "labels": labels}

    def _calibrated(self, thresholds: list[float]) -> list[float]:
        """What probabilities, of the positive class or of each label, become; above 1 the same."""
        logits = torch.tensor([thresholds]).double().clamp(max=1).logit()
        probs = self.probs(logits)[0].tolist()
        moved = [probs[self.objective.positive]] if self.objective.task == "binary" else probs
        return [old if old > 1 else new for old, new in zip(thresholds, moved, strict=True)]
