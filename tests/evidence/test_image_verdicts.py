"""What is said of images, views and channels, of scores that are made up."""

from typing import Any

import numpy as np
import pandas as pd
import torch

from medcnn.data.samples import Samples
from medcnn.evidence.channels import channel_groups
from medcnn.evidence.study_gallery import MOST, labels_of, shown_of
from medcnn.evidence.verdicts import verdicts

N = 40


def samples() -> Samples:
    table = pd.DataFrame({"image": range(N), "patient": range(N), "split": "test", "label": 0})
    return Samples("toy", table, torch.zeros(N, 1, 4, 4), "multiclass", ("a", "b"))


def group(name: str, method: str, **scores: Any) -> pd.DataFrame:
    return pd.DataFrame({"row": range(N), "group": name, "method": method, **scores})


def share(part: float) -> list[float]:
    return (np.arange(N) < part * N).astype(float).tolist()


def test_what_finds_the_image_with_the_lesion() -> None:
    hits = {"attention": 0.9, "leaving_out": 0.1, "gradcam": 0.2, "middle": 0.2}
    parts = [
        group("image_localisation", name, image_pointing_game=share(hit), lesion_images=0.125)
        for name, hit in hits.items()
    ]
    more, less, same = verdicts(pd.concat(parts), samples())
    middle = "the middle image (20 % of 40 studies; an image at random: 12 %)"
    assert more.startswith(
        f"The most important image shows the lesion more often than {middle}: attention 90 % (70.0"
    )
    assert less.startswith(
        f"The most important image shows the lesion less often than {middle}: leaving out 10 %"
    )
    assert same.endswith(f"as often as {middle}: gradcam 20 % (0.0 [0.0, 0.0] points).")


def test_attention_alone_is_no_evidence() -> None:
    draw = np.random.default_rng(0)
    parts = [
        group("image_faithfulness", "attention", image_agreement=draw.normal(0.5, 0.1, N)),
        group("image_faithfulness", "leaving_out", image_agreement=np.nan),
        group("image_faithfulness", "gradcam", image_agreement=draw.normal(0, 0.1, N)),
    ]
    agrees, not_so = verdicts(pd.concat(parts), samples())
    assert agrees.startswith("Without the images that attention ranks higher the score of the")
    assert "class changes more (mean rank correlation in a study 0.49 [0." in agrees
    assert "n = 40" in agrees
    assert not_so.startswith(
        "Without the images that gradcam ranks higher the score of the decided"
    )
    assert "doesn't measurably fall more" in not_so
    assert not_so.endswith("by itself this is no evidence of what the decision rests on.")


def test_importance_that_random_weights_give_too() -> None:
    table = group("image_sanity", "attention", randomisation_rank=0.9)
    (found,) = verdicts(table, samples())
    assert found.startswith("The order of a study's images by attention hardly changes")
    assert verdicts(group("image_sanity", "attention", randomisation_rank=0.1), samples()) == []


def test_channels_and_views_that_the_decision_rests_on() -> None:
    draw = np.random.default_rng(0)
    effects = {"t1": 0.0, "t2": 1.0, "flair": 3.0}
    parts = [
        group("channels", name, removal_effect=draw.normal(mean, 0.5, N), gradient_share=0.3)
        for name, mean in effects.items()
    ]
    falls, rest = verdicts(pd.concat(parts), samples())
    assert falls.startswith("The score of the decided class falls without these channels: flair")
    assert falls.index("flair") < falls.index("t2")
    assert rest.startswith("It doesn't measurably fall without these channels: t1")
    views = pd.concat(
        [group("views", "CC", view_effect=1.0), group("views", "L", view_effect=np.nan)]
    )
    assert verdicts(views, samples()) == [
        "The score of the decided class falls without these views: CC 1.00 [1.00, 1.00]."
    ]


def test_channels_by_name() -> None:
    assert channel_groups({"in_channels": 3, "image_spec": None}) == {"image": [0, 1, 2]}
    spec = {"size": [8, 8], "columns": ["slide", "t1"], "channels": [3, 1],
            "missing_channel": "zero", "mask_as": "channel"}  # fmt: skip
    assert channel_groups({"in_channels": 7, "image_spec": spec}) == {
        "slide": [0, 1, 2, 4],
        "t1": [3, 5],
        "mask": [6],
    }
    alone = {"size": [8, 8], "columns": [], "channels": [1], "mask_as": "channel"}
    assert channel_groups({"in_channels": 2, "image_spec": alone}) == {"image": [0], "mask": [1]}


def test_of_many_images_the_most_important_are_shown() -> None:
    maps, effect = torch.zeros(300, 2, 2), torch.zeros(300)
    maps[201, 0, 0], effect[10], effect[0] = 1, 5, torch.nan
    attention = torch.arange(300.0)
    places = shown_of(maps, {"attention": attention, "effect": effect}).tolist()
    assert {10, 201, 299} <= set(places)
    assert sorted(set(places)) == places
    assert MOST - 2 <= len(places) <= MOST
    assert shown_of(maps[:5], {}).tolist() == [0, 1, 2, 3, 4]


def test_labels_of_images() -> None:
    table = pd.DataFrame({"view": [None, None], "slice": [3, 4.0]})
    assert labels_of(table) == ["slice 3", "slice 4"]
    assert labels_of(table[[]]) == ["image 1", "image 2"]
