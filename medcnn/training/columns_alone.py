"""Models of the columns alone, without images: what the images of a fused net have to add to."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medcnn.classifier.chosen_on_validation import operating_point
from medcnn.classifier.classifier import Card, Classifier
from medcnn.data.samples import Samples
from medcnn.errors import UserError
from medcnn.inference.results import write_results
from medcnn.jobs.rundir import COLUMNS_ALONE, RunDir
from medcnn.jobs.settings.commands import Train
from medcnn.objective import Objective, known


@dataclass(frozen=True)
class Alone:
    """What `write_results` asks of a classifier, of a model of the columns."""

    objective: Objective
    card: Card
    operating_point: dict[str, Any] | None
    calibration: str = "none"


def write_columns_alone(
    cfg: Train, run: RunDir, samples: Samples, classifier: Classifier, split: str
) -> dict[str, Any]:
    """Fit models of the columns to the training split, and write a run directory of each.

    These are ``columns-linear`` (logistic regression, or ridge in a regression) and
    ``columns-boosting`` (gradient boosting on histograms), scikit-learn's with its own settings, in
    the run's folder. ``python -m medcnn.report runs=[RUN,RUN/columns-linear]`` compares them.

    Args:
        cfg: Of the training.
        run: Of the net that takes the columns.
        samples: Its data.
        classifier: It, for the meaning of the labels.
        split: What is tested.

    Returns:
        For metrics.json the figure that epochs are chosen by, by
        ``<split>/columns-linear/<figure>``.
    """
    splits, monitor = list(dict.fromkeys(["val", split])), classifier.objective.monitor
    rows = torch.cat([samples.rows(name) for name in splits]).sort().values
    metrics = {}
    for name in COLUMNS_ALONE:
        probs = probs_of(name.removeprefix("columns-"), samples, rows, cfg.seed)
        collected = {"row": rows, "label": samples.labels[rows], "probs": probs}
        chosen = _operating_point(cfg, samples, classifier.objective, collected)
        card = {**classifier.card, "choices": {"chosen_on": "val"}}
        model: Any = Alone(classifier.objective, card, chosen)
        own = RunDir(run / name)
        with own.claimed(overwrite=True):
            written = write_results(
                own,
                samples,
                model,
                collected,
                cfg.aggregate,
                split=split,
                evaluation=cfg.evaluation.plain(),
                notes=["Of the columns alone, without images."],
            )
            own.set_status("finished")
        metrics[f"{split}/{name}/{monitor}"] = written[f"{split}/{monitor}"]
    return metrics


def _operating_point(
    cfg: Train, samples: Samples, objective: Objective, collected: dict[str, Tensor]
) -> dict[str, Any] | None:
    """Return the threshold chosen on the validation split as that of a net is, if there can be."""
    if objective.task not in ("binary", "multilabel"):
        return None
    val = (samples.table["split"] == "val").to_numpy()[collected["row"].numpy()]
    probs, labels = (collected[key][torch.from_numpy(val)] for key in ("probs", "label"))
    with suppress(UserError):  # a class that isn't there
        rule = cfg.evaluation.operating_point
        return operating_point(objective, probs, labels, rule, samples.class_names)
    return None


def probs_of(kind: str, samples: Samples, rows: Tensor, seed: int) -> Tensor:
    """Return the probabilities (n, K) float64 of rows (n,), of a model of the training split.

    In regression predictions. A class that the training split lacks has the probability 0, and one
    label of several that it knows of no image the share ½.

    Args:
        kind: linear or boosting.
        samples: With `Samples.feature_values`.
        rows: Of the sample table.
        seed: Of what is random.
    """
    assert samples.feature_values is not None
    inputs, train = samples.feature_values.double().numpy(), samples.rows("train").numpy()
    labels, there = samples.labels.numpy(), known(samples.labels).numpy()
    asked, count = inputs[rows.numpy()], len(samples.class_names)
    if labels.ndim == 1:
        used = train[there[train]]
        return torch.from_numpy(_probs(kind, inputs[used], labels[used], asked, count, seed))
    columns = []
    for k in range(count):
        used = train[there[train, k]]
        given = inputs[used], labels[used, k]
        if samples.task == "multilabel":
            columns.append(_probs(kind, *given, asked, 2, seed)[:, -1])
        else:
            columns.append(_model(kind, True, seed).fit(*given).predict(asked))
    return torch.from_numpy(np.stack(columns, 1))


def _probs(
    kind: str,
    inputs: NDArray[np.float64],
    labels: NDArray[Any],
    asked: NDArray[np.float64],
    count: int,
    seed: int,
) -> NDArray[np.float64]:
    """Return probabilities (n, count) of a classifier fitted to inputs and labels."""
    probs, classes = np.zeros((len(asked), count)), np.unique(labels)
    if len(classes) == 0:
        return probs + 1 / count
    if len(classes) == 1:
        probs[:, classes] = 1
        return probs
    model = _model(kind, False, seed).fit(inputs, labels)
    probs[:, model.classes_] = model.predict_proba(asked)
    return probs


def _model(kind: str, regression: bool, seed: int) -> Any:
    """Return scikit-learn's model, linear or boosting, of classes or of a number."""
    from sklearn import ensemble, linear_model

    if regression:
        boosting = ensemble.HistGradientBoostingRegressor(random_state=seed)
        return linear_model.Ridge() if kind == "linear" else boosting
    if kind == "linear":
        return linear_model.LogisticRegression(max_iter=1000)
    return ensemble.HistGradientBoostingClassifier(random_state=seed)
