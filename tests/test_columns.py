"""Trainings of nets that take columns, from the config to the page."""

from pathlib import Path
from typing import Any

import columned
import jobs
import numpy as np
import pandas as pd
import pytest
import torch
from html_page import Page
from refusals import refused
from sklearn.linear_model import LogisticRegression

import medcnn
from medcnn.classifier.checkpoint import load
from medcnn.data.as_trained import as_trained
from medcnn.data.columns.codes import codes_of
from medcnn.data.columns.encoding import encoded
from medcnn.evidence import Explainer
from medcnn.nets.fusion import takes_studies

OPTIONS = (*jobs.PLAIN, "model=lenet", "cam.n=0", "optimizer.lr=0.01")
TRUST = [columned.SOURCE]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("columns") / "run"
    return jobs.train(folder, *OPTIONS, trust=TRUST, dataset=columned.dataset())


def opened() -> Any:
    samples = columned.samples([48, 20, 20])
    samples.features = columned.FEATURES
    return samples


def test_the_card_has_the_codes(run: Path) -> None:
    card = jobs.checkpoint(run)["medcnn"]  # read with weights_only=True
    assert card["features"] == codes_of(opened())
    assert card["config"]["model"]["fusion"] == "concat"


def test_the_table_of_predictions_is_that_of_python(run: Path) -> None:
    samples = opened()
    classifier = medcnn.load(run / "checkpoints" / "best.ckpt")
    images = samples.images[samples.rows("test")] / 255
    table = samples.table[samples.table["split"] == "test"]
    expected = pd.read_csv(run / "predictions.csv")["prob:yes"]
    probs = classifier.classify(images, table[["age", "sex"]])
    np.testing.assert_allclose(probs[:, 1], expected, atol=1e-5)
    alone = classifier.classify(images)  # all columns missing
    missing = classifier.classify(images, {"age": None, "sex": ""})
    assert torch.equal(alone, missing)
    assert not torch.allclose(alone, probs)
    with refused("data set given has no column sex"):
        classifier.classify(images, {"age": 60})


def test_a_test_finds_the_same(run: Path, tmp_path: Path) -> None:
    metrics = jobs.evaluate(tmp_path / "again", jobs.best(run), trust=TRUST)
    assert metrics["test/auroc"] == jobs.metrics(run)["test/auroc"]
    first, again = (pd.read_csv(path / "columns.csv") for path in (run, tmp_path / "again"))
    pd.testing.assert_frame_equal(first, again)


def test_importance_is_said_of_each_column(run: Path) -> None:
    table = pd.read_csv(run / "columns.csv").set_index("column")
    assert table.index.tolist() == ["age", "sex"]
    assert (table["score"] == "auroc").all()
    assert (table["n"] == 20).all()
    assert (table["low"] <= table["importance"]).all()
    assert (table["importance"] <= table["high"]).all()


def test_models_of_the_columns_alone_are_runs(run: Path) -> None:
    samples = opened()
    inputs = encoded(samples.table, codes_of(samples)).double().numpy()
    labels = samples.labels.numpy()
    rows, train_rows = samples.rows("test"), samples.rows("train")
    model = LogisticRegression(max_iter=1000).fit(inputs[train_rows], labels[train_rows])
    own = run / "columns-linear"
    table = pd.read_csv(own / "predictions.csv")
    np.testing.assert_allclose(table["prob:yes"], model.predict_proba(inputs[rows])[:, 1])
    assert jobs.status(own)["state"] == "finished"
    for name in ("columns-linear", "columns-boosting"):
        figure = jobs.metrics(run)[f"test/{name}/auroc"]
        assert figure == jobs.metrics(run / name)["test/auroc"]


def test_the_page_says_what_the_image_adds(run: Path) -> None:
    text = Page((run / "report.html").read_text(encoding="utf-8")).text
    for words in ("image and columns", "columns alone, boosting", "Loss of AUROC", "sex"):
        assert words in text


def test_runs_are_compared_with_those_of_the_columns(run: Path, tmp_path: Path) -> None:
    from medcnn.report.comparison.page import write_comparison

    out = write_comparison([run, run / "columns-linear"], tmp_path / "both.html")
    assert "minus columns-linear" in Page(out.read_text(encoding="utf-8")).text


def test_resumed_is_uninterrupted(run: Path, tmp_path: Path) -> None:
    dataset = columned.dataset()
    folder = jobs.train_in_parts(tmp_path / "run", *OPTIONS, trust=TRUST, dataset=dataset)
    whole, parts = (jobs.checkpoint(path, "last")["state_dict"] for path in (run, folder))
    assert jobs.same_weights(whole, parts)
    assert (run / "predictions.csv").read_bytes() == (folder / "predictions.csv").read_bytes()


def test_studies_with_columns_fused_by_film(tmp_path: Path) -> None:
    given = columned.dataset(studies=True)
    more = ("model=resnet", "++model.width=0.0625", "model.aggregate=mean", "model.fusion=film")
    run = jobs.train(tmp_path / "run", *OPTIONS, *more, trust=TRUST, dataset=given)
    assert len(pd.read_csv(run / "predictions.csv")) == 10
    classifier = load(run / "checkpoints" / "best.ckpt")
    net: Any = classifier.net
    assert takes_studies(net.head)
    both = torch.rand(2, 1, 20, 20)
    old, young = (classifier.classify_study(both, columns={"age": a, "sex": "F"}) for a in (80, 40))
    assert not torch.allclose(old, young)
    assert (pd.read_csv(run / "columns.csv")["n"] == 10).all()


def test_maps_are_of_the_decision_with_the_columns(run: Path) -> None:
    samples = opened()
    classifier = load(run / "checkpoints" / "best.ckpt")
    as_trained(samples, classifier.card)
    explainer = Explainer(classifier, samples)
    explainer.check("gradcam")
    probs = [
        explainer.probs(b.images, b.context) for b in explainer.batches(samples.rows("test"), 7)
    ]
    expected = pd.read_csv(run / "predictions.csv")["prob:yes"]
    np.testing.assert_allclose(torch.cat(probs)[:, 1], expected, atol=1e-5)
    with refused("method=eigencam: made for images that are decided on alone"):
        explainer.check("eigencam")


@pytest.mark.parametrize(
    ("words", "override"),
    [
        ("regularise.mixup mixes images, and their columns", "regularise=mixup"),
        (r"model._target_=jobs.SmallNet takes images alone", "model={_target_: jobs.SmallNet}"),
        ("model.fusion=early: choose one of late", "model.fusion=early"),
    ],
)
def test_what_does_not_go_with_columns(words: str, override: str, tmp_path: Path) -> None:
    trust = [*TRUST, jobs.SMALL_NET]
    plain = [one for one in OPTIONS if not one.startswith("model=")]
    with refused(words):
        jobs.train(tmp_path / "run", *plain, override, trust=trust, dataset=columned.dataset())


def test_files_alone_have_no_columns(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    np.save(tmp_path / "new.npy", np.zeros((2, 1, 20, 20), np.uint8))
    output = tmp_path / "out.csv"
    images = f"images='{tmp_path / 'new.npy'}'"
    jobs.predict(jobs.best(run), images, "packed=true", f"output='{output}'")
    assert "the network also takes columns (age, sex)" in caplog.text
    assert len(pd.read_csv(output)) == 2
