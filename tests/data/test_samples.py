import pandas as pd
import pytest
import torch

from medcnn.data.samples import MARKER_COLUMNS, Samples, Task
from medcnn.errors import UserError


def table(labels: list[int], splits: str = "train") -> pd.DataFrame:
    count = len(labels)
    return pd.DataFrame(
        {
            "image": [f"{i}.png" for i in range(count)],
            "patient": [f"p{i}" for i in range(count)],
            "split": splits,
            "label": labels,
        }
    )


def samples(frame: pd.DataFrame, task: Task = "binary") -> Samples:
    images = torch.zeros(len(frame), 1, 4, 6, dtype=torch.uint8)
    return Samples("toy", frame, images, task, ("no", "yes"), positive=1)


def test_describes_its_images() -> None:
    toy = samples(table([0, 1, 1]))
    assert len(toy) == 3
    assert toy.in_channels == 1
    assert toy.input_size == (4, 6)


def test_rows_and_labels_follow_the_table() -> None:
    frame = table([0, 1, 1, 0])
    frame["split"] = ["val", "train", "val", "test"]
    frame.index = pd.Index([7, 3, 9, 1])
    toy = samples(frame)
    assert toy.rows("val").tolist() == [0, 2]
    assert toy.labels.tolist() == [0, 1, 1, 0]
    assert toy.labels.dtype == torch.int64


def test_multilabel_has_a_column_for_each_class() -> None:
    frame = table([0, 0]).drop(columns="label")
    frame["label:no"], frame["label:yes"] = [1, 0], [1, 1]
    toy = samples(frame, "multilabel")
    assert toy.label_columns == ["label:no", "label:yes"]
    assert toy.labels.tolist() == [[1, 1], [0, 1]]


def test_empty_split_is_named() -> None:
    with pytest.raises(UserError, match=r"toy: the test split is empty.*'train'"):
        samples(table([0, 1])).rows("test")


def test_label_outside_the_classes() -> None:
    with pytest.raises(UserError, match=r"label 2 in row 1 .*outside 0 … 1 \(1 such rows\)"):
        samples(table([0, 2, 1]))


def test_missing_column() -> None:
    with pytest.raises(UserError, match="lacks column 'patient'"):
        samples(table([0, 1]).drop(columns="patient"))


def test_count_of_images_has_to_fit() -> None:
    with pytest.raises(UserError, match="2 rows in the sample table, but 5 images"):
        Samples("toy", table([0, 1]), torch.zeros(5, 1, 4, 4), "binary", ("no", "yes"))


def test_rows_are_spread_over_the_classes() -> None:
    table = pd.DataFrame({"image": range(12), "patient": range(12), "split": "test"})
    table["label"] = [0] * 6 + [1] * 4 + [2] * 2
    toy = Samples("toy", table, torch.zeros(12, 1, 2, 2), "multiclass", ("a", "b", "c"))
    rows = torch.arange(12)
    assert toy.spread(rows, 6).tolist() == [0, 5, 6, 9, 10, 11]
    assert toy.spread(rows, 2).tolist() == [0, 6]
    assert toy.spread(rows, 100).tolist() == list(range(12))
    assert toy.spread(rows[5:8], 2).tolist() == [5, 6]
    assert toy.spread(rows[:0], 2).tolist() == []


def test_columns_tell_where_a_marker_lies() -> None:
    frame = table([0, 1])
    assert samples(frame).markers is None
    boxes = [[0, 0, 0, 0], [1, 2, 3, 4]]
    frame[list(MARKER_COLUMNS)] = boxes
    markers = samples(frame).markers
    assert markers is not None
    assert markers.tolist() == boxes
