"""The values that a sweep varied, and how much each of them matters."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from medcnn.report import privacy
from medcnn.report.comparison.figures import Axis
from medcnn.report.runs import Run
from medcnn.report.svg import Floats, ticks
from medcnn.report.words import in_words, shorten

FEWEST, HINT = 5, 30  # runs for an importance at all, and for one that is more than a hint
AXES = 6  # of parallel coordinates, beside the score
FEW_VALUES, CLOSE = 5, 0.055  # values that are all written; words nearer to each other overlap
WIDE = 30  # ratio of the largest to the smallest value from which an axis is logarithmic
TREES, REPEATS = 100, 10
OF_ONE_MACHINE = (
    *privacy.HIDDEN_GROUPS,
    "engine",
    "resume",
    "overwrite",
    "trust",
)  # keys of a config

Varied = dict[str, list[Any]]


class Importance(NamedTuple):
    """The importance of the values that were varied for the validation score."""

    shares: dict[str, float]  # of each value, in all 1 (or 0 where none matters), the largest first
    explained: float  # share of the score's variance in runs unseen by the trees; may be negative
    runs: int  # that it rests on


def differing(runs: Sequence[Run]) -> Varied:
    """Return the settings that differ between runs, by key the value in each run, None for none.

    Paths and names are replaced by a word and a number. Versions of libraries are among them as
    ``version of <library>``.
    """
    every = []
    for run in runs:
        libraries = run.environment.get("libraries") or {}
        versions = {f"version of {name}": version for name, version in libraries.items()}
        every.append({**dict(flat(run.config)), **versions})
    keys = dict.fromkeys(key for settings in every for key in settings)
    found = {key: [settings.get(key) for settings in every] for key in keys}
    return {key: _shown(key, v) for key, v in found.items() if len(set(map(repr, v))) > 1}


def varied(runs: Sequence[Run]) -> Varied:
    """Return the values that a sweep varied: keys of the command line, else settings that differ.

    A choice of a group, ``model=lenet``, stands for all settings that come with it.
    """
    every = [dict(map(key_and_value, run.status.get("overrides") or [])) for run in runs]
    keys = dict.fromkeys(key for overrides in every for key in overrides)
    set_ = [dict(flat(run.config)) for run in runs]
    found = {
        key: [o.get(key, s.get(key)) for o, s in zip(every, set_, strict=True)]
        for key in keys
        if key.split(".")[0] not in OF_ONE_MACHINE
    }
    chosen = {key: _shown(key, v) for key, v in found.items() if len(set(map(str, v))) > 1}
    return chosen or _one_of_those_that_go_together(differing(runs))


def flat(node: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Return the values of a config by dotted keys, without those that concern one machine alone.

    >>> dict(flat({"model": {"depth": 18}, "paths": {"run": "x"}, "seed": 0}))
    {'model.depth': 18, 'seed': 0}
    """
    for key, value in node.items():
        if not prefix and key in OF_ONE_MACHINE:
            continue
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def key_and_value(override: str) -> tuple[str, str]:
    """Return the key and the value of an override.

    >>> key_and_value("+model.depth='18'"), key_and_value("~logger")
    (('model.depth', '18'), ('logger', '(removed)'))
    """
    key, equals, value = str(override).partition("=")
    return key.lstrip("+~"), value.strip("'") if equals else "(removed)"


def importance(settings: Varied, scores: Sequence[float | None]) -> Importance | None:
    """Return how much each varied value matters, by a random forest and shuffled columns.

    In the manner of functional ANOVA (F. Hutter, H. Hoos, K. Leyton-Brown, "An efficient approach
    for assessing hyperparameter importance", 2014): a random forest predicts the score from the
    values. Here the importance of a value is by how much the explained share of the variance falls
    when its column is shuffled (L. Breiman, "Random forests", 2001), as a share of all such falls;
    it holds the effects that a value has together with others too.

    Args:
        settings: Of `varied`, N values a key.
        scores: (N,) of the validation; runs without one are left out.

    Returns:
        None with fewer than `FEWEST` runs, nothing varied, or scores that are all the same.
    """
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    target = np.array([np.nan if score is None else score for score in scores], float)
    there = np.isfinite(target)
    y = target[there]
    if not settings or len(y) < FEWEST or np.ptp(y) == 0:
        return None
    x = np.stack([_encoded(values)[there] for values in settings.values()], axis=1)
    forest = RandomForestRegressor(TREES, oob_score=True, random_state=0).fit(x, y)
    drops = permutation_importance(forest, x, y, n_repeats=REPEATS, random_state=0).importances_mean
    shares = drops.clip(0) / max(drops.clip(0).sum(), 1e-12)
    ranked = sorted(zip(settings, shares.tolist(), strict=True), key=lambda pair: -pair[1])
    return Importance(dict(ranked), float(forest.oob_score_), len(y))


def axes(settings: Varied, scores: Sequence[float], best_first: Sequence[str]) -> list[Axis]:
    """Return the axes of parallel coordinates: the most important values, then the known scores."""
    shown = [key for key in settings if key in best_first[:AXES]]
    values = np.asarray(scores, float)
    return [
        *(_axis(key, settings[key]) for key in shown),
        _number_axis("validation score", values, logarithmic=False),
    ]


def as_number(value: Any) -> float | None:
    """Return a value or its text as a number; None for others, truth values among them.

    >>> as_number("1e-3"), as_number(True), as_number("adam")
    (0.001, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _shown(key: str, values: Sequence[Any]) -> list[Any]:
    """Return values without persons and paths; those that are then alike get a number."""
    name = key.rpartition(".")[2]
    shown = [privacy.config({name: value}).get(name) for value in values]
    raw = list(dict.fromkeys(map(repr, values)))
    if len(set(map(repr, shown))) == len(raw):
        return shown
    return [f"{in_words(s)} ({raw.index(repr(v)) + 1})" for s, v in zip(shown, values, strict=True)]


def _one_of_those_that_go_together(settings: Varied) -> Varied:
    """Return the first of settings that group the runs in the same way; versions left out."""
    kept: Varied = {}
    seen = set()
    for key, values in settings.items():
        texts = list(map(repr, values))
        pattern = tuple(texts.index(text) for text in texts)
        if key.startswith("version of ") or pattern in seen:
            continue
        if len(set(pattern)) < len(values):  # where each run has its own, they can't be told apart
            seen.add(pattern)
        kept[key] = values
    return kept


def _encoded(values: Sequence[Any]) -> Floats:
    """Return values as numbers for a tree, to which their order alone matters."""
    numbers = [as_number(value) for value in values]
    if all(number is not None for number in numbers):
        return np.array(numbers, float)
    return np.unique([in_words(value) for value in values], return_inverse=True)[1].astype(float)


def _axis(key: str, values: Sequence[Any]) -> Axis:
    """Return an axis of numbers, wide ranges by their logarithm; of other values in even steps."""
    numbers = [as_number(value) for value in values]
    known = np.array([n for n in numbers if n is not None])
    if len(known) == len(values):
        wide = known.min() > 0 and known.max() / known.min() >= WIDE
        return _number_axis(key, known, logarithmic=bool(wide))
    texts, which = np.unique([in_words(value) for value in values], return_inverse=True)
    steps = np.linspace(0, 1, len(texts)) if len(texts) > 1 else np.array([0.5])
    words = [shorten(text, 14) for text in texts.tolist()]
    return Axis(key, steps[which], dict(zip(steps.tolist(), words, strict=True)))


def _number_axis(key: str, values: Floats, *, logarithmic: bool) -> Axis:
    """Return an axis from the smallest to the largest value, with round ones between."""
    low, high = float(values.min()), float(values.max())
    if low == high:
        return Axis(key, np.full(len(values), 0.5), {0.5: f"{low:.3g}"})
    if len(found := np.unique(values)) <= FEW_VALUES:
        marks = found.tolist()
    elif logarithmic:
        decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
        marks = [low, *(d for d in decades.tolist() if low < d < high), high]
    else:
        marks = [low, *(t for t in ticks(low, high) if low < t < high), high]
    scale = np.log10 if logarithmic else np.asarray
    edges = scale(np.array([low, high]))
    places, where = (
        (scale(np.array(v, float)) - edges[0]) / (edges[1] - edges[0]) for v in (values, marks)
    )
    words = [f"{mark:.3g}" for mark in marks]
    return Axis(key, places, _apart(dict(zip(where.tolist(), words, strict=True))))


def _apart(words: dict[float, str]) -> dict[float, str]:
    """Return ticks from 0 to 1 without those whose words would lie on others; the ends stay."""
    kept = {0.0: words[0.0]}
    for place, text in words.items():
        if place == 1.0 or (place - max(kept) >= CLOSE and place <= 1 - CLOSE):
            kept[place] = text
    return kept
