"""What is looked at before a training."""

import jobs
import pytest

from medcnn.training.checks import counted_twice

BALANCED, ADJUSTED, WEIGHTS = (
    "sampler=balanced", "loss=logit_adjusted", "objective.class_weights=[1,9]",
)  # fmt: skip


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ((BALANCED, ADJUSTED), ("sampler=none", "loss=auto")),
        ((BALANCED, WEIGHTS), ("sampler=none", "objective.class_weights=null")),
        ((ADJUSTED, WEIGHTS), ("loss=auto", "objective.class_weights=null")),
    ],
)
def test_rare_classes_that_count_twice(chosen: tuple[str, ...], said: tuple[str, ...]) -> None:
    for one in (*chosen, "sampler.per_patient=2"):
        assert counted_twice(jobs.compose("train", one)) is None
    line = counted_twice(jobs.compose("train", *chosen))
    assert line is not None
    assert line.startswith(" and ".join(chosen).replace(",", ", ") + " each make up for rare")
    assert line.endswith(f"(without the others: {', '.join(said)})")
    assert counted_twice(jobs.compose("train", "loss=auc_margin", BALANCED)) is None
