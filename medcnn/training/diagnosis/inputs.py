"""The images as the net sees them, in training and in validation."""

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from medcnn.data.batches import images_at, unit_images
from medcnn.training.diagnosis.finding import Finding
from medcnn.training.diagnosis.parts import Parts
from medcnn.training.diagnosis.probe import FEWEST, pooled_rows, told, truth_of

IMAGES = 64  # whose statistics are taken, and the values that they may hold together
VALUES = 2**25
FEW = 8  # that are looked at after augmentation
PROBED = 384  # that go through the augmentation
OFF_CENTRE = 0.5  # standard deviations; unnormalised phantoms and ultrasound lie 1.3 to 1.7 off
SPREAD = (0.02, 20.0)  # of what the net sees; 1 with zscore, 0.2 with mean
GIVEN_AWAY = 4.0  # z of the probe; by chance once in ten thousand
BINS = 40


def inputs(parts: Parts) -> Finding:
    """Check range, centre and spread of what the net sees, but of channels of 0 and 1."""
    images = parts.batch(parts.rows("train", parts.count(IMAGES, VALUES)))["image"]
    with torch.no_grad():
        seen = parts.classifier.normalise(images).float()
    if (layout := parts.samples.layout) is not None:
        images, seen = images[:, : layout.pictures], seen[:, : layout.pictures]
    if not seen.isfinite().all():
        return Finding(
            "inputs",
            False,
            "the net sees values that are NaN or infinite",
            "a file, a scaling or a transform makes them: look at python -m medcnn.data",
        )
    figures = _statistics(seen)
    empty = int((images.flatten(1).std(1) < 1e-6).sum())
    mean, std = float(seen.mean()), float(seen.std())
    line = f"the net sees values of mean {mean:.2g} and standard deviation {std:.2g}"
    if 2 * empty > len(images):
        why = f"{empty} of {len(images)} training images have one value throughout"
        way = "check what becomes 0 and 1 (dataset.intensity), and python -m medcnn.data"
        return Finding("inputs", False, why, way, figures)
    if not SPREAD[0] <= std <= SPREAD[1] or max(map(abs, figures["mean"])) > OFF_CENTRE * std:
        way = "inputs that aren't centred and of unit spread slow training down; normalise=zscore"
        return Finding("inputs", False, line, f"{way} makes them so", figures)
    return Finding("inputs", True, line, figures=figures)


def _statistics(seen: Tensor) -> dict[str, Any]:
    """Return mean and standard deviation by channel, the range, and a histogram."""
    channels = seen.transpose(0, 1).flatten(1)
    low, high = float(seen.min()), float(seen.max())
    counts = torch.histc(seen.flatten().cpu(), BINS, low, high).tolist()
    return {
        "mean": channels.mean(1).tolist(),
        "std": channels.std(1).tolist(),
        "range": [low, high],
        "histogram": counts,
    }


def augmentation(parts: Parts) -> Finding:
    """Check that what augmentation does to an image doesn't depend on its label.

    The rows of all classes get one and the same image: if what comes out tells their labels, the
    net can read these from the augmentation.
    """
    augment = parts.data.augment
    if augment is None:
        return Finding("augmentation", None, "there is no augmentation")
    rows = parts.rows("train", parts.count(PROBED, VALUES))
    same = images_at(parts.samples, rows[:1])

    def changed(some: Tensor) -> Tensor:
        return augment(same.repeat(len(some), *[1] * (same.ndim - 1)), some, 0)

    few = changed(rows[:: -(-len(rows) // FEW)])
    if few.shape[1:] != same.shape[1:] or not few.isfinite().all():
        return Finding(
            "augmentation",
            False,
            "augmentation gives NaN, or images of another shape",
            "look at what augment=… does: python -m medcnn.data draws its images",
        )
    if float((few - same).abs().max()) < 1e-6:
        return Finding("augmentation", None, "the augmentation changes nothing")
    patients = parts.patients(rows)
    if len(set(patients)) < FEWEST:
        return Finding("augmentation", None, f"fewer than {FEWEST} patients are too few to tell")
    r, z = told(pooled_rows(rows, changed, parts.size), truth_of(parts.samples, rows), rows.numpy())
    figures = {"r": r, "z": z}
    if z > GIVEN_AWAY:
        return Finding(
            "augmentation",
            False,
            f"one image, augmented for rows of all classes, tells their label (r = {r:.2f})",
            "the augmentation depends on the label, which the net learns instead of the images",
            figures,
        )
    return Finding(
        "augmentation",
        True,
        "what augmentation does to an image doesn't tell its label",
        figures=figures,
    )


def validation_images(parts: Parts) -> Finding:
    """Check that validation gets the images as they are, the same each time."""
    data, before = parts.data, parts.data.trainer
    try:
        stored = next(iter(data.val_dataloader()))
        data.trainer = SimpleNamespace(training=False, current_epoch=0)  # type: ignore[assignment]
        got = data.on_after_batch_transfer(dict(stored), 0)
    finally:
        data.trainer = before
    again = unit_images(parts.samples, got["row"])
    if not torch.allclose(got["image"], again, atol=1e-5):
        return Finding(
            "validation images",
            False,
            "the validation's images are changed at random, or differ each time they are read",
            "augmentation is for training alone, and a data set has to give each row one image",
        )
    return Finding("validation images", True, "validation gets its images as they are")
