"""What is said of scores that are made up."""

from typing import Any

import numpy as np
import pandas as pd
import torch

from medcnn.data.samples import Samples
from medcnn.evidence.summary import records
from medcnn.evidence.verdicts import verdicts

N = 40


def samples() -> Samples:
    table = pd.DataFrame({"image": range(N), "patient": range(N), "split": "test", "label": 0})
    return Samples("toy", table, torch.zeros(N, 1, 4, 4), "multiclass", ("a", "b"))


def group(name: str, method: str | None = None, **scores: Any) -> pd.DataFrame:
    return pd.DataFrame({"row": range(N), "group": name, "method": method, **scores})


def share(part: float) -> list[float]:
    return (np.arange(N) < part * N).astype(float).tolist()


def localised(**hits: float) -> pd.DataFrame:
    return pd.concat(
        [group("localisation", method, pointing_game=share(part)) for method, part in hits.items()]
    )


def test_methods_against_the_centre() -> None:
    table = localised(good=0.9, same=0.5, bad=0.1, centre=0.5, oracle=1.0)
    more, less, equal = verdicts(table, samples())
    centre = "the centre of the image (50 % of 40 images)"
    assert more.startswith(
        f"The map's maximum lies on the lesion more often than {centre}: good 90"
    )
    assert less.startswith(f"The map's maximum lies on the lesion less often than {centre}: bad 10")
    assert equal.endswith(f"as often as {centre}: same 50 % (0.0 [0.0, 0.0] points).")
    coarse = verdicts(localised(good=0.4, centre=0.1, oracle=0.3), samples())[-1]
    assert "too coarse" in coarse
    assert "30 %" in coarse


def reliance(removed: float, elsewhere: float) -> str:
    columns = {
        "accuracy": share(0.9),
        "accuracy_lesion_removed": share(removed),
        "accuracy_elsewhere_removed": share(elsewhere),
        "accuracy_lesion_only": share(0.5),
    }
    first, second = verdicts(group("reliance", **columns), samples())
    assert first.startswith("Accuracy is 90 % on 40 images with a known lesion")
    return second


def test_accuracies_of_one_sentence_are_of_the_same_images() -> None:
    """Where there is no room elsewhere, an image counts in none of them; nor in the table."""
    columns = {
        "accuracy": np.repeat([1.0, 0.0], [30, 10]),
        "accuracy_lesion_removed": share(0.5),
        "accuracy_elsewhere_removed": np.repeat([1.0, np.nan], [30, 10]),
        "accuracy_lesion_only": share(0.5),
    }
    table = group("reliance", **columns)
    first = verdicts(table, samples())[0]
    assert first.startswith(
        "Accuracy is 100 % on those 30 of 40 images with a known lesion with room to paint over"
    )
    told = records(table[["row", *columns]], "reliance", None, range(40), None)
    assert {record["n"] for record in told} == {30}
    assert told[0]["value"] == 1.0
    nowhere = table.assign(accuracy_elsewhere_removed=np.nan)
    (only,) = verdicts(nowhere, samples())
    assert only.startswith("In none of 40 images with a known lesion is there room")
    assert records(nowhere[["row", *columns]], "reliance", None, range(40), None) == []


def test_right_for_the_right_reason_or_not() -> None:
    assert reliance(0.2, 0.9).startswith("The decision uses the lesion: without it 70.0 [")
    assert reliance(0.2, 0.9).endswith("22 % of the accuracy is left.")
    assert reliance(0.9, 0.9).startswith("The decision does not measurably use the lesion")
    assert reliance(0.9, 0.2).startswith("The decision is disturbed by the lesion")


def test_methods_that_do_not_depend_on_the_net() -> None:
    steady = group("sanity", "steady", randomisation_rank=0.9)
    changing = group("sanity", "changing", randomisation_rank=0.1)
    (said,) = verdicts(pd.concat([steady, changing]), samples())
    assert said.startswith("The map of steady hardly changes")
    assert verdicts(group("sanity", "one_stage", cascading_0_head_rank=0.9), samples()) == []


def test_nothing_to_say() -> None:
    assert verdicts(pd.DataFrame({"row": []}), samples()) == []
    assert verdicts(group("stability", "gradcam", noise_stability=1.0), samples()) == []
