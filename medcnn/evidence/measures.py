"""Scores image by image: one function a group of scores, each from a batch to a table.

A column's name is a score's name; a row is an image. What can't be said of an image is NaN.
"""

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from medcnn.cam import is_empty
from medcnn.cam.scores import (
    THRESHOLDS,
    agreement,
    average_drop_increase,
    box_iou,
    candidates,
    deletion_insertion,
    energy_inside,
    iou_at_thresholds,
    lesion_reliance,
    linear_imputation,
    noise_stability,
    overlap,
    pixel_average_precision,
    pointing_hits,
    randomisation,
    rank_correlation,
    road,
    ssim,
    verdict,
)
from medcnn.cam.scores.sanity import DECIDING_STEP, ORDERS
from medcnn.evidence.explainer import Batch, Explainer

IOU_LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
ROAD_NOISE = 0.01  # standard deviation of imputed pixels, of a range of 1
Columns = dict[str, Any]


def localisation(explainer: Explainer, batch: Batch, method: str, threshold: float) -> pd.DataFrame:
    """Does the map of the true class lie on the lesion? All images need one.

    Args:
        explainer: Gives the maps.
        batch: The images.
        method: A method, a baseline, or oracle.
        threshold: Share of a map's maximum from which on it counts as found.
    """
    assert batch.masks is not None
    maps = explainer.maps(batch, explainer.truth(batch.rows), method)
    iou, dice, iobb = overlap(maps, batch.masks, threshold)
    boxes = box_iou(maps, batch.masks, threshold)
    columns: Columns = {
        "pointing_game": pointing_hits(maps, batch.masks),
        "energy_inside": energy_inside(maps, batch.masks),
        "pixel_ap": pixel_average_precision(maps, batch.masks),
        "iou": iou,
        "dice": dice,
        "iobb": iobb,
        **{f"box_iou_{level}": boxes >= level for level in IOU_LEVELS},
        "empty": is_empty(maps),
    }
    table = as_table(batch, columns)
    found = candidates(maps, batch.masks)
    table["candidates"] = [
        json.dumps([one.scores.tolist(), one.lesions.tolist(), one.number]) for one in found
    ]
    return table


def tuning(explainer: Explainer, batch: Batch, method: str) -> pd.DataFrame:
    """IoU of the true class's map at each of `THRESHOLDS`; all images need a lesion."""
    assert batch.masks is not None
    maps = explainer.maps(batch, explainer.truth(batch.rows), method)
    values = iou_at_thresholds(maps, batch.masks)
    return as_table(batch, {f"iou_at_{t}": values[:, k] for k, t in enumerate(THRESHOLDS)})


def shortcut(explainer: Explainer, batch: Batch, method: str) -> pd.DataFrame:
    """Energy of the decided class's map on the marker; all images need one."""
    assert explainer.samples.markers is not None
    boxes = explainer.samples.markers[batch.rows]
    masks = torch.zeros(len(boxes), *batch.images.shape[2:], dtype=torch.bool)
    for mask, (top, left, bottom, right) in zip(masks, boxes.tolist(), strict=True):
        mask[top:bottom, left:right] = True
    _, decided = explainer.decided(batch.images, batch.context)
    maps = explainer.maps(batch, decided, method)
    masks = masks.to(maps.device)
    share = masks.flatten(1).double().mean(1)
    return as_table(batch, {"marker_energy": energy_inside(maps, masks), "marker_area": share})


def faithfulness(explainer: Explainer, batch: Batch, method: str) -> pd.DataFrame:
    """Does the probability of the decided class depend on what its map shows?"""
    images = batch.images
    _, decided = explainer.decided(images, batch.context)
    maps = explainer.maps(batch, decided, method)

    def score(changed: Tensor) -> Tensor:
        return explainer.probs(changed, batch.context).gather(1, decided[:, None])[:, 0]

    mean = images.flatten(2).mean(2).reshape(*images.shape[:2], *[1] * (images.dim() - 2))
    curves = deletion_insertion(images, maps, score, fill=mean.expand_as(images))
    removed = road(images, maps, score, noise=ROAD_NOISE)
    drop, increase = average_drop_increase(images, maps, score)
    columns = {
        "deletion": curves.deletion_area,
        "insertion": curves.insertion_area,
        "road": removed.combined,
        "average_drop": drop,
        "increase": increase,
    }
    return as_table(batch, columns)


def stability(
    explainer: Explainer, batch: Batch, method: str, others: Sequence[Explainer] = ()
) -> pd.DataFrame:
    """Does the map stay under noise below visibility, and across training seeds?"""
    _, decided = explainer.decided(batch.images, batch.context)

    def explain(images: Tensor) -> Tensor:
        return explainer.maps(batch._replace(images=images, masks=None), decided, method)

    columns: Columns = {"noise_stability": noise_stability(batch.images, explain)}
    if others:
        maps = [one.maps(batch, decided, method) for one in (explainer, *others)]
        columns["seed_agreement"] = agreement(maps)
    return as_table(batch, columns)


def sanity(
    explainer: Explainer, batch: Batch, method: str, relabelled: Explainer | None = None
) -> pd.DataFrame:
    """Does the map change when the net's weights, or the labels it learns from, are random?"""
    _, decided = explainer.decided(batch.images, batch.context)

    def explain(net: torch.nn.Module, images: Tensor) -> Tensor:
        return explainer.explain(net, images, decided, method, batch.context)

    net = explainer.classifier.net
    columns: Columns = {}
    for order in ORDERS:
        steps = randomisation(net, batch.images, explain, order=order)
        for number, step in enumerate(steps):
            columns[f"{order}_{number}_{step.part}_rank"] = step.rank_correlation
            columns[f"{order}_{number}_{step.part}_ssim"] = step.ssim
        if order == "cascading" and len(steps) > DECIDING_STEP + 1:
            columns["randomisation_rank"] = steps[DECIDING_STEP].rank_correlation
            columns["randomisation_ssim"] = steps[DECIDING_STEP].ssim
    if relabelled is not None:
        original = explain(net, batch.images)
        other = relabelled.maps(batch, decided, method)
        columns["label_randomisation_rank"] = rank_correlation(original, other)
        columns["label_randomisation_ssim"] = ssim(original, other)
    return as_table(batch, columns)


def reliance(explainer: Explainer, batch: Batch) -> pd.DataFrame:
    """Does the decision use the lesion? All images need one, and a known label."""
    assert batch.masks is not None
    truth = explainer.truth(batch.rows)
    decide = partial(explainer.probs, context=batch.context)
    found = lesion_reliance(batch.images, batch.masks, decide, linear_imputation, batch.rows)
    columns: Columns = {}
    variants = {
        "": found.original,
        "_lesion_removed": found.without_lesion,
        "_elsewhere_removed": found.without_elsewhere,
        "_lesion_only": found.lesion_alone,
    }
    for suffix, probs in variants.items():
        probs = probs.cpu()
        there = ~probs.isnan().any(1)
        right = explainer.classifier.decide(probs.nan_to_num()) == truth
        columns[f"accuracy{suffix}"] = torch.where(there, right.double(), torch.nan)
        columns[f"prob{suffix}"] = probs.gather(1, truth[:, None])[:, 0]
    used = verdict(columns["accuracy_lesion_removed"], columns["accuracy_elsewhere_removed"])
    columns["reliance"] = used
    return as_table(batch, columns)


def as_table(batch: Batch, columns: Columns) -> pd.DataFrame:
    """Return scores (B,) as the table of a batch, a row an image or a study."""
    values = {name: np.asarray(value.cpu().double()) for name, value in columns.items()}
    return pd.DataFrame({"row": batch.rows.numpy(), **values})
