"""The answers of a classifier on files or packed rows: read, classified, put into a table."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from medcnn.classifier.classifier import Classifier
from medcnn.classifier.ensemble import Ensemble
from medcnn.data.batches import unit_intensity
from medcnn.data.image import ImageSpec
from medcnn.data.inputs import NAN, Input, prepared_input, read_input
from medcnn.data.packed import Packed
from medcnn.data.studies import context_of_one
from medcnn.errors import UserError
from medcnn.evaluation.studies import aggregate
from medcnn.inference.mc_dropout import dropping
from medcnn.inference.tables import decision_table, doubt_table, quantile_table
from medcnn.inference.tta import looks, mean_quantiles
from medcnn.jobs.table_files import as_text
from medcnn.jobs.terminal import say

Tell = Callable[[str], None]  # is told each file that can't be used, and why


class Batch(NamedTuple):
    """Files, or rows of an array, that could be read.

    Attributes:
        names: Of the n files.
        counts: (n,) the images of each.
        inputs: All these images, one after the other.
        numbers: (images,) int64; what dropout drops is drawn by them, as by the row of a sample
            table.
    """

    names: list[str]
    counts: list[int]
    inputs: list[Input]
    numbers: Tensor


class Answers(NamedTuple):
    """What was said of n files with S images in all.

    Attributes:
        names: Of the n files.
        counts: (n,) the images of each, that are answered one by one; 1 where they are a study.
        probs: (S, K) probabilities, the mean over all looks.
        views: (V, S, K) those of each look.
        quantiles: (S, K, Q) of a regression, `mean_quantiles` over all looks; None without.
    """

    names: list[str]
    counts: list[int]
    probs: Tensor
    views: Tensor
    quantiles: Tensor | None


def read_files(names: Sequence[str], spec: ImageSpec, channels: int, tell: Tell) -> Batch:
    """Read the files that can be read; the others are told."""
    found: dict[str, Input] = {}
    for name in names:
        try:
            found[name] = read_input(Path(name), spec, channels)
            for line in found[name].notes:
                say(f"{name} {line}")
        except UserError as error:
            tell(f"{name} {error}")
    counts = [len(item.stored) for item in found.values()]
    numbers = [row_numbers(Path(name), n) for name, n in zip(found, counts, strict=True)]
    empty = torch.empty(0, dtype=torch.int64)
    return Batch(list(found), counts, list(found.values()), torch.cat([empty, *numbers]))


def read_rows(
    packed: Packed, first: int, last: int, spec: ImageSpec, channels: int, tell: Tell
) -> Batch:
    """Read the rows first … last - 1 of packed images; those that can't be used are told."""
    names, numbers = packed.names(first, last), torch.arange(first, last)
    if (whole := packed.whole(first, last, spec, channels)) is not None:
        return Batch(names, [1] * len(names), [whole], numbers)
    found: list[tuple[int, Input]] = []
    for k, image in enumerate(packed.images(first, last)):
        try:
            found.append((k, prepared_input(image, spec, channels)))
        except UserError as error:
            tell(f"row {names[k]} {error}")
    counts = [len(item.stored) for _, item in found]
    of_rows = numbers[[k for k, _ in found]]
    each = (of_rows << 20).repeat_interleave(torch.tensor(counts, dtype=torch.int64))
    return Batch([names[k] for k, _ in found], counts, [item for _, item in found], each)


def row_numbers(path: Path, images: int) -> Tensor:
    """Return numbers (images,) for the images of a file, that don't depend on other files."""
    return (zlib.crc32(path.name.encode(errors="surrogateescape")) << 20) + torch.arange(images)


def classify(
    classifier: Classifier | Ensemble,
    batch: Batch,
    batch_size: int,
    axes: list[int],
    passes: int,
    tell: Tell,
) -> Answers | None:
    """Return the answers on a batch, of all members, mirror images, and passes with dropout.

    Those that aren't finite are left out, and their file is told. None if there is nothing else.
    """
    if not batch.names:
        return None
    with classifier.autocast():
        said: Any = [
            (member, _logits(member, batch, batch_size, *look))
            for member in classifier.members
            for look in looks(member, axes, passes)  # type: ignore[arg-type]
        ]
    views = torch.stack([member.probs(logits) for member, logits in said])
    of_studies = classifier.card.get("studies") is not None
    counts = [1] * len(batch.names) if of_studies else batch.counts  # of answers
    answers = Answers(batch.names, counts, views.mean(0), views, mean_quantiles(said))
    return _finite(answers, tell)


def _finite(answers: Answers, tell: Tell) -> Answers | None:
    """Return the answers on those files all of whose probabilities are finite; None without."""
    fine = answers.probs.isfinite().all(1)
    if bool(fine.all()):
        return answers
    kept = [bool(part.all()) for part in fine.split(answers.counts)]
    for name, good in zip(answers.names, kept, strict=True):
        if not good:
            tell(f"{name} {NAN}")
    if not any(kept):
        return None
    images = torch.tensor(kept).repeat_interleave(torch.tensor(answers.counts))
    quantiles = None if answers.quantiles is None else answers.quantiles[images]
    return Answers(
        [name for name, good in zip(answers.names, kept, strict=True) if good],
        [count for count, good in zip(answers.counts, kept, strict=True) if good],
        answers.probs[images],
        answers.views[:, images],
        quantiles,
    )


def _logits(
    member: Any, batch: Batch, batch_size: int, mirrored: tuple[int, ...], number: int | None
) -> Tensor:
    """Return logits (S, outputs) that one classifier gives the images of a batch at a look."""
    own = member.card["intensity_range"]  # of the images that it was trained on
    if (known := member.card.get("studies")) is not None:
        return _of_studies(member, batch, own, mirrored, number, known)
    parts, found = _images(batch.inputs, own, batch_size), []
    for part, numbers in zip(parts, batch.numbers.split(batch_size), strict=True):
        with dropping(member, number, numbers):
            found.append(member.logits(part.flip(mirrored)).cpu())
    return torch.cat(found)


def _images(inputs: Sequence[Input], own: Any, size: int) -> Iterator[Tensor]:
    """Yield the images of files in 0 … 1, so many at a time: a slide may have thousands of tiles.

    `own` are the values that become 0 and 1 where a file doesn't say.
    """
    held: list[Tensor] = []
    room = size
    for one in inputs:
        pair = torch.tensor([one.pair or own]).float()
        for first in [0, *range(room, len(one.stored), size)]:
            part = one.stored[first : first + room]
            held.append(unit_intensity(part, pair.expand(len(part), 2)))
            room -= len(part)
            if not room:
                yield torch.cat(held)
                held, room = [], size
    if held:
        yield torch.cat(held)


def _of_studies(
    member: Any,
    batch: Batch,
    own: Any,
    mirrored: tuple[int, ...],
    number: int | None,
    known: dict[str, Any],
) -> Tensor:
    """Return logits (n, outputs) of files, the images of each of which are a study."""
    inputs, found = batch.inputs, []
    if len(inputs) < len(batch.counts):  # packed rows, in one
        whole = inputs[0]
        inputs = [whole._replace(stored=part) for part in whole.stored.split(batch.counts)]
    for one, numbers in zip(inputs, batch.numbers.split(batch.counts), strict=True):
        (images,) = _images([one], own, len(numbers))
        with dropping(member, number, numbers[:1], numbers):
            context = context_of_one(len(numbers), known)
            found.append(member.logits(images.flip(mirrored), context).cpu())
    return torch.cat(found)


def together(found: Sequence[Answers]) -> Answers:
    """Return the answers of several batches as those of one."""
    quantiles = [one.quantiles for one in found if one.quantiles is not None]
    return Answers(
        [name for one in found for name in one.names],
        [count for one in found for count in one.counts],
        torch.cat([one.probs for one in found]),
        torch.cat([one.views for one in found], 1),
        torch.cat(quantiles) if quantiles else None,
    )


def answers_table(
    classifier: Classifier | Ensemble, answers: Answers, doubts: bool
) -> pd.DataFrame:
    """Return a row a file: its path, what is predicted, and of single images the quantiles.

    With `doubts` also how much the looks disagree.
    """
    objective, names = classifier.objective, classifier.class_names
    probs = torch.from_numpy(_one_each(answers.probs.numpy(), answers.counts, classifier))
    parts = [decision_table(objective, probs, names, classifier.operating_point)]
    if answers.quantiles is not None and set(answers.counts) == {1}:
        parts.append(quantile_table(objective, answers.quantiles, names))
    if doubts:
        views = [_one_each(view, answers.counts, classifier) for view in answers.views.numpy()]
        parts.append(doubt_table(objective, np.stack(views)))
    table = pd.concat(parts, axis=1)
    table.insert(0, "image", list(map(as_text, answers.names)))
    return table


def _one_each(
    probs: np.ndarray, counts: Sequence[int], classifier: Classifier | Ensemble
) -> np.ndarray:
    """Return probabilities (n, K) of files, whose images have (S, K): slices are put together."""
    if set(counts) == {1}:
        return probs
    files = np.repeat(np.arange(len(counts)), counts)
    objective = classifier.objective
    how = classifier.card["config"].get("aggregate", "mean")
    return aggregate(probs, files, how, task=objective.task, positive=objective.positive)
