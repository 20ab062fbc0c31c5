"""Monte-Carlo dropout: passes of a trained net in which its dropout is on."""

import json
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jobs
import jsonschema
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

import medcnn
from medcnn.data.augment import row_states
from medcnn.errors import UserError
from medcnn.inference.mc_dropout import check_mc_dropout, drop, dropping
from medcnn.nets import build
from medcnn.nets.families.resnet import StochasticDepth

PASSES = 3
SCHEMAS = jobs.ROOT / "docs" / "reference" / "schemas"


def dropped(layer: nn.Module, values: Tensor, calls: Any = None) -> Tensor:
    return drop(layer, row_states(0, 0, torch.arange(len(values))), calls or count(), values)


def test_each_layer_drops_what_it_drops_in_training() -> None:
    ones = torch.ones(200, 6, 5, 5)
    for layer, axes in ((nn.Dropout(0.3), 4), (nn.Dropout2d(0.3), 2), (StochasticDepth(0.3), 1)):
        kept = dropped(layer, ones)
        units = kept.flatten(axes).amin(-1) if axes < 4 else kept
        assert torch.equal(units, kept.flatten(axes).amax(-1) if axes < 4 else kept)
        assert set(units.unique().tolist()) == {0.0, float(torch.tensor(1.0) / (1 - 0.3))}
        share = (units > 0).float().mean()
        assert share == pytest.approx(0.7, abs=4 * (0.21 / units.numel()) ** 0.5)


def test_images_and_calls_draw_on_their_own() -> None:
    layer, calls, values = nn.Dropout(0.5), count(), torch.ones(3, 40)
    first, second = (dropped(layer, values, calls) for _ in range(2))
    assert not torch.equal(first, second)
    assert not torch.equal(first[0], first[1])
    assert torch.equal(dropped(layer, values.repeat(2, 1))[:3], first)
    states = row_states(0, 0, torch.arange(3))
    parts = drop(layer, states, count(), torch.ones(6, 20))  # two windows of each image
    assert torch.equal(parts.view(3, 40), first)


def classifier_of(net: nn.Module) -> Any:
    return SimpleNamespace(net=net, card={"config": {"seed": 5}}, device=torch.device("cpu"))


def test_the_variance_of_a_linear_head_is_that_of_its_formula() -> None:
    """Var(Σ w x m / (1-p)) = p / (1-p) Σ (w x)², m Bernoulli of 1-p."""
    net = build("lenet", in_channels=1, num_classes=2, input_size=(28, 28), head="gap", dropout=0.4)
    net.eval()
    images = torch.rand(1, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode(), dropping(classifier_of(net), 0, torch.arange(2000)):
        logits = net.head(net.features(images).expand(2000, -1, -1, -1))
    with torch.inference_mode():
        means = net.head.pool(net.features(images))[0]
        expected = 0.4 / 0.6 * (net.head.fc.weight * means).square().sum(1)
        assert torch.allclose(logits.var(0), expected, rtol=0.15)
        assert torch.allclose(logits.mean(0), net(images)[0], atol=4 * expected.max().sqrt() / 44)


def test_a_row_draws_the_same_in_any_batch_and_all_is_put_back() -> None:
    net = build(
        "resnet", depth=18, in_channels=1, num_classes=2, width=0.1, input_size=(32, 32),
        dropout=0.2, stochastic_depth=0.5,
    ).eval()  # fmt: skip
    classifier, images = classifier_of(net), torch.rand(6, 1, 32, 32)
    before = {name: value.clone() for name, value in net.state_dict().items()}

    def looked(number: int | None, rows: Tensor) -> Tensor:
        with torch.inference_mode(), dropping(classifier, number, rows):
            answer: Tensor = net(images[rows])
        return answer

    plain, whole = looked(None, torch.arange(6)), looked(1, torch.arange(6))
    order = torch.tensor([4, 1])
    torch.testing.assert_close(looked(1, order), whole[order])
    assert not torch.allclose(looked(2, torch.arange(6)), whole, atol=1e-3)
    assert not torch.allclose(plain, whole, atol=1e-3)
    assert torch.equal(looked(None, torch.arange(6)), plain)
    assert not [m for m in net.modules() if "forward" in vars(m)]
    assert jobs.same_weights(before, net.state_dict())
    assert not any(module.training for module in net.modules())


def test_a_net_without_dropout_is_refused() -> None:
    bare = classifier_of(build("lenet", in_channels=1, num_classes=2, input_size=(28, 28)))
    drops = classifier_of(
        build("mlp", in_channels=1, num_classes=2, input_size=(28, 28), dropout=0.1)
    )
    with pytest.raises(UserError, match=r"^mc_dropout=20: the network has no dropout"):
        check_mc_dropout([bare], 20)
    check_mc_dropout([bare, drops], 20)
    check_mc_dropout([bare], 0)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training with dropout on two classes, for too short a time to be right of all."""
    folder = tmp_path_factory.mktemp("dropout")
    root = jobs.write_medmnist(folder / "data", "breastmnist", 2)
    data = ("dataset=breastmnist", "dataset.download=false", f"dataset.root='{root}'")
    options = ("model=lenet", "model.dropout=0.4", "cam.n=0", "trainer.max_epochs=1")
    return jobs.train(folder / "run", *jobs.PLAIN, *options, *data)


def probs_of(table: pd.DataFrame) -> np.ndarray:
    return table.filter(like="prob:").to_numpy()


def test_a_split_passes_several_times(run: Path, tmp_path: Path) -> None:
    given = (jobs.best(run), f"mc_dropout={PASSES}")
    jobs.evaluate(tmp_path / "once", *given)
    jobs.evaluate(tmp_path / "again", *given, "batch_size=5")
    once, again = (pd.read_csv(tmp_path / name / "predictions.csv") for name in ("once", "again"))
    np.testing.assert_allclose(probs_of(once), probs_of(again), atol=1e-6)
    stored = np.load(run.parent / "data" / "breastmnist.npz")["test_images"][:, None]
    images, rows = torch.from_numpy(stored) / 255, torch.tensor(once["row"].tolist())
    classifier = medcnn.load(run / "checkpoints" / "best.ckpt")
    views = []
    for number in range(PASSES):
        with dropping(classifier, number, rows):  # type: ignore[arg-type]
            views.append(classifier.classify(images).numpy())
    mean = np.mean(views, 0)
    np.testing.assert_allclose(probs_of(once), mean, atol=1e-6)
    entropy, *each = (-(probs * np.log(probs)).sum(1) for probs in (mean, *views))
    np.testing.assert_allclose(once["entropy"], entropy, atol=1e-5)
    information = entropy - np.mean(each, 0)
    np.testing.assert_allclose(once["mutual_information"], information, atol=1e-5)
    assert (information > 1e-6).all()


def test_whether_the_doubt_tells_errors(run: Path, tmp_path: Path) -> None:
    jobs.evaluate(tmp_path / "run", jobs.best(run), f"mc_dropout={PASSES}", "split=train")
    table = pd.read_csv(tmp_path / "run" / "predictions.csv")
    content = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    schema = json.loads((SCHEMAS / "evaluation.schema.json").read_text())
    jsonschema.validate(content, schema)
    areas = content["levels"]["image"]["selective"]["auroc_of_errors"]
    wrong = table["label"] != table["decision"]
    assert 0 < wrong.sum() < len(wrong)
    for name in ("entropy", "mutual_information"):
        assert areas[name]["value"] == pytest.approx(roc_auc_score(wrong, table[name]))
    page = (tmp_path / "run" / "report.html").read_text()
    assert f"by entropy of the mean {areas['entropy']['value']:.3f} (95 % interval" in page
    assert f"means of {PASSES} passes with dropout on" in page


def test_files_pass_several_times(run: Path, tmp_path: Path) -> None:
    stored = np.load(run.parent / "data" / "breastmnist.npz")["test_images"]
    for folder, few in (("all", stored[:7]), ("few", stored[:2])):
        (tmp_path / folder).mkdir()
        for number, image in enumerate(few):
            Image.fromarray(image).save(tmp_path / folder / f"{number}.png")
        given = (f"images='{tmp_path / folder}'", f"output='{tmp_path / folder}.csv'")
        jobs.predict(jobs.best(run), f"mc_dropout={PASSES}", "batch_size=3", *given)
    whole, part = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("all", "few"))
    assert list(whole.columns[-2:]) == ["entropy", "mutual_information"]
    pd.testing.assert_frame_equal(whole[:2].drop(columns="image"), part.drop(columns="image"))
    probs = probs_of(whole)
    np.testing.assert_allclose(whole["entropy"], -(probs * np.log(probs)).sum(1), atol=1e-9)
    assert whole["mutual_information"].between(1e-9, np.log(2)).all()
    with pytest.raises(UserError, match=r"mc_dropout=… go with whole images"):
        jobs.predict(jobs.best(run), "mc_dropout=2", "dense=true", *given, "overwrite=true")


def test_an_ensemble_with_dropout_has_a_threshold_of_its_own(run: Path, tmp_path: Path) -> None:
    figures = jobs.evaluate(
        tmp_path / "both", f"ensemble=['{run}','{run}']", "mc_dropout=2", "tta=none"
    )
    assert figures["test/loss"]["value"] is None
    assert figures["test/clinic/sensitivity"]["value"] is not None
