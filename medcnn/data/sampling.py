"""How often each training image is drawn in an epoch: by class, with a bound for each patient."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medcnn.data.samples import Samples
from medcnn.errors import UserError
from medcnn.jobs.notes import shortened
from medcnn.jobs.settings.groups import Sampler
from medcnn.jobs.settings.values import is_number
from medcnn.objective import Task, known

Array = NDArray[np.float64]
Places = NDArray[np.int64]
TINY = np.finfo(np.float64).tiny
REST = -1  # the class of images whose labels are unknown; of a regression all have class 0


@dataclass(frozen=True)
class Sampling:
    """The shares of classes and patients in what a training draws.

    Args:
        weights: Each class's share of the draws, in any unit, in the order of the class names;
            several labels: one more, for images without any. balanced: all the same. None: as many
            as there are images.
        per_patient: The most that one patient may make of an epoch's draws, as a multiple of an
            even share among patients, at least 1; None: any number.
    """

    weights: Literal["balanced"] | tuple[float, ...] | None = None
    per_patient: float | None = None

    def draws(self, samples: Samples, rows: Tensor, task: Task) -> "Draws":
        """Return how training images are drawn.

        Args:
            samples: Of which images are drawn.
            rows: (n,) int64, those to draw from.
            task: What their labels are taken for.

        Raises:
            UserError: Weights in a regression, or another number of them than classes.
        """
        labels = samples.labels[rows]
        classes = drawn_classes(labels, task)
        patients = np.unique(
            samples.table["patient"].astype(str).to_numpy()[rows.numpy()], return_inverse=True
        )[1].astype(np.int64)
        expected = np.ones(len(rows))
        if self.weights is not None:
            expected = by_class(classes, self._shares(len(samples.class_names), task))
        if self.per_patient is not None:
            most = max(1.0, self.per_patient) * len(rows) / (patients.max() + 1)
            expected = bounded(expected, classes, patients, most)
        return Draws(expected, classes, patients)

    def _shares(self, num_classes: int, task: Task) -> Array:
        if task == "regression":
            raise UserError("sampler: a regression has no classes to draw; set sampler=none")
        groups = num_classes + (task == "multilabel")
        if self.weights == "balanced":
            return np.ones(groups)
        if len(self.weights or ()) != groups:
            without = ", and one for images without any" * (task == "multilabel")
            raise UserError(
                f"sampler.weights holds {len(self.weights or ())} numbers for {num_classes} "
                f"classes{without}"
            )
        return np.array(self.weights, np.float64)


def sampling_of(node: Sampler) -> Sampling | None:
    """Return the sampling that a config asks for; None where each image comes once an epoch.

    Raises:
        UserError: Weights that are none, or that nothing would use.
    """
    given = node.weights
    if node.draw != "weights":
        if given is not None:
            raise UserError(f"sampler.weights={given}: has no effect without sampler.draw=weights")
        if node.draw == "natural" and node.per_patient is None:
            return None
        return Sampling("balanced" if node.draw == "balanced" else None, node.per_patient)
    if not isinstance(given, list) or not all(is_number(one) and one > 0 for one in given):
        shown = "null" if given is None else given
        raise UserError(f"sampler.weights={shown}: give numbers above 0, one a class, in brackets")
    return Sampling(tuple(float(one) for one in given), node.per_patient)


@dataclass(frozen=True, eq=False)
class Draws:
    """How often each of n images is drawn on average in an epoch of n draws, and the draws.

    In each epoch an image is drawn as often as expected, rounded down or up; so is each class as a
    whole, and what a patient has of a class: a systematic sample (W. G. Madow, "On the theory of
    systematic sampling, II", 1949) of the images in order of class and patient, which are shuffled
    before. No image is left out for ever.

    Args:
        expected: (n,), with the sum n.
        classes: (n,) int64, from `REST`.
        patients: (n,) int64, from 0.
    """

    expected: Array
    classes: Places
    patients: Places

    def epoch(self, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return the images 0 … n-1 of an epoch (n,) int64, and the how-manieth draw each is.

        The second is (n,) int64, too, and counts from 0 the draws of the same image.
        """
        size = len(self.expected)
        of_patient = generator.permutation(int(self.patients.max()) + 1)[self.patients]
        order = np.lexsort((generator.random(size), of_patient, self.classes))
        ends = np.minimum(self.expected[order].cumsum(), size)
        ends[-1] = size
        counts = np.diff(np.floor(ends + generator.random()), prepend=0).astype(np.int64)
        drawn = np.repeat(order, counts)
        times = np.arange(size) - np.repeat(counts.cumsum() - counts, counts)
        mixed = generator.permutation(size)
        return torch.from_numpy(drawn[mixed]), torch.from_numpy(times[mixed])


def drawn_line(draws: Draws, class_names: Sequence[str], task: Task) -> str:
    """Return a line that says how many images of each class an epoch draws, and from how many.

    Args:
        draws: Of the training images.
        class_names: K names.
        task: One of `medcnn.objective.TASKS`, but for regression.
    """
    names = [*class_names, "with none of them", "of unknown label"]  # the last one is `REST`
    counts = np.bincount(draws.classes % len(names), minlength=len(names))
    drawn = np.bincount(draws.classes % len(names), draws.expected, len(names))
    parts = [
        f"{often:,.0f} {name} (there are {count:,})"
        for name, often, count in zip(names, drawn, counts, strict=True)
        if count
    ]
    how = " (an image by its rarest label)" * (task == "multilabel")
    return f"sampler: an epoch draws {shortened(parts)}{how}"


def drawn_classes(labels: Tensor, task: Task) -> Places:
    """Return the class (n,) int64 by which each image is drawn.

    Of several labels the one, of those that an image has, that the fewest images have; K for images
    without any. `REST` where no label is known. In regression all are 0.

    Args:
        labels: (n,) class indices, or (n, K); unknown ones as of `medcnn.objective.known`.
        task: One of `medcnn.objective.TASKS`.
    """
    if task == "regression":
        return np.zeros(len(labels), np.int64)
    if task == "multilabel":
        there, size = labels == 1, labels.shape[1]
        rarest = torch.where(there, there.sum(0), len(labels) + 1).argmin(1)
        rarest = torch.where(there.any(1), rarest, size)
        return torch.where(known(labels).any(1), rarest, REST).numpy()
    return torch.where(known(labels), labels, REST).numpy()


def by_class(classes: Places, shares: Array) -> Array:
    """Return how often each image (n,) is drawn, so that classes have given shares (K,); sum n.

    Images of unknown class (`REST`) are drawn once each. A class without an image has no share.
    """
    sorted_in = classes != REST
    counts = np.bincount(classes[sorted_in], minlength=len(shares))
    wanted = np.where(counts > 0, shares, 0.0)
    each = wanted / max(wanted.sum(), TINY) * counts.sum() / np.maximum(counts, 1)
    return np.where(sorted_in, each[classes], 1.0)


def bounded(expected: Array, classes: Places, patients: Places, most: float) -> Array:
    """Return draws (n,) with the same sum, of which no patient has more than `most`.

    What is taken from one patient goes to the others' images of the same classes, so that classes
    keep their shares; a class with too few patients for its share gets less, and the rest more.

    Args:
        expected: (n,), draws of each image.
        classes: (n,) int64, from `REST`.
        patients: (n,) int64, from 0.
        most: At least the sum of `expected` by the number of patients.
    """
    classes, wanted = classes - REST, np.bincount(classes - REST, expected)
    for _ in range(100):  # as rows and columns of a table are fitted to their sums in turn
        of_class = np.bincount(classes, expected)
        expected = expected * (wanted / np.maximum(of_class, TINY))[classes]
        of_patient = np.bincount(patients, expected)
        if of_patient.max() <= most * (1 + 1e-6):
            return expected
        expected = expected * np.minimum(1, most / of_patient)[patients]
    while True:  # a class has too few patients
        free = (np.bincount(patients, expected) < most * (1 - 1e-9))[patients]
        lacking = wanted.sum() - expected.sum()
        if lacking < 1e-9 * wanted.sum() or not free.any():
            return expected
        expected = expected * np.where(free, 1 + lacking / expected[free].sum(), 1)
        of_patient = np.bincount(patients, expected)
        expected = expected * np.minimum(1, most / of_patient)[patients]


def class_shares(labels: Tensor, expected: Array, task: Task, num_classes: int) -> list[float]:
    """Return the share of each class, or of each of several labels, in what is drawn.

    Args:
        labels: (n,) class indices or (n, K) of 0 and 1; unknown ones don't count.
        expected: (n,), how often each image is drawn.
        task: One of `medcnn.objective.TASKS`, but for regression.
        num_classes: K.
    """
    weights, there = torch.from_numpy(expected), known(labels)
    if task == "multilabel":
        sums, totals = ((weights[:, None] * part).sum(0) for part in (labels == 1, there))
        return (sums / totals.clamp(min=TINY)).tolist()
    sums = torch.bincount(labels[there], weights[there], minlength=num_classes)
    return (sums / sums.sum()).tolist()
