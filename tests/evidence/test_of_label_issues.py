"""The images and maps of labels that may be wrong, by the networks of the folds."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import medcnn
from medcnn import cam
from medcnn.classifier.classifier import Classifier
from medcnn.data.open_data import data_config, open_data
from medcnn.data.samples import Samples
from medcnn.evidence import of_label_issues
from medcnn.evidence.of_label_issues import explain_label_issues
from medcnn.jobs.atomic_files import write_csv


@pytest.fixture(scope="module")
def members(phantom_run: Path) -> list[Classifier]:
    """Two networks that differ."""
    best = phantom_run / "checkpoints" / "best.ckpt"
    first, second = medcnn.load(best), medcnn.load(best)
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in second.net.parameters():  # type: ignore[union-attr]
            weight += 0.1 * torch.randn_like(weight)
    return [first, second]  # type: ignore[list-item]


@pytest.fixture(scope="module")
def samples(members: list[Classifier]) -> Samples:
    import jobs

    settings = data_config(members[0].card["config"], jobs.compose("evaluate"))
    return open_data(settings, [], card=members[0].card, checked=False).samples


def issues_of(samples: Samples, rows: list[int], run: Path) -> pd.DataFrame:
    """A table of issues in folds 0, 1, 0 …; the run's samples.csv is that of `samples`."""
    write_csv(run / "samples.csv", samples.table, index_label="row")
    names = samples.class_names
    labels = [int(samples.labels[row]) for row in rows]
    columns = {
        "row": rows,
        "image": samples.table["image"].iloc[rows].tolist(),
        "fold": [k % 2 for k in range(len(rows))],
        "label": [names[label] for label in labels],
        "suggested": [names[(label + 1) % len(names)] for label in labels],
        "score": 0.1,
    }
    return pd.DataFrame(columns)


def test_maps_of_the_suggestion_and_the_label_by_the_network_of_the_fold(
    members: list[Classifier], samples: Samples, tmp_path: Path
) -> None:
    """Row 5 is gone from the data of today, in which all later rows move up."""
    issues = issues_of(samples, [20, 9, 5], tmp_path)
    today = replace(samples, table=samples.table.drop(5), images=samples.images[no(5, samples)])
    today.masks = samples.masks[no(5, samples)]  # type: ignore[index]
    found = explain_label_issues(issues, tmp_path, members, today, method="gradcam")
    records = json.loads((tmp_path / "cams" / "layers.json").read_text())
    kept = [(one["row"], one["issue"], one["explained"]) for one in records]
    names = [issues.loc[k, column] for k in (0, 1) for column in ("suggested", "label")]
    assert kept == list(zip([20, 20, 9, 9], [0, 0, 1, 1], names, strict=True))
    for record in records:
        member = members[record["issue"]].eval()
        image = samples.images[torch.tensor([record["row"]])].float() / 255
        target = torch.tensor([samples.class_names.index(record["explained"])])
        objective = member.objective
        expected = cam.explain(member.net, member.normalise(image), target, objective=objective)[0]
        assert record["empty"] == (not (expected > 0).any())
        shown = np.asarray(Image.open(tmp_path / "cams" / record["image"]))
        assert np.array_equal(shown, (image[0, 0] * 255).round().byte().numpy())
        if not record["empty"]:
            scaled = (expected.clamp(min=0) / expected.max() * 255).numpy()
            shown = np.asarray(Image.open(tmp_path / "cams" / record["map"])).astype(float)
            np.testing.assert_allclose(shown, scaled, atol=0.51)
    assert found["picture"].tolist()[:2] == ["cams/layers/label-1.png", "cams/layers/label-2.png"]
    assert found["picture"].isna().tolist() == [False, False, True]


def no(row: int, samples: Samples) -> torch.Tensor:
    """All rows but one."""
    return torch.tensor([k for k in range(len(samples)) if k != row])


def test_of_a_net_without_feature_maps_the_images_alone(
    members: list[Classifier], samples: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Classifier, "spatial", False)
    issues = issues_of(samples, list(range(14)), tmp_path)
    found = explain_label_issues(issues, tmp_path, members, samples, method="gradcam")
    assert found["picture"].notna().tolist() == [True] * 12 + [False] * 2  # as many as are shown
    assert found["map"].isna().all()
    assert len(list((tmp_path / "cams" / "layers").iterdir())) == 12
    records = json.loads((tmp_path / "cams" / "layers.json").read_text())
    assert {record["method"] for record in records} == {None}


@pytest.mark.parametrize(
    ("task", "shape", "issue", "targets"),
    [
        ("multiclass", (4, 4), {"suggested": "c", "label": "a"}, [2, 0]),
        ("ordinal", (4, 4, 4), {"suggested": "c", "label": "a"}, [2]),  # a volume: the suggestion
        ("multilabel", (4, 4), {"of": "b", "suggested": "1", "label": "0"}, [1]),
        ("regression", (4, 4), {"of": "b", "suggested": 1.0, "label": 2.0}, [1]),
    ],
)
def test_whose_map_it_is(
    task: str, shape: tuple[int, ...], issue: dict[str, str], targets: list[int]
) -> None:
    columns = ["label"] if task in ("multiclass", "ordinal") else [f"label:{x}" for x in "abc"]
    table = pd.DataFrame({"image": ["x"], "patient": "p", "split": "test"})
    table = table.assign(**dict.fromkeys(columns, 0))
    images = torch.zeros(1, 1, *shape)
    data = Samples("toy", table, images, task, ("a", "b", "c"))  # type: ignore[arg-type]
    assert of_label_issues._targets(data, issue) == targets
