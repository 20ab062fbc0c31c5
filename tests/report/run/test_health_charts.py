"""How a training fared, on the page of its run."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fixture_runs import write_run
from html_page import Page

from medcnn.report.run.health import health_charts
from medcnn.report.run.page import write_run_page
from medcnn.report.runs import read_health


def table(waiting: float = 0.05) -> pd.DataFrame:
    """Ten rows, the last one unknown for the second stage."""
    rows = np.arange(10)
    second = np.where(rows < 9, 4e-3, np.nan)
    columns = {"epoch": 1, "step": 50 * rows, "lr": 0.001, "gradient_norm": 2.0 - 0.1 * rows}
    stages = {"update/conv1": 1e-3, "update/conv2": second, "dead/conv1": 0.25, "dead/conv2": 0.0}
    return pd.DataFrame({**columns, **stages, "waiting": waiting, "images_per_second": 80.0})


def test_charts_say_in_words_what_they_show() -> None:
    charts = health_charts(table())
    assert [chart.title for chart in charts] == [
        "step size", "gradient", "dead channels", "waiting for images",
    ]  # fmt: skip
    assert "Step size by stage; at the end conv1 1.0e-03" in charts[0].svg
    assert "lowest 1.1e+00, median 1.6e+00, highest 2.0e+00" in charts[1].svg
    assert "at the end conv1 25.0 %, conv2 0.0 %" in charts[2].svg
    assert ("c", "sound: about 0.001") in charts[0].legend


def test_what_is_not_known_is_not_drawn() -> None:
    frozen = table().drop(columns=["update/conv1", "update/conv2", "dead/conv1", "dead/conv2"])
    frozen["gradient_norm"] = np.nan
    assert [chart.title for chart in health_charts(frozen)] == ["waiting for images"]


@pytest.mark.parametrize("waiting", [0.05, 0.8])
def test_the_page_draws_it_and_says_what_is_wrong(tmp_path: Path, waiting: float) -> None:
    run = write_run(tmp_path / "run", "binary")
    table(waiting).to_csv(run / "health.csv", index=False)
    page = Page(write_run_page(run).read_text(encoding="utf-8"))
    assert "Step by step" in page.text
    said = [line for line in page.of("li") if "waits for its images" in line]
    assert said == (
        ["The net waits for its images 80.0 % of the time: reading and augmenting them is the "
         "bottleneck: more cache.memory, cache.folder on a faster disk, less augment."]
        if waiting == 0.8
        else []
    )  # fmt: skip


def test_a_file_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "health.csv"
    assert read_health(path) is None
    path.write_text("epoch,step\n1,1\n")
    assert read_health(path) is None
    path.write_text("epoch,step,lr,waiting\n1,x,0.1,0.2\n")
    assert read_health(path) is None
