"""Inference of files: read, classified, and counted."""

import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from medcnn.classifier.classifier import Classifier
from medcnn.classifier.ensemble import Ensemble, load, load_members
from medcnn.data.batches import unit_intensity
from medcnn.data.image import ImageSpec, spec_of
from medcnn.data.image_files import list_images
from medcnn.data.inputs import NAN, Input, as_asked, read_input
from medcnn.errors import UserError
from medcnn.evaluation.few_images import isotonic_lines
from medcnn.evaluation.studies import aggregate
from medcnn.inference.mc_dropout import check_mc_dropout, dropping
from medcnn.inference.tables import decision_table, doubt_table, quantile_table
from medcnn.inference.tta import looks, mean_quantiles, mirrored_axes_of
from medcnn.jobs.atomic_files import check_folder, for_spreadsheets, write_csv
from medcnn.jobs.hardware import device_of
from medcnn.jobs.notes import note
from medcnn.jobs.progress import progress
from medcnn.jobs.settings.commands import Predict
from medcnn.jobs.terminal import say


def classify_files(cfg: Predict, trust: list[str]) -> None:
    """Write one row an image: its path, the probability of each class, and the decision.

    Where the training chose an operating point, the decision is made at its threshold, which is
    there too: the positive class is called where its probability reaches that; of several labels
    each has one. An ensemble has the one that a cross-validation chose for it, or none.

    Images are prepared as those that the net was trained on. A file that can't be read is named,
    and the others are classified all the same.

    Args:
        cfg: See conf/predict.yaml.
        trust: Names that the checkpoint's config may hold beside medcnn's own.
    """
    for_spreadsheets(cfg.spreadsheet)
    output = _free_output(cfg)
    classifier = _loaded(cfg, trust).to(device_of(cfg.accelerator))
    card = classifier.card
    looked = cfg.tta or ("none" if cfg.dense else None)
    members: Any = classifier.members  # which PyTorch types as modules
    axes = mirrored_axes_of(looked, members)
    classifier.mirrored = bool(axes)
    check_mc_dropout(members, cfg.mc_dropout)
    batch_size = card["config"]["batch_size"] if cfg.batch_size is None else cfg.batch_size
    spec = as_asked(spec_of(card), cfg.dataset)
    paths = list_images(cfg.images, volumes=spec.spatial_dims == 3 or spec.slices is not None)
    _check_dense(cfg, axes)
    _calibrate(classifier, cfg.calibration)
    if cfg.dense:
        from medcnn.inference.score_maps import maps_of, score_maps  # and with them Matplotlib

        if maps_of(output).exists() and not cfg.overwrite:
            raise UserError(f"{maps_of(output)} exists; overwrite=true writes into it")
        write_csv(output, table := score_maps(classifier, paths, spec, output, cfg.size))
        report(output, len(table), len(paths))
        return
    found: dict[Path, Answer] = {}
    for first in progress(range(0, len(paths), batch_size), "batches of files classified"):
        items = read_all(paths[first : first + batch_size], spec, card["in_channels"])
        found |= classify_all(classifier, items, batch_size, axes, cfg.mc_dropout)
    if not found:
        raise UserError(
            f"images={cfg.images}: none of {len(paths)} files could be read or classified"
        )
    table = _table(classifier, list(found.values()), bool(cfg.mc_dropout))
    table.insert(0, "image", [str(path) for path in found])
    write_csv(output, table)
    report(output, len(found), len(paths))


def _free_output(cfg: Predict) -> Path:
    """Return the file that ``output`` names, which may be written to."""
    output = Path(cfg.output)
    if output.exists() and not cfg.overwrite:
        raise UserError(f"output={output} exists; overwrite=true replaces it")
    check_folder(f"output={output}", output.parent)
    return output


def _loaded(cfg: Predict, trust: list[str]) -> Classifier | Ensemble:
    """Return the classifier of ``checkpoint``, or the ensemble."""
    if cfg.checkpoint is not None and not cfg.ensemble:
        return load(cfg.checkpoint, trust=trust)
    _, members, choices = load_members(cfg.checkpoint, cfg.ensemble, trust)
    return Ensemble(members, choices).eval()


def _check_dense(cfg: Predict, axes: list[int]) -> None:
    """Raise UserError for what can't go together with ``dense``, or without it."""
    if cfg.size is not None and not cfg.dense:
        raise UserError("size=… goes with dense=true: else images become those of the training")
    if cfg.dense and (cfg.calibration != "none" or axes or cfg.mc_dropout):
        raise UserError(
            "calibration=…, tta=… and mc_dropout=… go with whole images; "
            "dense=true maps plain scores"
        )


def _calibrate(classifier: Classifier | Ensemble, how: str) -> None:
    """Take calibrated probabilities, and say what a reader of the decisions has to know."""
    classifier.calibrate(how)
    if how == "isotonic":
        members: Iterable[Any] = classifier.members
        for line in isotonic_lines([member.choices for member in members]):
            note(line)
    if classifier.operating_point is None and classifier.card["task"] in ("binary", "multilabel"):
        note("no operating point was chosen: decisions are made at 0.5")


def _table(
    classifier: Classifier | Ensemble, answers: list["Answer"], doubts: bool
) -> pd.DataFrame:
    """Return a row a file: what is predicted, and where files are single images the quantiles."""
    objective, names = classifier.objective, classifier.class_names
    probs = torch.from_numpy(_one_each([answer.probs for answer in answers], classifier))
    parts = [decision_table(objective, probs, names, classifier.operating_point)]
    quantiles = [answer.quantiles for answer in answers if answer.quantiles is not None]
    if quantiles and all(len(of_file) == 1 for of_file in quantiles):
        parts.append(quantile_table(objective, torch.cat(quantiles), names))
    if doubts:
        views = zip(*(answer.views for answer in answers), strict=True)
        each = np.stack([_one_each(list(view), classifier) for view in views])
        parts.append(doubt_table(objective, each))
    return pd.concat(parts, axis=1)


def _one_each(probs: list[np.ndarray], classifier: Classifier | Ensemble) -> np.ndarray:
    """Return probabilities (N, K) of files, each of which has (S, K): slices are put together."""
    files = np.repeat(np.arange(len(probs)), [len(part) for part in probs])
    if len(files) == len(probs):
        return np.concatenate(probs)
    objective = classifier.objective
    how = classifier.card["config"].get("aggregate", "mean")
    return aggregate(
        np.concatenate(probs), files, how, task=objective.task, positive=objective.positive
    )


def report(output: Path, done: int, asked: int) -> None:
    """Say how many images the output holds; raises UserError if some are missing."""
    print(f"{output}: {done} of {asked} images classified", flush=True)
    if done < asked:
        raise UserError(f"{asked - done} of {asked} images could not be read or classified")


def read_all(paths: list[Path], spec: ImageSpec, channels: int) -> dict[Path, Input]:
    """Read the files that can be read; the others are named."""
    items: dict[Path, Input] = {}
    for path in paths:
        try:
            items[path] = read_input(path, spec, channels)
            for line in items[path].notes:
                say(f"{path} {line}")
        except UserError as error:
            say(f"{path} {error}")
    return items


class Answer(NamedTuple):
    """What was said of the S images of a file.

    Attributes:
        probs: (S, K) probabilities, the mean over all looks.
        views: (V, S, K) those of each look.
        quantiles: (S, K, Q) of a regression, `mean_quantiles` over all looks; None without.
    """

    probs: np.ndarray
    views: np.ndarray
    quantiles: Tensor | None


def classify_all(
    classifier: Classifier | Ensemble,
    items: dict[Path, Input],
    batch_size: int,
    axes: list[int],
    passes: int = 0,
) -> dict[Path, Answer]:
    """Return the answer on each file, of all members, mirror images, and passes with dropout.

    Those that aren't finite are left out, and their file is named.
    """
    if not items:
        return {}
    inputs, counts = list(items.values()), [len(item.stored) for item in items.values()]
    rows = torch.cat([row_numbers(path, n) for path, n in zip(items, counts, strict=True)])
    with classifier.autocast():
        said: Any = [
            (member, _logits(member, inputs, rows, batch_size, *look))
            for member in classifier.members
            for look in looks(member, axes, passes)  # type: ignore[arg-type]
        ]
    views, quantiles = torch.stack([m.probs(logits) for m, logits in said]), mean_quantiles(said)
    of_files = [None] * len(counts) if quantiles is None else quantiles.split(counts)
    parts = views.mean(0).split(counts), views.split(counts, 1), of_files
    found = {}
    for path, probs, own, spread in zip(items, *parts, strict=True):
        if probs.isfinite().all():
            found[path] = Answer(probs.numpy(), own.numpy(), spread)
        else:
            say(f"{path} {NAN}")
    return found


def row_numbers(path: Path, images: int) -> Tensor:
    """Return numbers (images,) for the images of a file, that don't depend on other files.

    What dropout drops is drawn by them, as by the row of a sample table.
    """
    return (zlib.crc32(path.name.encode()) << 20) + torch.arange(images)


def _logits(
    member: Any,
    items: list[Input],
    rows: Tensor,
    batch_size: int,
    mirrored: tuple[int, ...],
    number: int | None,
) -> Tensor:
    """Return logits (N, outputs) that one classifier gives the images of all items at a look."""
    own = member.card["intensity_range"]  # of the images that it was trained on
    images = [
        unit_intensity(
            one.stored, torch.tensor([one.pair or own]).float().expand(len(one.stored), 2)
        )
        for one in items
    ]
    parts = torch.cat(images).flip(mirrored).split(batch_size)
    found = []
    for part, own_rows in zip(parts, rows.split(batch_size), strict=True):
        with dropping(member, number, own_rows):
            found.append(member.logits(part).cpu())
    return torch.cat(found)
