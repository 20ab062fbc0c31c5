"""A classifier, the images that it decides on, and the maps of its decisions."""

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from medcnn import cam
from medcnn.cam.baselines import BASELINES, baseline
from medcnn.cam.maps import OF_THE_INPUT
from medcnn.classifier.classifier import Classifier
from medcnn.data.batches import unit_intensity
from medcnn.data.inputs import NAN
from medcnn.data.prepared.stored import LabelMasks
from medcnn.data.samples import Samples
from medcnn.errors import UserError
from medcnn.evaluation.operating_point import thresholds_of
from medcnn.objective import known

ORACLE = "oracle"
"""The lesion itself at the stage's resolution: the best that any map of that stage can do."""


class Batch(NamedTuple):
    """Some images of a split, on the classifier's device."""

    rows: Tensor  # (N,) int64, of the sample table, on the CPU
    images: Tensor  # (N, C, *spatial) in 0 … 1
    masks: Tensor | None  # (N, *spatial) bool; of masks a label that of `Explainer.truth`


class ClassifierMaps:
    """The maps of a classifier, of any images that it takes.

    Args:
        classifier: In any mode; it is in evaluation mode afterwards.
        stage: Whose activations are weighted; several for fused LayerCAM.
        smooth: Copies of the image that a map is averaged over, mirrored along the axes that the
            training mirrored; see `medcnn.cam.explain`.

    Raises:
        UserError: The net has no feature maps.
    """

    def __init__(
        self, classifier: Classifier, *, stage: str | Sequence[str] = "last", smooth: int = 0
    ) -> None:
        if not classifier.spatial:
            raise UserError(
                "this net has no feature maps, so there is no class activation map of it"
            )
        self.classifier = classifier.eval()
        self.stage = stage
        self.smooth = smooth

    def probs(self, images: Tensor) -> Tensor:
        """Return probabilities (N, K) of images (N, C, *spatial) in 0 … 1, on their device."""
        with self.classifier.autocast():
            return self.classifier.answer(images).to(images.device)

    def decided(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return probabilities (N, K), and the class (N,) that each image's map explains.

        See `medcnn.objective.Objective.explained`; the decision is at the operating point.
        """
        probs = self.probs(images)
        if not probs.isfinite().all():
            raise UserError(f"{NAN}: there is nothing that a map could explain")
        point, names = self.classifier.operating_point, self.classifier.class_names
        return probs, self.classifier.objective.explained(probs, thresholds_of(point, names))

    def decisions(self, images: Tensor, method: str) -> tuple[Tensor, Tensor, Tensor]:
        """Return probabilities (N, K), decided classes (N,) and their raw maps (N, *spatial)."""
        probs, decided = self.decided(images)
        return probs, decided, self.explain(self.classifier.net, images, decided, method)

    def explain(self, net: torch.nn.Module, images: Tensor, targets: Tensor, method: str) -> Tensor:
        """Return raw maps (N, *spatial) of a net that takes what this classifier's takes."""
        with self.classifier.autocast():
            return cam.explain(
                net,
                self.classifier.normalise(images),
                targets.to(images.device),
                method=method,
                stage="last" if method in OF_THE_INPUT else self.stage,
                objective=self.classifier.objective,
                smooth=self.smooth,
                flip=self.classifier.card["config"]["augment"].get("flip") or (),
            )

    def check(self, method: str) -> None:
        """Raise UserError if there is no such map of this net."""
        target = torch.zeros(1, dtype=torch.int64)
        self.explain(self.classifier.net, self._blank(), target, method)

    @cached_property
    def resolution(self) -> tuple[int, ...]:
        """Spatial size of the stage's output; of several stages that of the finest."""
        stages = [self.stage] if isinstance(self.stage, str) else self.stage
        images = self.classifier.normalise(self._blank())
        target = torch.zeros(1, dtype=torch.int64)
        options: dict[str, Any] = {"size": None, "objective": self.classifier.objective}
        net = self.classifier.net
        with self.classifier.autocast():
            maps = [cam.explain(net, images, target, stage=stage, **options) for stage in stages]
        return tuple(max((one.shape[1:] for one in maps), key=math.prod))

    def _blank(self) -> Tensor:
        card, device = self.classifier.card, self.classifier.device
        return torch.zeros(1, card["in_channels"], *card["input_size"], device=device)


class Explainer(ClassifierMaps):
    """The maps of a classifier of the images of a data set, and what they are compared with.

    The samples fit the classifier; for the rest see `ClassifierMaps`.
    """

    def __init__(self, classifier: Classifier, samples: Samples, **options: Any) -> None:
        super().__init__(classifier, **options)
        self.samples = samples

    def batches(self, rows: Tensor, size: int) -> Iterator[Batch]:
        """Yield the images of some rows, so many at a time."""
        for part in rows.split(size):
            yield self.batch(part)

    def batch(self, rows: Tensor) -> Batch:
        """Return the images of some rows."""
        device = self.classifier.device
        stored = self.samples.images[rows].to(device)
        images = unit_intensity(stored, self.samples.ranges(rows))
        masks = self.samples.masks
        if masks is None:
            return Batch(rows, images, None)
        found = _of_labels(masks, rows, self.truth(rows)) if self._own_masks else masks[rows]
        return Batch(rows, images, found.bool().to(device))

    def decided(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See `ClassifierMaps.decided`."""
        try:
            return super().decided(images)
        except UserError as error:
            raise UserError(f"an image {error}") from None

    def lesions(self, batch: Batch, labels: Tensor) -> Tensor | None:
        """Return the masks (N, *spatial) of a batch; of masks a label those of labels (N,)."""
        if not self._own_masks:
            return batch.masks
        found = _of_labels(self.samples.masks, batch.rows, labels.cpu())
        return found.to(self.classifier.device)

    def maps(self, batch: Batch, targets: Tensor, method: str) -> Tensor:
        """Return raw maps (N, *spatial) float32 of a method, a baseline, or the `ORACLE`.

        Of the classes (N,) that are given as targets, which a baseline and the oracle ignore.
        """
        if method in BASELINES:
            return baseline(method, batch.images, batch.rows)
        if method == ORACLE:
            assert batch.masks is not None
            return self._oracle(batch.masks)
        return self.explain(self.classifier.net, batch.images, targets, method)

    def _oracle(self, masks: Tensor) -> Tensor:
        pool: Any = F.adaptive_avg_pool2d if masks.dim() == 3 else F.adaptive_avg_pool3d
        coarse = pool(masks[:, None].float(), self.resolution)
        mode = "bilinear" if masks.dim() == 3 else "trilinear"
        return F.interpolate(coarse, masks.shape[1:], mode=mode, align_corners=False)[:, 0]

    def rows_with_lesion(self, split: str, batch_size: int) -> Tensor:
        """Return the rows (n,) of a split whose lesion and whose label are known.

        In multi-label data those with a mask of a label that is there, if each has its own.
        """
        samples = self.samples
        if samples.masks is None or (samples.task == "multilabel" and not self._own_masks):
            return torch.empty(0, dtype=torch.int64)
        rows = samples.rows(split)
        if samples.task not in ("multilabel", "regression"):
            rows = rows[known(samples.labels[rows])]
        found = [
            self._marked(part).any(1)
            if samples.task == "multilabel"
            else samples.masks[part].flatten(1).any(1)
            for part in (rows.split(batch_size) if len(rows) else ())
        ]
        return rows[torch.cat(found)] if found else rows

    def truth(self, rows: Tensor) -> Tensor:
        """Return the true class (n,) of rows with a known label; of a regression the first target.

        Of several labels the first that is there and marked, else the first there, else label 0.
        """
        labels = self.samples.labels[rows]
        if self.samples.task == "regression":
            return torch.zeros(len(rows), dtype=torch.int64)
        if self.samples.task != "multilabel":
            return labels
        marked = self._marked(rows).int() if self._own_masks else 0
        return ((labels == 1).int() + marked).argmax(1)

    @property
    def _own_masks(self) -> bool:
        return isinstance(self.samples.masks, LabelMasks)

    def _marked(self, rows: Tensor) -> Tensor:
        """Return (n, K) whether a label is there and has a lesion that is marked."""
        masks: Any = self.samples.masks
        return masks.by_label(rows).flatten(2).any(2) & (self.samples.labels[rows] == 1)


def _of_labels(masks: Any, rows: Tensor, labels: Tensor) -> Tensor:
    """Return of each row the mask of one label."""
    found: Tensor = masks.by_label(rows)[range(len(rows)), labels]
    return found


def scale_of(method: str, given: Any) -> Any:
    """Return the span of the colours of a method's maps: each map's own values, unless given."""
    if given != "own":
        return tuple(given) if isinstance(given, Sequence) and not isinstance(given, str) else given
    return "signed" if method in cam.SIGNED else "own"
