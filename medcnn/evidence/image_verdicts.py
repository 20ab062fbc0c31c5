"""Verdicts on the images of studies, on views and on channels, in sentences."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from medcnn.data.samples import Samples
from medcnn.evaluation import bootstrap_means
from medcnn.evidence.studies import ATTENTION, LEAVING_OUT, MIDDLE
from medcnn.evidence.summary import difference
from medcnn.evidence.words import interval_of, percent, word

NAMES = {ATTENTION: "attention", LEAVING_OUT: "leaving out"}
PARTS = {"channels": "removal_effect", "views": "view_effect"}


def against_middle(part: pd.DataFrame, samples: Samples) -> Iterator[str]:
    """Say what finds an image with the lesion more often than the middle one shows it."""
    hits = part.pivot(index="row", columns="method", values="image_pointing_game")
    patients = samples.table["patient"].to_numpy()[hits.index.to_numpy(int)]
    chance = part.drop_duplicates("row")["lesion_images"].mean()
    middle = (
        f"the middle image ({percent(hits[MIDDLE].mean())} of {len(hits)} studies; an image at "
        f"random: {percent(chance)})"
    )
    words: dict[str, list[str]] = {"more often than": [], "less often than": [], "as often as": []}
    for source in [m for m in part["method"].unique() if m != MIDDLE]:
        gain = difference(hits[source], hits[MIDDLE], patients)
        share = f"{_name(source)} {percent(hits[source].mean())} ({interval_of(gain)} points)"
        words[word(gain, *words)].append(share)
    for how, sources in words.items():
        if sources:
            yield f"The most important image shows the lesion {how} {middle}: {', '.join(sources)}."


def agreement(part: pd.DataFrame, samples: Samples) -> Iterator[str]:
    """Say whether the score changes most without the images that are said to be important."""
    if "image_agreement" not in part:
        return
    for key, own in part.groupby("method", sort=False):
        source = str(key)
        patients = samples.table["patient"].to_numpy()[own["row"].to_numpy(int)]
        values = own["image_agreement"].to_numpy(float)
        if source == LEAVING_OUT or np.isnan(values).all():
            continue
        (mean,), (low,), (high,) = bootstrap_means(values[:, None], patients)
        found = f"{mean:.2f}" if np.isnan(low) else f"{mean:.2f} [{low:.2f}, {high:.2f}]"
        text = f"mean rank correlation in a study {found}, n = {int((~np.isnan(values)).sum())}"
        goes = "changes" if source == ATTENTION else "falls"
        if low > 0:
            yield (
                f"Without the images that {_name(source)} ranks higher the score of the decided "
                f"class {goes} more ({text})."
            )
        else:
            yield (
                f"Without the images that {_name(source)} ranks higher the score of the decided "
                f"class doesn't measurably {goes[:-1]} more ({text}): by itself this is no "
                "evidence of what the decision rests on."
            )


def most_missed(part: pd.DataFrame, samples: Samples, group: str) -> Iterator[str]:
    """Say which channels, or views, the score of the decided class falls without."""
    effects = PARTS[group]
    falls: list[tuple[float, str]] = []
    rest: list[tuple[float, str]] = []
    for name, own in part.groupby("method", sort=False):
        patients = samples.table["patient"].to_numpy()[own["row"].to_numpy(int)]
        (mean,), (low,), (high,) = bootstrap_means(own[[effects]].to_numpy(float), patients)
        if np.isnan(mean):
            continue
        bounds = "" if np.isnan(low) else f" [{low:.2f}, {high:.2f}]"
        (falls if low > 0 else rest).append((mean, f"{name} {mean:.2f}{bounds}"))
    texts = [", ".join(text for _, text in sorted(found, reverse=True)) for found in (falls, rest)]
    if texts[0]:
        yield f"The score of the decided class falls without these {group}: {texts[0]}."
    if texts[1]:
        yield f"It doesn't measurably fall without these {group}: {texts[1]}."


def _name(source: object) -> str:
    return NAMES.get(str(source), str(source))
