"""The scores of a classifier's maps, on data whose evidence is known."""

import json
import shutil
from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pandas as pd
import pytest
import torch

import medcnn
from medcnn.cam import METHODS, explain, pointing_hits
from medcnn.cam.scores import Froc, candidates
from medcnn.data.open_data import make_source
from medcnn.data.samples import Samples
from medcnn.errors import UserError
from medcnn.evaluation.proportions import proportion_interval
from medcnn.evidence import Explainer
from medcnn.evidence.plan import GROUPS
from medcnn.evidence.summary import FALSE_POSITIVES

ALL = ("methods=[gradcam,hirescam]", "sample=6", "n=2", "batch_size=4")


@pytest.fixture(scope="module")
def samples(phantom_run: Path) -> Samples:
    return make_source(jobs.checkpoint(phantom_run)["medcnn"]["config"]["dataset"])


@pytest.fixture(scope="module")
def explained(phantom_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All scores of two methods on the phantom."""
    folder = tmp_path_factory.mktemp("evidence") / "out"
    jobs.explain(checkpoint(phantom_run), f"output='{folder}'", *ALL)
    return folder


def checkpoint(run: Path, name: str = "best") -> str:
    return f"checkpoint='{run / 'checkpoints' / f'{name}.ckpt'}'"


def read(folder: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    return pd.read_csv(folder / "scores.csv"), json.loads((folder / "scores.json").read_text())


def find(content: dict[str, Any], **wanted: Any) -> dict[str, Any]:
    """The one record with these values."""
    (found,) = [r for r in content["scores"] if all(r[key] == wanted[key] for key in wanted)]
    return found


def test_all_groups_are_there(explained: Path, samples: Samples) -> None:
    table, content = read(explained)
    groups = set(GROUPS) - {"shortcut", "views", "channels"}  # these films have none of them
    assert set(table["group"]) == groups
    assert {record["group"] for record in content["scores"]} == groups
    assert not (explained / "parts").exists()
    lesions = [r for r in samples.rows("test").tolist() if samples.masks[r].any()]
    part = table[table["group"] == "localisation"]
    assert set(part["method"]) == {
        *("gradcam", "hirescam"),
        *("random", "centre", "edges", "intensity", "oracle"),
    }
    assert part.groupby("method")["row"].apply(sorted).map(lambda rows: rows == lesions).all()
    assert content["settings"]["methods"] == ["gradcam", "hirescam"]
    assert len(content["notes"]) >= 3
    assert "<html" in (explained / "index.html").read_text()


def test_localisation_is_that_of_the_maps(
    explained: Path, phantom_run: Path, samples: Samples
) -> None:
    """Pointing game and FROC anew, from the maps; the interval over patients."""
    table, content = read(explained)
    classifier = medcnn.load(phantom_run / "checkpoints" / "best.ckpt")
    part = table[(table["group"] == "localisation") & (table["method"] == "hirescam")]
    rows = torch.tensor(part["row"].to_numpy())
    images = classifier.normalise(samples.images[rows].float() / 255)
    maps = explain(
        classifier.net, images, samples.labels[rows], method="hirescam",
        objective=classifier.objective,
    )  # fmt: skip
    masks = samples.masks[rows]
    hits = pointing_hits(maps, masks).double().numpy()
    assert part["pointing_game"].tolist() == hits.tolist()
    patients = samples.table["patient"].to_numpy()[rows.numpy()]
    record = find(content, method="hirescam", score="pointing_game", **{"class": None})
    got = (record["value"], record["low"], record["high"])
    assert got == pytest.approx(proportion_interval(hits, patients))
    recall = Froc(candidates(maps, masks)).recall(FALSE_POSITIVES)
    for rate, expected in zip(FALSE_POSITIVES, recall, strict=True):
        score = {"score": f"recall_at_{rate:g}", "class": None}
        record = find(content, method="hirescam", **score)
        assert record["value"] == pytest.approx(expected)
        assert record["low"] <= record["value"] <= record["high"]
    by_class = find(content, method="hirescam", score="pointing_game", **{"class": "nodule"})
    nodules = (samples.labels[rows] == 1).numpy()
    assert by_class["value"] == pytest.approx(hits[nodules].mean())
    assert by_class["n"] == nodules.sum()


def test_the_threshold_comes_from_the_validation_split(
    explained: Path, phantom_run: Path, samples: Samples
) -> None:
    table, _ = read(explained)
    classifier = medcnn.load(phantom_run / "checkpoints" / "best.ckpt")
    explainer = Explainer(classifier, samples)

    def ious(split: str, threshold: float) -> np.ndarray:
        batch = explainer.batch(explainer.rows_with_lesion(split, 8))
        maps = explainer.maps(batch, explainer.truth(batch.rows), "gradcam")
        peaks = maps.flatten(1).amax(1)[:, None, None]
        marked = (maps > 0) & (maps.clamp(min=0) / peaks >= threshold)
        both = (marked & batch.masks).flatten(1).sum(1).double()
        either = (marked | batch.masks).flatten(1).sum(1).double()
        return (both / either).numpy()

    levels = [k / 20 for k in range(1, 20)]
    best = max(levels, key=lambda level: ious("val", level).mean())
    part = table[(table["group"] == "localisation") & (table["method"] == "gradcam")]
    assert part["iou"].to_numpy() == pytest.approx(ious("test", best))


def test_reliance_compares_the_same_images(explained: Path, samples: Samples) -> None:
    table, content = read(explained)
    part = table[table["group"] == "reliance"]
    assert part["method"].isna().all()
    for suffix in ("", "_lesion_removed", "_lesion_only"):
        assert part[f"accuracy{suffix}"].isin([0, 1]).all()
        assert part[f"prob{suffix}"].between(0, 1).all()
    value = find(content, score="accuracy", **{"class": None})["value"]
    comparable = part[[c for c in part if c.startswith("accuracy")]].notna().all(axis=1)
    assert value == pytest.approx(part["accuracy"][comparable].mean())
    assert any(note.startswith("Accuracy is") for note in content["notes"])


def test_a_stopped_run_goes_on(
    explained: Path, phantom_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was done is not done again, and the outcome is that of a run in one go."""
    from medcnn.evidence import measures

    whole = measures.stability
    calls: list[str] = []

    def interrupted(**given: Any) -> pd.DataFrame:
        calls.append("stability")
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(**given)

    monkeypatch.setattr(measures, "stability", lambda explainer, **given: interrupted(
        explainer=explainer, **given))  # fmt: skip
    out = f"output='{tmp_path}'"
    with pytest.raises(KeyboardInterrupt, match="the same command"):
        jobs.explain(checkpoint(phantom_run), out, *ALL)
    assert not (tmp_path / "scores.json").exists()
    kept = len(list(tmp_path.rglob("parts/*/*.csv")))
    assert kept > 10

    def done_already(*given: Any, **options: Any) -> pd.DataFrame:
        raise AssertionError("this was measured before")

    monkeypatch.setattr(measures, "localisation", done_already)
    jobs.explain(checkpoint(phantom_run), out, *ALL)
    assert (tmp_path / "scores.json").read_text() == (explained / "scores.json").read_text()
    assert len(calls) == 5  # one part before, one that was stopped, three after


def test_methods_that_do_not_fit_are_named(phantom_run: Path, tmp_path: Path) -> None:
    """LeNet has no class weights and no ReLU; all=all takes the others."""
    content = jobs.explain(
        checkpoint(phantom_run), f"output='{tmp_path}'", "methods=all", "n=0", "scores=[]"
    )
    left = {"cam", "guided_backprop"}
    assert content["settings"]["methods"] == [m for m in METHODS if m not in left]
    assert [note.split(":")[1] for note in content["notes"]] == [
        " method=cam",
        " method=guided_backprop",
    ]


def test_marker_and_seeds_and_random_labels(tmp_path: Path) -> None:
    """The phantom's marker; another seed's maps; and those of a net trained on shuffled labels."""
    film = (*jobs.QUICK, "dataset.shortcut=0.95", "trainer.max_epochs=1")
    run = jobs.train(tmp_path / "run", *film)
    other = jobs.train(tmp_path / "other", *film, "seed=1")
    mixed = jobs.train(tmp_path / "mixed", *film, "shuffle_labels=true")
    truth, shuffled = (pd.read_csv(folder / "samples.csv") for folder in (run, mixed))
    train = truth["split"] == "train"
    assert (truth["label"] == shuffled["label"])[~train].all()
    assert (truth["label"] != shuffled["label"])[train].mean() > 0.3
    assert sorted(truth["label"][train]) == sorted(shuffled["label"][train])
    content = jobs.explain(
        checkpoint(run),
        f"seeds=['{other / 'checkpoints' / 'best.ckpt'}']",
        f"random_labels='{mixed / 'checkpoints' / 'last.ckpt'}'",
        f"output='{tmp_path / 'out'}'",
        "n=0",
        "sample=6",
        "scores=[stability,sanity,shortcut]",
    )
    scores = {record["score"] for record in content["scores"]}
    assert {"marker_energy", "marker_area", "seed_agreement", "noise_stability"} <= scores
    assert {"label_randomisation_rank", "label_randomisation_ssim"} <= scores
    samples = make_source(jobs.checkpoint(run)["medcnn"]["config"]["dataset"])
    test = samples.table[samples.table["split"] == "test"]
    marked = test[test["marker"] == 1]
    area = (marked["marker_bottom"] - marked["marker_top"]) * (
        marked["marker_right"] - marked["marker_left"]
    )
    record = find(content, method="gradcam", score="marker_area", **{"class": None})
    assert record["n"] == len(marked)
    assert record["value"] == pytest.approx((area / 28**2).mean())


@pytest.mark.no_cover
def test_folds_are_pooled(tmp_path: Path) -> None:
    """Each image is explained by the net that never saw it."""
    run = jobs.train(tmp_path / "run", *jobs.QUICK, "fold=all", "folds=2", "trainer.max_epochs=1")
    content = jobs.explain(f"checkpoint='{run}'", "n=3", "scores=[localisation]", "batch_size=8")
    folder = run / "cams" / "phantom-test"
    table = pd.read_csv(folder / "scores.csv")
    own = table[table["method"] == "gradcam"]["row"]
    samples = make_source(jobs.checkpoint(run / "fold-0")["medcnn"]["config"]["dataset"])
    official = samples.table["split"] == "test"  # stays out of the folds
    lesions = [row for row in range(len(samples)) if samples.masks[row].any() and not official[row]]
    assert sorted(own) == lesions
    assert len(list((folder / "maps" / "gradcam").glob("*.npy"))) == 3
    assert find(content, method="gradcam", score="iou", **{"class": None})["n"] == len(lesions)
    again = jobs.explain(
        f"checkpoint='{run / 'ensemble.json'}'", "n=0", "scores=[localisation]", "batch_size=8"
    )
    assert again["scores"] == content["scores"]


@pytest.mark.no_cover
def test_others_must_fit(phantom_run: Path, tmp_path: Path) -> None:
    run = jobs.train(tmp_path / "run", *jobs.QUICK, "++dataset.size=32", "trainer.max_epochs=1")
    with pytest.raises(UserError, match="images of"):
        jobs.explain(
            checkpoint(phantom_run),
            f"seeds=['{run / 'checkpoints' / 'best.ckpt'}']",
            f"output='{tmp_path / 'out'}'",
        )
    shutil.rmtree(run)
    with pytest.raises(UserError, match="there is no such file"):
        jobs.explain(checkpoint(run), f"output='{tmp_path / 'out'}'")
