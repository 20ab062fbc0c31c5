"""Verdicts: the scores in sentences."""

from collections.abc import Iterator

import pandas as pd

from medcnn.cam.baselines import BASELINES
from medcnn.cam.scores.sanity import LIMIT
from medcnn.data.samples import Samples
from medcnn.evidence.explainer import ORACLE
from medcnn.evidence.image_verdicts import against_middle, agreement, most_missed
from medcnn.evidence.summary import comparable, difference
from medcnn.evidence.words import interval_of, percent, word

COARSE = 0.5  # pointing game of the oracle below which a stage can't show where


def verdicts(table: pd.DataFrame, samples: Samples) -> list[str]:
    """Return sentences on scores image by image (`medcnn.evidence.measurement.measured`).

    Each has its numbers and intervals over the patients of the samples.
    """
    parts = dict(iter(table.groupby("group"))) if len(table) else {}
    found: list[str] = []
    if "localisation" in parts:
        found += _against_centre(parts["localisation"], samples)
    if "reliance" in parts:
        found += _reliance(parts["reliance"], samples)
    for group in ("sanity", "image_sanity"):
        if group in parts:
            found += _sanity(parts[group], group == "image_sanity")
    if "image_localisation" in parts:
        found += against_middle(parts["image_localisation"], samples)
    if "image_faithfulness" in parts:
        found += agreement(parts["image_faithfulness"], samples)
    for group in ("views", "channels"):
        if group in parts:
            found += most_missed(parts[group], samples, group)
    return found


def _against_centre(part: pd.DataFrame, samples: Samples) -> Iterator[str]:
    """Say which methods hit the lesion more often than the image's centre does."""
    hits = part.pivot(index="row", columns="method", values="pointing_game")
    patients = samples.table["patient"].to_numpy()[hits.index.to_numpy(int)]
    centre = f"the centre of the image ({percent(hits['centre'].mean())} of {len(hits)} images)"
    words: dict[str, list[str]] = {"more often than": [], "less often than": [], "as often as": []}
    for method in [m for m in part["method"].unique() if m not in (*BASELINES, ORACLE)]:
        gain = difference(hits[method], hits["centre"], patients)
        share = f"{method} {percent(hits[method].mean())} ({interval_of(gain)} points)"
        words[word(gain, *words)].append(share)
    for how, methods in words.items():
        if methods:
            yield f"The map's maximum lies on the lesion {how} {centre}: {', '.join(methods)}."
    best = hits[ORACLE].mean()
    if best < COARSE:
        yield (
            f"This stage is too coarse: even the lesion itself, at its resolution, has its maximum "
            f"on the lesion in no more than {percent(best)}. Take an earlier one."
        )


def _reliance(part: pd.DataFrame, samples: Samples) -> Iterator[str]:
    """Is the net right for the right reason?"""
    whole, everyone = part[comparable(part)], f"{len(part)} images with a known lesion"
    if not len(whole):
        yield (
            f"In none of {everyone} is there room to paint over as much of the body elsewhere: "
            "whether the decision uses the lesion can't be said."
        )
        return
    if len(whole) < len(part):
        everyone = f"those {len(whole)} of {everyone} with room to paint over as much elsewhere"
    part = whole
    patients = samples.table["patient"].to_numpy()[part["row"].to_numpy(int)]
    means = {name: part[name].mean() for name in part if str(name).startswith("accuracy")}
    yield (
        f"Accuracy is {percent(means['accuracy'])} on {everyone}, "
        f"{percent(means['accuracy_lesion_removed'])} with the lesion painted over, "
        f"{percent(means['accuracy_elsewhere_removed'])} with as much of the body painted over "
        f"elsewhere, and {percent(means['accuracy_lesion_only'])} on the lesion alone."
    )
    used = difference(part["accuracy_elsewhere_removed"], part["accuracy_lesion_removed"], patients)
    lost = difference(part["accuracy"], part["accuracy_lesion_removed"], patients)
    how = word(used, "uses", "is disturbed by", "does not measurably use")
    kept = means["accuracy_lesion_removed"] / max(means["accuracy"], 1e-9)
    yield (
        f"The decision {how} the lesion: without it {interval_of(lost)} points of accuracy are "
        f"lost, {interval_of(used)} more than without the other place; {percent(kept)} of the "
        "accuracy is left."
    )


def _sanity(part: pd.DataFrame, of_images: bool) -> Iterator[str]:
    """Say which methods hardly change when the net's weights are random."""
    if "randomisation_rank" not in part:
        return
    for method, rank in part.groupby("method", sort=False)["randomisation_rank"].mean().items():
        if rank > LIMIT and of_images:
            yield (
                f"The order of a study's images by {method} hardly changes when the head and the "
                f"last stage of the net are drawn at random (rank correlation {rank:.2f}): it "
                "isn't what the net has learned."
            )
        elif rank > LIMIT:
            yield (
                f"The map of {method} hardly changes when the head and the last stage of the net "
                f"are drawn at random (rank correlation {rank:.2f}): it shows what the image looks "
                "like, not what the decision rests on."
            )
