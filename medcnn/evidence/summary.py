"""From scores image by image to figures with intervals over patients."""

import json
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from medcnn.cam.scores import Candidates, Froc
from medcnn.evaluation import bootstrap_means
from medcnn.evaluation.figures import figure_of
from medcnn.evaluation.intervals import Interval, resample_counts
from medcnn.evaluation.proportions import proportion_interval, proportion_intervals

FALSE_POSITIVES = (0.25, 0.5, 1.0, 2.0, 4.0)  # an image, at which the recall of lesions is given
FROC_RESAMPLES = 1000
SHARES = ("pointing_game", "image_pointing_game", "empty", "box_iou_", "increase", "accuracy")
"""Beginnings of the names of scores that are shares of images."""

Record = dict[str, Any]


def records(
    table: pd.DataFrame, group: str, method: str | None, patients: ArrayLike, classes: Any
) -> list[Record]:
    """Return a record a score and class: the mean over images, with an interval over patients.

    That is Wilson's with patients as clusters for `SHARES`, else a bootstrap over patients, whose
    interval of no hit at all would be 0 to 0.

    Args:
        table: One row an image; all columns but ``row`` and ``candidates`` are scores.
        group: Which question the scores answer.
        method: Whose maps; None for scores of the decision alone.
        patients: Of each row.
        classes: Name of the true class of each row, or None where there are no classes.

    Returns:
        ``{"group", "method", "score", "class", "value", "low", "high", "n"}``; class is None for
        all images together. Values are None where no image has the score, bounds where fewer than
        two patients have it. Of the group "reliance" where no image is `comparable` nothing.
    """
    of, used = np.asarray(patients), np.full(len(table), True)
    if group == "reliance":
        used = comparable(table)
        if not used.any():  # see `medcnn.evidence.verdicts`
            return []
    parts: list[tuple[str | None, np.ndarray]] = [(None, used)]
    if classes is not None:
        names = np.asarray(classes)
        parts += [(str(n), used & (names == n)) for n in dict.fromkeys(names[used].tolist())]
    scores = [name for name in table.columns if name not in ("row", "candidates")]
    shares = [str(name).startswith(SHARES) for name in scores]
    found = []
    for name, chosen in parts:
        values = table.loc[chosen, scores].to_numpy(float)
        means, low, high = bootstrap_means(values, of[chosen])
        low[shares], high[shares] = proportion_intervals(values[:, shares], of[chosen])[1:]
        counts = (~np.isnan(values)).sum(0)
        key = {"group": group, "method": method, "class": name}
        for k, score in enumerate(scores):
            figure = _figure(means[k], low[k], high[k], int(counts[k]))
            found.append({**key, "score": score, **figure})
        if "candidates" in table:
            recalls = _froc(table.loc[chosen, "candidates"], of[chosen])
            found += [{**key, **record} for record in recalls]
    return found


def comparable(table: pd.DataFrame) -> NDArray[np.bool_]:
    """Return the images (N,) of the group "reliance" that have all its accuracies.

    In some there is no room to paint over as much of the body elsewhere as the lesion takes.
    """
    names = [name for name in table.columns if str(name).startswith("accuracy")]
    return table[names].notna().all(axis=1).to_numpy()


def difference(first: Any, second: Any, patients: ArrayLike) -> Record:
    """Return the mean difference of two scores of the same images, with its interval."""
    values = np.asarray(first, float) - np.asarray(second, float)
    (mean,), (low,), (high,) = bootstrap_means(values[:, None], np.asarray(patients))
    return _figure(mean, low, high, int((~np.isnan(values)).sum()))


def share(hits: NDArray[np.bool_], patients: ArrayLike) -> Record:
    """Return the share of hits among images (N,), with Wilson's interval, patients as clusters.

    Bounds are None of a single patient.
    """
    return _figure(*proportion_interval(hits, patients), len(hits))


def interval(figure: dict[str, Any]) -> str:
    """Return ``0.731 [0.652, 0.803]``; without the brackets where there is no interval."""
    if figure["value"] is None:
        return "undefined"
    bounds = (figure["low"], figure["high"])
    shown = "" if None in bounds else " [{:.3f}, {:.3f}]".format(*bounds)
    return f"{figure['value']:.3f}{shown}"


def _froc(column: pd.Series, patients: np.ndarray) -> list[Record]:
    """Return the recall of lesions at `FALSE_POSITIVES`, with intervals over patients."""
    curve = Froc([_candidates(cell) for cell in column])
    value = curve.recall(FALSE_POSITIVES)
    members = np.unique(patients, return_inverse=True)[1]
    groups = int(members.max()) + 1
    bounds = np.full((2, len(FALSE_POSITIVES)), np.nan)
    if groups > 1:
        drawn = resample_counts(np.random.default_rng(0), FROC_RESAMPLES, groups)[:, members]
        recalls = np.stack([curve.recall(FALSE_POSITIVES, weights) for weights in drawn])
        bounds = np.nanquantile(recalls, [0.025, 0.975], axis=0)
    return [
        {"score": f"recall_at_{rate:g}", **_figure(mean, low, high, len(column))}
        for rate, mean, low, high in zip(FALSE_POSITIVES, value, *bounds.tolist(), strict=True)
    ]


def _candidates(cell: str) -> Candidates:
    scores, lesions, count = json.loads(cell)
    return Candidates(np.array(scores, float), np.array(lesions, int), count)


def _figure(value: float, low: float, high: float, n: int) -> Record:
    return dict(figure_of(Interval(value, low, high), n))
