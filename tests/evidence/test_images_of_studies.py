"""Which images, views and channels a classifier's decisions rest on; its weights are known."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from refusals import refused
from scipy.stats import spearmanr
from torch import nn

from medcnn.classifier.classifier import Classifier
from medcnn.data.samples import Samples
from medcnn.data.studies import studies_of
from medcnn.evidence import Explainer, image_measures
from medcnn.evidence.gallery import draw_gallery
from medcnn.evidence.layers import write_layers
from medcnn.evidence.of_run import explain_split
from medcnn.evidence.plan import GROUPS, make_plan
from medcnn.evidence.studies import images_table, importance, rows_with_some_lesion
from medcnn.evidence.study_gallery import study_of_file
from medcnn.nets.aggregators import AGGREGATORS
from medcnn.nets.base import Net, Problem
from medcnn.nets.heads import LinearHead
from medcnn.nets.studies import StudyHead
from medcnn.objective import Objective
from medcnn.report.run.maps import read_layers

VALUES = torch.tensor([0.1, 0.9, 0.2, 0.3, 0.4, 0.8, 0.5, 0.6])  # of the 8 images
STUDIES = ["A", "A", "A", "B", "C", "C", "D", "D"]
VIEWS = ["CC", "MLO", "L", "CC", "CC", "MLO", "CC", "L"]


def samples(**changes: Any) -> Samples:
    """Flat images of two channels, of four studies; the brightest of A and C show lesions."""
    labels = [1, 1, 1, 0, 1, 1, 0, 0]
    table = pd.DataFrame(
        {"image": [f"{k}.png" for k in range(8)], "patient": STUDIES, "study": STUDIES,
         "view": VIEWS, "split": "test", "label": labels}
    )  # fmt: skip
    images = VALUES.view(8, 1, 1, 1).expand(8, 2, 8, 8) * torch.tensor([1, 0.5]).view(2, 1, 1)
    masks = torch.zeros(8, 8, 8, dtype=torch.bool)
    masks[[1, 5], :3, :3] = True
    found = Samples("toy", table, images.contiguous(), "multiclass", ("well", "ill"), masks=masks,
                    intensity_range=(0.0, 1.0), **changes)  # fmt: skip
    found.studies = studies_of(table)
    return found


def classifier(aggregate: str = "mean", channels: int = 2) -> Classifier:
    """The logit of "ill" is the mean over images (or so) of 3 · the first channel's brightness.

    The second channel counts for nothing.
    """
    torch.manual_seed(0)
    first = nn.Conv2d(channels, channels, 1, bias=False)
    first.weight.data = torch.eye(channels).view(channels, channels, 1, 1)
    head = LinearHead(channels, 2)
    head.fc.weight.data = torch.tensor([[0.0, 0.0], [3.0, 0.0]])
    head.fc.bias.data.zero_()
    features = nn.Sequential()
    features.add_module("stage", nn.Sequential(first, nn.ReLU()))
    whole = StudyHead(head, AGGREGATORS[aggregate](channels))
    net = Net("toy", features, whole, Problem(channels, 2, 2, (8, 8)))
    card = {
        "config": {"augment": {}, "batch_size": 3, "trainer": {"precision": "32-true"}},
        "class_names": ["well", "ill"], "positive": 1,
        "in_channels": channels, "input_size": [8, 8], "normalise": "none", "image_spec": None,
        "mean": [0.0] * channels, "std": [1.0] * channels, "whitening": None,
        "studies": {"views": ["CC", "L", "MLO"], "ordered": False},
    }  # fmt: skip
    return Classifier(net, Objective("multiclass", 2), card).eval()


@pytest.fixture
def explainer() -> Explainer:
    return Explainer(classifier("attention"), samples())


def effects_of_a_mean() -> list[float]:
    """3 (h − mean) / (n − 1) in each study."""
    found = []
    for part in VALUES.split([3, 1, 2, 2]):
        found += (3 * (part - part.mean()) / (len(part) - 1 or torch.nan)).tolist()
    return found


def test_the_table_of_images() -> None:
    known = samples()
    mean = Explainer(classifier(), known)
    batch = mean.batch(known.rows("test"))
    assert batch.rows.tolist() == [0, 3, 4, 6]
    table = images_table(mean, batch, torch.ones(4, dtype=torch.int64), ["hirescam"])
    assert table["row"].tolist() == list(range(8))
    assert table["study"].tolist() == STUDIES
    assert table["view"].tolist() == VIEWS
    assert set(table["explained"]) == {"ill"}
    assert "attention" not in table  # the mean has none
    assert table["effect"].to_numpy() == pytest.approx(effects_of_a_mean(), nan_ok=True, abs=1e-6)
    counts = np.array([3, 3, 3, 1, 2, 2, 2, 2])
    expected = 3 * VALUES.numpy() / counts / 64  # of one of 64 pixels of one of n images
    assert table["hirescam"].to_numpy() == pytest.approx(expected)
    assert table["lesion"].tolist() == [k in (1, 5) for k in range(8)]


def test_attention_of_a_net_that_has_it(explainer: Explainer) -> None:
    batch = explainer.batch(explainer.samples.rows("test"))
    assert explainer.attends
    targets = torch.ones(4, dtype=torch.int64)
    found = importance(explainer, batch.images, targets, "attention", batch.context)
    head: Any = explainer.classifier.net.head
    pooled = batch.images.flatten(2).mean(2)
    torch.testing.assert_close(found, head.aggregator.weights(pooled, batch.bag, {}))
    assert [float(part.sum()) for part in found.split([3, 1, 2, 2])] == pytest.approx([1] * 4)


def test_the_most_important_image_shows_the_lesion(explainer: Explainer) -> None:
    rows = rows_with_some_lesion(explainer, "test", 2)
    assert rows.tolist() == [0, 4]
    batch = explainer.batch(rows)
    found = {
        method: image_measures.image_localisation(explainer, batch, method)
        for method in ("leaving_out", "hirescam", "middle")
    }
    hits = {method: table["image_pointing_game"].tolist() for method, table in found.items()}
    assert hits == {"leaving_out": [1, 1], "hirescam": [1, 1], "middle": [1, 1]}
    assert found["middle"]["lesion_images"].tolist() == pytest.approx([1 / 3, 1 / 2])


def test_faithfulness_and_sanity_are_of_each_study() -> None:
    mean = Explainer(classifier(), samples())
    batch = mean.batch(mean.samples.rows("test"))
    good = image_measures.image_faithfulness(mean, batch, "hirescam")
    assert good["image_agreement"][[0, 2, 3]].tolist() == pytest.approx([1, 1, 1])
    assert good["image_agreement"].isna().tolist() == [False, True, False, False]
    assert good["image_deletion"].isna().tolist() == [False, True, False, False]
    # All are decided as ill, so without the bright ones it is less so.
    assert (good["image_deletion"].dropna() >= 0).all()
    assert good["image_deletion"][0] > 0
    attends = Explainer(classifier("attention"), samples())
    batch = attends.batch(attends.samples.rows("test"))
    compared = image_measures.image_faithfulness(attends, batch, "attention")["image_agreement"]
    targets = torch.ones(4, dtype=torch.int64)
    sources = ("attention", "leaving_out")
    weights, effects = (
        importance(attends, batch.images, targets, source, batch.context)[:3] for source in sources
    )
    expected = spearmanr(weights, effects.abs()).statistic
    assert compared[0] == pytest.approx(expected)
    batch = mean.batch(mean.samples.rows("test"))
    itself = image_measures.image_faithfulness(mean, batch, "leaving_out")
    assert "image_agreement" not in itself
    assert itself["image_deletion"].equals(good["image_deletion"])
    sane = image_measures.image_sanity(mean, batch, "leaving_out")
    assert {"randomisation_rank", "cascading_0_head_rank", "independent_1_stage_rank"} <= set(sane)
    assert sane["randomisation_rank"].isna().tolist() == [False, True, False, False]


def test_views_and_channels() -> None:
    mean = Explainer(classifier(), samples())
    batch = mean.batch(mean.samples.rows("test"))
    effects = np.array(effects_of_a_mean())
    views = image_measures.views(mean, batch, "MLO")
    assert list(views) == ["row", "view_effect"]
    expected = [effects[1], np.nan, effects[5], np.nan]
    assert views["view_effect"].tolist() == pytest.approx(expected, nan_ok=True, abs=1e-6)
    first, second = (image_measures.channels(mean, batch, f"channel {k}") for k in range(2))
    means = [float(part.mean()) for part in VALUES.split([3, 1, 2, 2])]
    assert first["removal_effect"].tolist() == pytest.approx([3 * mean for mean in means])
    assert second["removal_effect"].tolist() == pytest.approx([0] * 4)
    assert first["gradient_share"].tolist() == pytest.approx([1] * 4)


def test_the_plan_of_studies(explainer: Explainer) -> None:
    plan = make_plan(explainer, "test", ["gradcam"], "all", limit=None, sample=9, batch_size=2)
    groups: dict[str, list[str | None]] = {}
    for group, method, _ in plan.steps:
        groups.setdefault(group, []).append(method)
    of_images = ["attention", "leaving_out", "gradcam"]
    assert groups == {
        "image_localisation": [*of_images, "middle"],
        "image_faithfulness": of_images,
        "image_sanity": of_images,
        "views": ["CC", "L", "MLO"],
        "channels": ["channel 0", "channel 1"],
    }
    assert not plan.untuned
    assert plan.left_out == [
        "reliance left out: it is of images one by one",
        "stability left out: it is of images one by one",
    ]
    bare = Explainer(classifier(), samples())
    bare.samples.masks = None
    plan = make_plan(bare, "test", ["gradcam"], GROUPS, limit=None, sample=9, batch_size=2)
    assert plan.left_out[0] == (
        "localisation left out: in no study of this split do some images show a known lesion, and "
        "some not"
    )


def test_a_run_ends_with_its_studies(tmp_path: Path) -> None:
    options: dict[str, Any] = {"split": "test", "method": "gradcam", "n": 3}
    scores = explain_split(classifier("attention"), samples(), tmp_path, **options)
    names = ("attention", "leaving_out", "gradcam", "middle")
    assert set(scores) == {f"test/image_pointing_game_{name}" for name in names}
    assert scores["test/image_pointing_game_leaving_out"]["value"] == 1
    assert scores["test/image_pointing_game_leaving_out"]["n"] == 2
    assert np.load(tmp_path / "0.npy").shape == (3, 8, 8)
    records = json.loads((tmp_path / "layers.json").read_text())
    (layers,) = [one for one in read_layers(records, tmp_path, "sample") if one.row == 0]
    (pane,) = layers.panes
    assert pane.note == "study, image 2 of 3"  # the brightest
    assert [place for place, _ in pane.outlines] == [1]


def test_methods_for_single_images_are_refused(explainer: Explainer) -> None:
    with refused("method=scorecam: made for images that are decided on alone"):
        explainer.check("scorecam")
    explainer.check("gradcam")


def test_a_gallery_of_many_images_shows_some(tmp_path: Path) -> None:
    many = samples()
    places = torch.arange(8).repeat(5)
    table = many.table.iloc[places.numpy()].assign(study="A", patient="A", view=None)
    whole = Samples("toy", table, many.images[places], "multiclass", ("well", "ill"),
                    intensity_range=(0.0, 1.0))  # fmt: skip
    whole.studies = studies_of(whole.table)
    one = Explainer(classifier(), whole)
    draw_gallery([(one, whole.rows("test"))], "gradcam", tmp_path / "g.png", tmp_path, 1)
    assert np.load(tmp_path / "0.npy").shape == (40, 8, 8)
    write_layers(one, {"sample": whole.rows("test")}, "gradcam", tmp_path, 1)
    (record,) = json.loads((tmp_path / "layers.json").read_text())
    assert record["planes"][0]["depth"] == 40
    assert len(record["planes"][0]["slices"]) <= 24


def test_the_slices_of_a_file_are_a_study() -> None:
    maps = Explainer(classifier("attention"), samples())
    maps.classifier.card["studies"] = {"views": [], "ordered": True}
    images = samples().images[:3]
    found = study_of_file(maps, images, "gradcam", "v.nii.gz")
    assert found.item.labels == ["slice 0", "slice 1", "slice 2"]
    assert found.item.images[0].captions[1:] == (
        "true: not known", f"predicted: ill {float(found.probs[1]):.2f}",
    )  # fmt: skip
    assert found.decided == 1
    batch = maps.batch(torch.tensor([0]))
    effects = importance(maps, batch.images, torch.tensor([1]), "leaving_out", batch.context)
    assert [one["effect"] for one in found.of_images] == pytest.approx(effects.tolist())
    assert sum(one["attention"] for one in found.of_images) == pytest.approx(1)
    assert [one["empty"] for one in found.of_images] == [False] * 3
