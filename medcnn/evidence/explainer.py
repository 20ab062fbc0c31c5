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
from medcnn.cam.studies import attention
from medcnn.classifier.classifier import Classifier
from medcnn.data.batches import unit_intensity
from medcnn.data.columns.encoding import unknown_row
from medcnn.data.inputs import NAN
from medcnn.data.prepared.stored import LabelMasks
from medcnn.data.row_batches import RowDataset, context_of
from medcnn.data.samples import Samples
from medcnn.errors import UserError
from medcnn.evaluation.operating_point import thresholds_of
from medcnn.nets.fusion import takes_studies
from medcnn.nets.studies import Context
from medcnn.objective import known

ORACLE = "oracle"
"""The lesion itself at the stage's resolution: the best that any map of that stage can do."""


PROBES = 8  # images of noise, by which it is seen whether a net weighs them


class Batch(NamedTuple):
    """Some images of a split, or all images of some studies, on the classifier's device."""

    rows: Tensor  # (B,) int64, of the sample table, on the CPU; as many as images, or studies
    images: Tensor  # (N, C, *spatial) in 0 … 1
    masks: Tensor | None  # (N, *spatial) bool; of masks a label that of `Explainer.truth`
    context: Context = None  # what the net takes beside the images
    places: Tensor | None = None  # (N,) int64, the row of each image; None: they are `rows`

    @property
    def image_rows(self) -> Tensor:
        """The row (N,) of each image, on the CPU; `rows` are those of their studies."""
        return self.rows if self.places is None else self.places

    @property
    def bag(self) -> Tensor:
        """The study (N,) that each image belongs to, 0 … B-1, on the images' device."""
        alone = torch.arange(len(self.images), device=self.images.device)
        return alone if self.context is None else self.context.get("bag", alone)


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

    @property
    def of_studies(self) -> bool:
        """Whether the net takes the images of a study together."""
        return takes_studies(getattr(self.classifier.net, "head", None))

    @cached_property
    def attends(self) -> bool:
        """Whether the net of studies weighs their images: the mean gives all the same weight."""
        blank = self._blank()
        noise = torch.rand(PROBES, *blank.shape[1:], generator=torch.Generator().manual_seed(0))
        with torch.no_grad(), self.classifier.autocast():
            found = self.classifier.features(noise.to(blank))
        context = {"bag": torch.zeros(PROBES, dtype=torch.int64, device=blank.device)}
        weights = attention(self.classifier.net.head, found.float(), context)
        return weights is not None and len(weights.unique()) > 1

    def probs(self, images: Tensor, context: Context = None) -> Tensor:
        """Return probabilities (B, K) of images (N, C, *spatial) in 0 … 1, on their device.

        Of each image, N = B; of B studies if the context has their ``bag``.
        """
        classifier = self.classifier
        with classifier.autocast(), torch.inference_mode():
            return classifier.probs(classifier.logits(images, context)).to(images.device)

    def decided(self, images: Tensor, context: Context = None) -> tuple[Tensor, Tensor]:
        """Return probabilities (B, K), and the class (B,) that the maps explain; see `probs`.

        See `medcnn.objective.Objective.explained`; the decision is at the operating point.
        """
        probs = self.probs(images, context)
        if not probs.isfinite().all():
            raise UserError(f"{NAN}: there is nothing that a map could explain")
        point, names = self.classifier.operating_point, self.classifier.class_names
        return probs, self.classifier.objective.explained(probs, thresholds_of(point, names))

    def decisions(
        self, images: Tensor, method: str, context: Context = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return probabilities (B, K), decided classes (B,) and their raw maps (N, *spatial)."""
        probs, decided = self.decided(images, context)
        net = self.classifier.net
        return probs, decided, self.explain(net, images, decided, method, context)

    def explain(
        self,
        net: torch.nn.Module,
        images: Tensor,
        targets: Tensor,
        method: str,
        context: Context = None,
    ) -> Tensor:
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
                context=context,
            )

    def check(self, method: str) -> None:
        """Raise UserError if there is no such map of this net."""
        target, blank = torch.zeros(1, dtype=torch.int64), self._blank()
        context = {"bag": target.to(blank.device)} if self.of_studies else {}
        if codes := self.classifier.card.get("features"):
            context["features"] = torch.tensor([unknown_row(codes)], device=blank.device)
        self.explain(self.classifier.net, blank, target, method, context or None)

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
        """Return the images of some rows, of studies all of theirs."""
        device = self.classifier.device
        stored = RowDataset(self.samples)[rows]
        places = stored.get("place", rows)
        images = unit_intensity(stored["image"].to(device), self.samples.ranges(places))
        context = context_of(stored)
        if context is not None:
            context = {key: value.to(device) for key, value in context.items()}
        batch = Batch(rows, images, None, context, places)
        if self.samples.masks is None:
            return batch
        truth = self.truth(rows)[batch.bag.cpu()] if self._own_masks else rows
        return batch._replace(masks=self.masks_of(places, truth).to(device))

    def decided(self, images: Tensor, context: Context = None) -> tuple[Tensor, Tensor]:
        """See `ClassifierMaps.decided`."""
        try:
            return super().decided(images, context)
        except UserError as error:
            raise UserError(f"an image {error}") from None

    def lesions(self, batch: Batch, labels: Tensor) -> Tensor | None:
        """Return the masks (N, *spatial) of a batch; of masks a label those of labels (B,)."""
        if not self._own_masks:
            return batch.masks
        found = self.masks_of(batch.image_rows, labels.cpu()[batch.bag.cpu()])
        return found.to(self.classifier.device)

    def masks_of(self, places: Tensor, labels: Tensor) -> Tensor:
        """Return the masks (N, *spatial) bool of images; of masks a label those of labels (N,)."""
        masks: Any = self.samples.masks
        if not self._own_masks:
            return masks[places].bool()
        found: Tensor = masks.by_label(places)[range(len(places)), labels]
        return found.bool()

    def maps(self, batch: Batch, targets: Tensor, method: str) -> Tensor:
        """Return raw maps (N, *spatial) float32 of a method, a baseline, or the `ORACLE`.

        Of the classes (B,) that are given as targets, which a baseline and the oracle ignore.
        """
        if method in BASELINES:
            return baseline(method, batch.images, batch.image_rows)
        if method == ORACLE:
            assert batch.masks is not None
            return self._oracle(batch.masks)
        return self.explain(self.classifier.net, batch.images, targets, method, self._own(batch))

    def _own(self, batch: Batch) -> Context:
        """Return the context of a batch, with columns encoded as this classifier takes them."""
        context = {
            key: of_key for key, of_key in (batch.context or {}).items() if key != "features"
        }
        if (values := self.samples.feature_values) is not None:
            context["features"] = values[batch.rows].to(self.classifier.device)
        return context or None

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
        if not self.knows_lesions:
            return torch.empty(0, dtype=torch.int64)
        rows = samples.rows(split)
        if samples.task not in ("multilabel", "regression"):
            rows = rows[known(samples.labels[rows])]
        found = [
            self._marked(part).any(1)
            if samples.task == "multilabel"
            else self.masks_of(part, self.truth(part)).flatten(1).any(1)
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
    def knows_lesions(self) -> bool:
        """Whether there are masks, and of several labels one says whose it is."""
        there = self.samples.masks is not None
        return there and (self.samples.task != "multilabel" or self._own_masks)

    @property
    def _own_masks(self) -> bool:
        return isinstance(self.samples.masks, LabelMasks)

    def _marked(self, rows: Tensor) -> Tensor:
        """Return (n, K) whether a label is there and has a lesion that is marked."""
        masks: Any = self.samples.masks
        return masks.by_label(rows).flatten(2).any(2) & (self.samples.labels[rows] == 1)
