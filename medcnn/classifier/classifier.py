"""A trained net with what its numbers mean: from images to calibrated probabilities."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medcnn.classifier.base import BaseClassifier
from medcnn.classifier.memory_format import memory_format
from medcnn.classifier.normalise import Normalise, Statistics
from medcnn.classifier.prior import PriorCorrection
from medcnn.data.columns.encoding import encoded, given_columns
from medcnn.data.image import layout_of
from medcnn.data.inputs import checked_images
from medcnn.data.studies import context_of_one
from medcnn.errors import UserError
from medcnn.evaluation.platt import apply_platt
from medcnn.evaluation.recalibration import apply_isotonic
from medcnn.nets.base import evaluating
from medcnn.nets.chunks import in_chunks
from medcnn.nets.studies import Context
from medcnn.objective import Objective

Card = dict[str, Any]
Columns = Mapping[str, Any] | pd.DataFrame
Study = Sequence[str | Path] | Tensor | NDArray[Any]  # paths of its images, or these as read
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
CALIBRATIONS = ("none", "temperature", "isotonic")


class Classifier(BaseClassifier):
    """A net with its normalisation, objective, calibration and operating point.

    Like the net it is ``head(features(images))``, but takes images as they are in a batch, in
    0 … 1, and normalises them itself, so that a checkpoint needs nothing beside it.
    `medcnn.training.module.TrainingModule` trains one.

    Args:
        net: `features` and `head`.
        objective: Loss, probabilities and decision.
        card: What a user of the checkpoint needs, as plain values and tensors by `CARD_KEYS`;
            ``mean``, ``std`` and ``whitening`` are `medcnn.classifier.normalise.Statistics`,
            ``image_spec`` tells how files were prepared (`medcnn.data.image.ImageSpec`; None for
            arrays), ``targets`` by what the targets of a regression are standardised, else None.
            ``prior``, which may be lacking, has the shares of the classes in the training split and
            in what was drawn of it (`PriorCorrection`); None where they are the same, or stay.
            Where the loss takes them there is ``loss_prior``, too: the shares of the classes. A net
            of studies has ``studies``, see `medcnn.data.studies.context_of_one`. Of a
            network that takes columns ``features`` says how they are encoded
            (`medcnn.data.columns.codes.codes_of`).
        channels_last: Memory format of images and weights, where the net can
            (`medcnn.classifier.memory_format`).
    """

    def __init__(
        self, net: nn.Module, objective: Objective, card: Card, *, channels_last: bool = False
    ) -> None:
        super().__init__()
        self.objective, self.card = objective, card
        dims = len(card["input_size"])
        self.memory_format = memory_format(net, dims, channels_last=channels_last)
        self.net = net.to(memory_format=self.memory_format)
        known = Statistics(*(card[key] for key in Statistics._fields))
        layout = layout_of(card)
        flags = 0 if layout is None else layout.flags
        self.normaliser = Normalise(card["normalise"], known, dims, flags)
        prior = card.get("prior")
        self.prior = nn.Identity() if prior is None else PriorCorrection(objective, **prior)

    @property
    def members(self) -> list["Classifier"]:
        """The classifier alone, where an ensemble has several."""
        return [self]

    @property
    def spatial(self) -> bool:
        """True if the net has feature maps to draw."""
        return bool(getattr(self.net, "spatial", True))

    def normalise(self, images: Tensor) -> Tensor:
        """Images (N, C, *spatial) in 0 … 1 → what the net sees; see the module `normalise`."""
        images = self.normaliser(images)
        return images.contiguous(memory_format=self.memory_format)

    def features(self, images: Tensor) -> Tensor:
        """Feature maps (N, K, *spatial) of images (N, C, *spatial) in 0 … 1."""
        chunk = getattr(self.net, "chunk", None)
        return in_chunks(self.net.features, self.normalise(images), chunk)  # type: ignore[arg-type]

    def head(self, maps: Tensor, context: Context = None) -> Tensor:
        """Logits (N, outputs) float32 of feature maps.

        Outside training in full precision, and put right for the shares of the classes.

        Args:
            maps: (n, K, *spatial).
            context: Of `medcnn.data.row_batches.context_of`, for a `medcnn.nets.studies.StudyHead`,
                which gives the logits of N studies; None: each image is one by itself, N = n.
        """
        given = () if context is None else (context,)
        if self.training:
            return self.net.head(maps, *given).float()  # type: ignore[operator]
        with torch.autocast(maps.device.type, enabled=False):
            return self.prior(self.net.head(maps.float(), *given))  # type: ignore[operator]

    def forward(self, images: Tensor, context: Context = None) -> Tensor:
        """Logits (N, outputs) float32 of images (n, C, *spatial) in 0 … 1; see `head`."""
        return self.head(self.features(images), context)

    def classify(self, images: Tensor | NDArray[Any], columns: Columns | None = None) -> Tensor:
        """Return probabilities (N, K) of images, in evaluation mode.

        In regression the predictions, in the labels' own units.

        Args:
            images: (N, C, *spatial), floating point in 0 … 1, as `read` gives them.
            columns: Of a network that takes columns beside the images: by name one value for all
                images, or N; None where a value is missing. None: all are missing.

        Raises:
            UserError: Whole numbers or a range that can't be 0 … 1, or another shape; columns that
                are lacking, or other values than in training.
        """
        checked = checked_images(images, self.card)
        return self.answer(checked, self.context(columns, len(checked)))

    def context(self, columns: Columns | None, count: int) -> dict[str, Tensor] | None:
        """Return the columns of so many images, or studies, for the head; see `classify`."""
        if columns is None:
            return None
        codes = self.card.get("features") or []
        if not codes:
            raise UserError("columns: this network takes images alone")
        return {"features": encoded(given_columns(columns, count), codes)}

    @torch.inference_mode()
    def answer(self, images: Tensor, context: Context = None) -> Tensor:
        """Return `classify` of images that may leave 0 … 1, such as noisy copies."""
        return self.probs(self.logits(images, context))

    @torch.inference_mode()
    def logits(self, images: Tensor, context: Context = None) -> Tensor:
        """Return logits (N, outputs) of images, which may leave 0 … 1, in evaluation mode.

        `context` as in `head`.
        """
        if context is not None:
            context = {key: values.to(self.device) for key, values in context.items()}
        with evaluating(self):
            logits: Tensor = self(images.to(self.device, torch.float32), context)
        return logits

    def classify_study(
        self,
        images: Study,
        views: Sequence[str | None] | None = None,
        columns: Columns | None = None,
    ) -> Tensor:
        """Return probabilities (K,) of one study, by a net that takes its images together.

        Args:
            images: Paths of its images, slices in their order; or these as `read` gives them, (n,
                C, *spatial).
            views: The view of each image, None where it is unknown; None where no view is known.
            columns: Of the study, see `classify`.

        Raises:
            UserError: A file can't be used, views or columns that don't fit, or a net of single
                images.
        """
        known = self.card.get("studies")
        if known is None:
            raise UserError(
                "classify_study is for a net that takes the images of a study together "
                "(model.aggregate), and this one sees each alone: use classify"
            )
        if not isinstance(images, Tensor | np.ndarray):
            if not images:
                raise UserError("classify_study: a study has one image at least")
            images = torch.cat([self.read(path) for path in images])
        checked = checked_images(images, self.card)
        context = context_of_one(len(checked), known, views) | (self.context(columns, 1) or {})
        return self.probs(self.logits(checked, context))[0]

    def probs(self, logits: Tensor) -> Tensor:
        """Return probabilities (N, K) of logits, calibrated if that was asked for.

        In float64, which tells two large logits apart, but on Apple's GPUs, which lack it.
        """
        return self._calibrated_probs(self.rescaled(logits))

    def rescaled(self, logits: Tensor) -> Tensor:
        """Return logits (N, outputs); of a loss that learns margins, the scores Platt-scaled.

        By the slope and offset that `medcnn.classifier.chosen_on_validation.choose` found.
        """
        fitted = self.choices.get("platt")
        return logits if fitted is None else apply_platt(logits, fitted)

    def _calibrated_probs(self, logits: Tensor) -> Tensor:
        logits = logits if logits.device.type == "mps" else logits.double()
        temperature = self.choices["temperature"] if self.calibration == "temperature" else 1.0
        probs = self.objective.probs(logits, temperature)
        if self.calibration == "isotonic":
            fitted = apply_isotonic(probs.cpu().double().numpy(), self.choices["isotonic"])
            probs = torch.from_numpy(fitted.copy()).to(probs)
        return probs

    @property
    def choices(self) -> dict[str, Any]:
        """The choices of `medcnn.classifier.chosen_on_validation.choose`; empty before."""
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

    @property
    def operating_point(self) -> dict[str, Any] | None:
        """The point chosen on the validation split, with thresholds as they are calibrated.

        Where probabilities are `mirrored`, and so were those of the training's test, it is that of
        their means, else that of single looks.
        """
        if self.mirrored and "mirrored" in self.choices:
            of_means: dict[str, Any] | None = self.choices["mirrored"].get(self.calibration)
            return of_means
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
        """Return thresholds, of the positive class or of each label, calibrated up to 1."""
        logits = torch.tensor([thresholds]).double().clamp(max=1).logit()
        probs = self._calibrated_probs(logits)[0].tolist()
        moved = [probs[self.objective.positive]] if self.objective.task == "binary" else probs
        return [old if old > 1 else new for old, new in zip(thresholds, moved, strict=True)]
