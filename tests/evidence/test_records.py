"""Tables to figures, and what is kept of a run that was stopped."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medcnn.evidence import scale_of
from medcnn.evidence.finished_parts import Parts
from medcnn.evidence.summary import difference, records


def test_parts_of_other_settings_are_not_used(tmp_path: Path) -> None:
    made = []

    def make() -> pd.DataFrame:
        made.append(1)
        return pd.DataFrame({"row": [1], "x": [0.1]})

    for settings in ({"a": (1, 2)}, {"a": (1, 2)}, {"a": (1, 3)}):
        table = Parts(tmp_path / "parts", settings).table("one", make)
        assert table["x"].tolist() == [0.1]
    assert len(made) == 2
    (tmp_path / "parts" / "settings.json").write_text("{")
    Parts(tmp_path / "parts", {"a": (1, 3)}).table("one", make)
    assert len(made) == 3


def test_means_of_a_table() -> None:
    table = pd.DataFrame({"row": range(4), "a": [1.0, 0.0, np.nan, 1.0]})
    found = records(table, "g", "m", ["p", "q", "q", "r"], np.array(["x", "y", "y", "x"]))
    assert [(r["class"], r["value"], r["n"]) for r in found] == [
        (None, pytest.approx(2 / 3), 3),
        ("x", 1.0, 2),
        ("y", 0.0, 1),
    ]
    assert found[2]["low"] is None
    assert all(r["group"] == "g" and r["method"] == "m" and r["score"] == "a" for r in found)
    gain = difference([1, 1, 0], [0, 1, 0], ["p", "q", "r"])
    assert gain["value"] == pytest.approx(1 / 3)
    assert gain["low"] == 0.0


def test_scales() -> None:
    assert scale_of("cam", "own") == "signed"
    assert scale_of("gradcam", "own") == "own"
    assert scale_of("gradcam", [0, 0.5]) == (0, 0.5)
