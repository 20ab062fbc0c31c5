"""Tables to figures, and what is kept of a run that was stopped."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.proportion import (  # type: ignore[import-untyped]
    proportion_confint,
)

from medcnn.evidence import scale_of
from medcnn.evidence.finished_parts import Parts
from medcnn.evidence.summary import difference, records, share


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


def test_shares_of_none_and_of_all_are_uncertain() -> None:
    """Of 20 images: 10 patients with two, and each of a patient of its own."""
    table = pd.DataFrame({"row": range(20), "pointing_game": 0.0, "accuracy": 1.0, "iou": 0.2})
    for patients, size in ((np.arange(20) // 2, 10), (np.arange(20), 20)):
        hits, accuracy, iou = records(table, "g", "m", patients, None)
        assert (hits["low"], hits["high"]) == pytest.approx(
            proportion_confint(0, size, 0.05, "wilson")
        )
        assert accuracy["low"] == pytest.approx(proportion_confint(size, size, 0.05, "wilson")[0])
        assert (iou["low"], iou["high"]) == pytest.approx((0.2, 0.2))
        told = {key: hits[key] for key in ("value", "low", "high", "n")}
        assert share(np.zeros(20, bool), patients) == told


def test_scales() -> None:
    assert scale_of("cam", "own") == "signed"
    assert scale_of("gradcam", "own") == "own"
    assert scale_of("gradcam", [0, 0.5]) == (0, 0.5)
