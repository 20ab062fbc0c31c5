import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from medcnn.errors import UserError
from medcnn.report.pages import TEMPLATES
from medcnn.report.pictures.training_curves import curves


def drawn(table: pd.DataFrame, folder: Path, figures: list[Figure]) -> list[Axes]:
    """Return the axes that curves() draws for a table."""
    table.to_csv(folder / "metrics.csv", index=False)
    curves(folder / "metrics.csv", folder / "curves.png")
    return figures[-1].axes


def lines(axes: Axes) -> dict[str, list[list[float]]]:
    return {str(line.get_label()): np.asarray(line.get_data()).tolist() for line in axes.lines}


def full() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "epoch": [0, 1, 2, 3],
            "train/loss": [0.9, 0.6, 0.4, 0.3],
            "val/loss": [0.8, 0.5, 0.6, 0.7],
            "val/auroc": [0.7, 0.8, 0.9, 0.9],
            "val/score": [0.7, 0.8, 0.9, 0.9],
            "lr": [0.1, 0.1, 0.1, 0.1],
        }
    )


def test_picture(tmp_path: Path) -> None:
    full().to_csv(tmp_path / "metrics.csv", index=False)
    out = tmp_path / "deep" / "curves.png"
    curves(tmp_path / "metrics.csv", out)
    assert Image.open(out).size == (1200, 450)
    assert [path.name for path in out.parent.iterdir()] == ["curves.png"]


def test_lines_and_best_epoch(tmp_path: Path, figures: list[Figure]) -> None:
    loss, auroc = drawn(full(), tmp_path, figures)
    assert lines(loss)["training"] == [[0, 1, 2, 3], [0.9, 0.6, 0.4, 0.3]]
    assert lines(loss)["validation"] == [[0, 1, 2, 3], [0.8, 0.5, 0.6, 0.7]]
    assert lines(loss)["best epoch: 2"][0] == [2, 2]
    assert lines(auroc)["validation"] == [[0, 1, 2, 3], [0.7, 0.8, 0.9, 0.9]]
    assert lines(auroc)["best epoch: 2, AUROC 0.900"][0] == [2, 2]


def test_colours_are_those_of_the_page(tmp_path: Path, figures: list[Figure]) -> None:
    style = (TEMPLATES / "_run.css.j2").read_text()
    blue, orange = (re.findall(rf"--{name}: (#\w+)", style)[0] for name in ("blue", "orange"))
    loss, auroc = (
        {line.get_label(): line.get_color() for line in axes.lines}
        for axes in drawn(full(), tmp_path, figures)
    )
    assert (loss["training"], loss["validation"], auroc["validation"]) == (orange, blue, blue)


def test_rows_with_gaps(tmp_path: Path, figures: list[Figure]) -> None:
    """A logger writes training and validation in rows of their own, and one without an epoch."""
    train, rest = full()[["epoch", "train/loss"]], full().drop(columns="train/loss")
    rest.loc[1, "val/auroc"] = np.nan
    table = pd.concat([rest, train, pd.DataFrame({"lr": [0.1]})])
    loss, auroc = drawn(table, tmp_path, figures)
    assert lines(loss)["training"] == [[0, 1, 2, 3], [0.9, 0.6, 0.4, 0.3]]
    assert lines(auroc)["validation"] == [[0, 2, 3], [0.7, 0.9, 0.9]]


def test_what_is_not_recorded(tmp_path: Path, figures: list[Figure]) -> None:
    table = full().drop(columns="val/auroc")
    table["val/score"] = -table["val/loss"]
    loss, auroc = drawn(table, tmp_path, figures)
    assert "best epoch: 1" in lines(loss)
    assert "not recorded" not in [text.get_text() for text in loss.texts]
    assert [line for line in lines(auroc) if "AUROC" in line] == []
    loss, auroc = drawn(full()[["epoch", "train/loss"]][:1], tmp_path, figures)
    assert list(lines(loss)) == ["training"]
    assert [text.get_text() for text in auroc.texts] == ["not recorded"]
    assert [tick for tick in loss.get_xticks() if tick != round(tick)] == []


def test_a_regression_shows_what_was_monitored(tmp_path: Path, figures: list[Figure]) -> None:
    table = full().rename(columns={"val/auroc": "val/r2"})
    table["val/r2"] = table["val/score"] = [-3.0, 0.2, 0.1, 0.0]
    _, monitored = drawn(table, tmp_path, figures)
    assert monitored.get_title() == "R² (validation)"
    assert lines(monitored)["validation"] == [[0, 1, 2, 3], [-3.0, 0.2, 0.1, 0.0]]
    assert lines(monitored)["best epoch: 1, R² 0.200"][0] == [1, 1]


def test_bad_input(tmp_path: Path) -> None:
    path, out = tmp_path / "metrics.csv", tmp_path / "curves.png"
    for content in (None, "", "step,val/loss\n1,2\n", "epoch,val/loss\n1,\n2,oops\n"):
        if content is not None:
            path.write_text(content)
        with pytest.raises(UserError, match=r"metrics\.csv can't be read, or holds no number"):
            curves(path, out)
    assert not out.exists()
