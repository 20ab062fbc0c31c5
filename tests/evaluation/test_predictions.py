"""Tables of predictions, read and pooled."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from medcnn.errors import UserError
from medcnn.evaluation import figures_with_intervals
from medcnn.evaluation.predictions import Predictions, read_predictions
from medcnn.objective import Objective

BINARY = pd.DataFrame(
    {
        "row": [0, 1, 2, 3],
        "patient": ["a", "a", "b", None],
        "split": ["test", "test", "test", "val"],
        "label": ["ill", "ill", "well", None],
        "prob:well": [0.2, 0.4, 0.7, 0.5],
        "prob:ill": [0.8, 0.6, 0.3, 0.5],
        "decision": ["ill", "ill", "well", "well"],
    }
)


def write(table: pd.DataFrame, folder: Path) -> Path:
    table.to_csv(folder / "predictions.csv", index=False)
    return folder / "predictions.csv"


def test_a_binary_file_says_all_but_which_class_is_sought(tmp_path: Path) -> None:
    found = read_predictions(write(BINARY, tmp_path))
    assert (found.task, found.class_names, found.positive) == ("binary", ("well", "ill"), 1)
    assert found.labels.tolist() == found.decisions.tolist() == [1, 1, 0]
    assert found.probs[:, 1].tolist() == [0.8, 0.6, 0.3]
    assert found.patients.tolist() == ["a", "a", "b"]
    assert found.clustered
    assert read_predictions(tmp_path / "predictions.csv", positive="well").positive == 0


def test_unknown_labels_and_patients(tmp_path: Path) -> None:
    found = read_predictions(write(BINARY, tmp_path), split=None)
    assert found.labels.tolist() == [1, 1, 0, -1]
    assert found.known.tolist() == [True, True, True, False]
    assert found.patients[3] == "row 3"
    probs, scores, truth, called, groups = found.versus_rest(1)
    assert probs.tolist() == [0.8, 0.6, 0.3]
    np.testing.assert_allclose(scores, np.log([0.8 / 0.2, 0.6 / 0.4, 0.3 / 0.7]))
    assert truth.tolist() == called.tolist() == [True, True, False]
    assert groups is not None
    assert groups.tolist() == ["a", "a", "b"]


def test_classes_called_none_and_na(tmp_path: Path) -> None:
    table = BINARY.rename(columns={"prob:ill": "prob:None", "prob:well": "prob:NA"})
    table = table.replace({"ill": "None", "well": "NA"})
    found = read_predictions(write(table, tmp_path), split=None)
    assert found.labels.tolist() == [1, 1, 0, -1]
    assert found.decisions.tolist() == [1, 1, 0, 0]


def test_other_tasks_by_their_columns(tmp_path: Path) -> None:
    three = pd.DataFrame(
        {"label": ["c"], "decision": ["a"], "prob:a": [1], "prob:b": [0], "prob:c": [0]}
    )
    assert read_predictions(write(three, tmp_path)).task == "multiclass"
    several = pd.DataFrame(
        {"label:x": [1, None], "label:y": [0, 1], "prob:x": [0.9, 0.5], "prob:y": [0.1, 0.6],
         "decision:x": [1, 0], "decision:y": [0, 1]}
    )  # fmt: skip
    found = read_predictions(write(several, tmp_path))
    assert found.task == "multilabel"
    assert found.labels.tolist() == [[1, 0], [-1, 1]]
    assert found.versus_rest(0).truth.tolist() == [True]
    numbers = pd.DataFrame({"label": [1.5, None], "prediction": [1.0, 2.0]})
    found = read_predictions(write(numbers, tmp_path))
    assert (found.task, found.class_names) == ("regression", ("prediction",))
    assert found.known.tolist() == [True, False]
    two = pd.DataFrame(
        {"label:x": [1.0], "label:y": [2.0], "prediction:x": [3.0], "prediction:y": [4.0]}
    )
    found = read_predictions(write(two, tmp_path))
    assert found.class_names == ("x", "y")
    assert found.probs.tolist() == [[3.0, 4.0]]


def test_patients(tmp_path: Path) -> None:
    found = read_predictions(write(BINARY, tmp_path)).by_patient()
    np.testing.assert_allclose(found.probs, [[0.3, 0.7], [0.7, 0.3]])
    assert found.labels.tolist() == [1, 0] == found.decisions.tolist()
    assert not found.clustered
    most = read_predictions(tmp_path / "predictions.csv").by_patient("max")
    np.testing.assert_allclose(most.probs[0], [0.2, 0.8])
    mixed = BINARY.assign(label=["ill", "well", "well", None])
    with pytest.raises(UserError, match="1 patients have images of different labels"):
        read_predictions(write(mixed, tmp_path)).by_patient()


def test_some_of_them(tmp_path: Path) -> None:
    found = read_predictions(write(BINARY, tmp_path))
    for chosen in (np.array([False, True, True]), np.array([1, 2])):
        part = found.where(chosen)
        assert part.table["row"].tolist() == [1, 2]
        assert part.labels.tolist() == [1, 0]
        assert len(part) == 2


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel", "ordinal"])
def test_without_a_column_decisions_are_those_of_the_objective(task: Any) -> None:
    names = list("ab" if task == "binary" else "abcd")
    probs = torch.rand(50, len(names)).double()
    probs = probs if task == "multilabel" else probs / probs.sum(1, keepdim=True)
    table = pd.DataFrame(probs.numpy(), columns=[f"prob:{name}" for name in names])
    for column in [f"label:{name}" for name in names] if task == "multilabel" else ["label"]:
        table[column] = 1 if task == "multilabel" else "b"
    found = Predictions.of(table, task=task, class_names=names, positive=None)
    assert found.decisions.tolist() == Objective(task, len(names)).decide(probs).tolist()


def test_predictions_made_elsewhere(tmp_path: Path) -> None:
    """Label and probabilities are all it takes; a class called NA is one, an empty cell none."""
    path = tmp_path / "elsewhere.csv"
    rows = ["label, prob:AD, prob:NA", "NA, 0.2, 0.8", "AD, 0.6, 0.4", ", 0.3, 0.7", "NA, 0.9, 0.1"]
    path.write_text("\n".join(rows))
    found = read_predictions(path)
    assert (found.task, found.class_names, len(found)) == ("binary", ("AD", "NA"), 4)
    assert found.labels.tolist() == [1, 0, -1, 1]
    assert found.decisions.tolist() == [1, 0, 1, 0]
    assert figures_with_intervals(found, resamples=10)["accuracy"]["value"] == pytest.approx(2 / 3)
    path.write_text("label,prob:AD,prob:NA,threshold\nNA,0.2,0.8,0.9\nAD,0.6,0.4,0.3\n")
    assert read_predictions(path).decisions.tolist() == [0, 1]


def test_decisions_at_an_operating_point() -> None:
    options: dict[str, Any] = {"task": "binary", "class_names": ["well", "ill"], "positive": 1}
    made = Predictions.of(BINARY, **options)
    assert made.at({"threshold": 0.7}).decisions.tolist() == [1, 0, 0, 0]
    assert made.at(None) is made
    folds = Predictions.of(BINARY.assign(threshold=[0.9, 0.5, 0.2, None]), **options)
    assert folds.at({"threshold": 0.7}).decisions.tolist() == [0, 1, 1, 1]  # each its own
    assert folds.by_patient().decisions.tolist() == [0, 1, 1]  # a: 0.7, below 0.9


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"label": ["sick"] * 4}, "column label: 'sick' is none of the classes well, ill"),
        ({"split": ["train"] * 4}, "holds no prediction of the split test"),
    ],
)
def test_what_does_not_fit(tmp_path: Path, change: dict[str, list[str]], words: str) -> None:
    with pytest.raises(UserError, match=words):
        read_predictions(write(BINARY.assign(**change), tmp_path))


def test_no_such_file_column_class_or_task(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="can't be read"):
        read_predictions(tmp_path / "none.csv")
    with pytest.raises(UserError, match="no column label: it needs prob:<class> of each class and"):
        read_predictions(write(BINARY.drop(columns="label"), tmp_path))
    path = write(BINARY, tmp_path)
    with pytest.raises(UserError, match="positive=sick"):
        read_predictions(path, positive="sick")
    with pytest.raises(UserError, match="task=triage: choose one of"):
        read_predictions(path, task="triage")  # type: ignore[arg-type]


def test_without_patients_each_row_is_one() -> None:
    table = BINARY.drop(columns="patient")
    found = Predictions.of(table, task="binary", class_names=["well", "ill"], positive=1)
    assert len(set(found.patients)) == 4
