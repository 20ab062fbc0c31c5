"""What is measured of a task, and of what it lacks."""

from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pytest
import torch
from test_evidence import checkpoint

import medcnn
from medcnn.data.prepared.stored import LabelMasks
from medcnn.evidence import Explainer
from medcnn.evidence.finished_parts import Parts
from medcnn.evidence.measurement import Job, measured
from medcnn.evidence.plan import GROUPS, make_plan


@pytest.mark.no_cover
def test_regression_and_multilabel_have_what_fits(tmp_path: Path) -> None:
    run = jobs.train(
        tmp_path / "run", *jobs.PLAIN, "model=lenet", "cam.n=0", "near_duplicates=false",
        trust=[jobs.NUMBERS],
        dataset={"_target_": jobs.NUMBERS, "sizes": [24, 12, 12], "name": "n"},
    )  # fmt: skip
    classifier = medcnn.load(run / "checkpoints" / "best.ckpt", trust=[jobs.NUMBERS])
    from medcnn.explain import main

    cfg = jobs.compose("explain", checkpoint(run), "n=1", "sample=4", "accelerator=cpu")
    content = main(cfg, [jobs.NUMBERS])
    groups = {record["group"] for record in content["scores"]}
    assert groups == {"localisation", "sanity", "stability"}
    why = "a regression has no probabilities"
    assert [note for note in content["notes"] if "left out" in note] == [
        f"reliance left out: {why}",
        f"faithfulness left out: {why}",
    ]
    assert classifier.objective.task == "regression"


def test_several_labels_have_no_lesion_of_their_own(tmp_path: Path) -> None:
    data = jobs.banded(24, "multilabel", masks=torch.ones(36, 28, 28, dtype=torch.bool))
    run = jobs.train(
        tmp_path / "run", *jobs.PLAIN, "model=lenet", "cam.n=0", "near_duplicates=false",
        trust=["jobs.banded"],
        dataset={"_target_": "jobs.banded", "rows": 24, "task": "multilabel", "name": "n"},
    )  # fmt: skip
    classifier = medcnn.load(run / "checkpoints" / "best.ckpt", trust=["jobs.banded"])
    sizes: dict[str, Any] = {"limit": None, "sample": 4, "batch_size": 4}
    explainer, parts = Explainer(classifier, data), Parts(tmp_path / "parts", {})
    plan = make_plan(explainer, "test", ["gradcam"], GROUPS, **sizes)
    assert {group for group, _, _ in plan.steps} == {"faithfulness", "stability", "sanity"}
    assert plan.left_out == [
        "localisation left out: of several labels an image, a mask doesn't say whose it is (name "
        "one a label, dataset.columns.mask=[…])",
        "reliance left out: of several labels an image there is no one decision",
    ]
    table, found = measured([Job(explainer, plan, 4, parts)])
    assert set(table["group"]) == {"faithfulness", "stability", "sanity"}
    assert all(record["class"] is None for record in found)

    marked = torch.zeros(36, 28, 28, dtype=torch.bool)
    marked[:, 3:9, 4:10] = True
    data.masks = LabelMasks([None, marked, ~marked], marked.shape)  # type: ignore[list-item]
    explainer = Explainer(classifier, data)
    rows, labels = explainer.rows_with_lesion("test", 4), data.labels
    there = (data.table["split"] == "test").to_numpy() & (labels[:, 1:] == 1).any(1).numpy()
    assert rows.tolist() == np.flatnonzero(there).tolist()
    truth = [1 if labels[row, 1] == 1 else 2 for row in rows]
    assert explainer.truth(rows).tolist() == truth
    masks = explainer.batch(rows).masks
    assert masks is not None
    assert [bool(mask[4, 5]) for mask in masks] == [label == 1 for label in truth]
    plan = make_plan(explainer, "test", ["gradcam"], ["localisation"], **sizes)
    assert set(measured([Job(explainer, plan, 4, parts)])[0]["row"]) == set(rows.tolist())
