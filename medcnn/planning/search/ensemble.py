"""An ensemble of the best trials, put together by its validation score."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medcnn.classifier.chosen_on_validation import operating_point
from medcnn.classifier.classifier import Classifier
from medcnn.classifier.ensemble import load_members, write_ensemble
from medcnn.errors import UserError
from medcnn.evaluation import evaluate, score
from medcnn.evaluation.columns import TEXT
from medcnn.evaluation.few_images import too_rare_to_rank
from medcnn.evaluation.of_tables import predictions_of
from medcnn.evaluation.predictions import Predictions
from medcnn.inference.tta import mirrored_axes_of
from medcnn.jobs.atomic_files import read_csv
from medcnn.jobs.rundir import RunDir

ROUNDS = 10  # members at most, each as often as it was chosen
Floats = NDArray[np.floating[Any]]
Score = tuple[float, float]  # the validation score, and what decides where it is the same


def greedy(probs: Sequence[Floats], judge: Callable[[Floats], Score]) -> list[int]:
    """Return members whose mean is judged best, with repetition: their places in `probs`.

    R. Caruana et al., "Ensemble selection from libraries of models", 2004: begin with nothing, add
    whichever member makes the mean best, and do so again; each may come again, which gives it more
    weight. Of the ensembles on that way the best one is kept, and of equals the smallest.

    Args:
        probs: Of each candidate, of the same images.
        judge: Higher is better.
    """
    chosen: list[int] = []
    found: list[tuple[Score, int]] = []
    total = np.zeros_like(probs[0])
    for count in range(1, ROUNDS + 1):
        judged = [judge((total + one) / count) for one in probs]
        best = max(range(len(probs)), key=lambda k: judged[k])
        chosen.append(best)
        total = total + probs[best]
        found.append((judged[best], -count))
    return chosen[: -max(found)[1]]


def write_best_ensemble(
    folder: Path, runs: Sequence[RunDir], rule: str, trust: list[str]
) -> dict[str, Any] | None:
    """Choose an ensemble of trials, and write ``ensemble.json`` into a folder above them.

    Args:
        folder: Of the search.
        runs: Trials with a checkpoint, which were tested on the validation split.
        rule: Of the threshold of the mean.
        trust: Names that the configs may hold beside medcnn's own.

    Returns:
        How often each member counts, by the name of its folder, and the validation ``score`` of the
        mean; None where no ensemble is better than one trial, or they don't go together.
    """
    if len(runs) < 2:
        return None
    try:
        _, members, _ = load_members(None, [run.weights for run in runs], trust)
        axes = mirrored_axes_of(None, members)
    except UserError:  # such as of other images, or no command could look as each of them did
        return None
    tables = [
        predictions_of(read_csv(run / "predictions.csv", TEXT), member.card)
        for run, member in zip(runs, members, strict=True)
    ]
    first, judge = members[0], _judge(members[0], tables[0])
    chosen = greedy([one.probs for one in tables], judge)
    if len(set(chosen)) < 2:
        return None
    mean = np.mean([tables[k].probs for k in chosen], axis=0)
    labels, choices = torch.tensor(tables[0].labels), {}
    if first.objective.task in ("binary", "multilabel"):
        with suppress(UserError):  # a class that the rule needs is absent
            names = first.card["class_names"]
            point = operating_point(first.objective, torch.from_numpy(mean), labels, rule, names)
            kind = "mirrored" if axes else "operating_points"
            choices = {kind: {"none": point | {"chosen_on": "val"}}}
    write_ensemble(folder, [runs[k].weights for k in sorted(chosen)], choices)
    times = {runs[k].path.name: chosen.count(k) for k in sorted(set(chosen))}
    return {"members": times, "score": judge(mean)[0]}


def _judge(classifier: Classifier, table: Predictions) -> Callable[[Floats], Score]:
    """Return what gives the validation score of probabilities, as a training has it."""
    objective = classifier.objective
    few = too_rare_to_rank(torch.tensor(table.labels), objective.task, table.class_names)

    def judge(probs: Floats) -> Score:
        decisions = objective.decide(torch.from_numpy(probs)).numpy()
        figures = evaluate(
            probs,
            table.labels,
            decisions,
            task=table.task,
            class_names=table.class_names,
            positive=table.positive,
        )
        known = [figures[name]["value"] for name in ("log_loss", "rmse") if name in figures]
        loss = float("inf") if not known or known[0] is None else float(known[0])
        return round(score(figures, objective.monitor, loss, few), 6), -loss

    return judge
