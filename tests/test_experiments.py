"""Everything that conf/ offers runs: each model, objective, recipe and debug mode; sweeps."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import cohen_kappa_score, mean_absolute_error, roc_auc_score

import medcnn
import medcnn.train
from medcnn.errors import UserError
from medcnn.evaluation.proportions import proportion_interval
from medcnn.jobs.instantiate import conf_dir
from medcnn.training.module import TrainingModule

pytestmark = pytest.mark.no_cover  # twice as slow with coverage; other tests cover the lines

FAST = (*jobs.PLAIN, *jobs.PHANTOM, "debug=fast", "trainer.max_epochs=1", "batch_size=4")


def choices(group: str) -> list[str]:
    found = (p.stem for p in (conf_dir() / group).glob("*.yaml"))
    return sorted(name for name in found if not name.startswith("_"))


def medmnist(flag: str, root: Path) -> tuple[str, ...]:
    return (f"dataset={flag}", f"dataset.root='{root}'", "dataset.download=false")


@pytest.mark.parametrize("name", choices("model"))
def test_every_model_trains(name: str, tmp_path: Path) -> None:
    of_library = {"timm": "mobilenetv3_small_100", "monai": "resnet10"}
    narrow = ["model.width=0.25"] if name in ("vgg", "googlenet", "resnet", "densenet") else []
    chosen = [f"model.name={of_library[name]}"] if name in of_library else narrow
    run = jobs.train(tmp_path / "run", *FAST, f"model={name}", *chosen)
    assert jobs.status(run)["state"] == "finished"
    assert (run / "cams" / "gallery.png").exists() == (name not in ("mlp", "linear"))
    assert jobs.metrics(run)["test/accuracy"]["n"] == 8  # two batches


def test_a_training_step_changes_every_parameter(tmp_path: Path) -> None:
    run = jobs.train(tmp_path / "run", *jobs.QUICK, "scheduler=none", "trainer.max_epochs=1")
    torch.manual_seed(0)
    before = jobs.checkpoint(run, "last")["state_dict"]
    fresh = medcnn.load(run / "checkpoints" / "best.ckpt").net
    names = {f"net.{name}" for name, _ in fresh.named_parameters()}
    again = jobs.train(tmp_path / "again", *jobs.QUICK, "scheduler=none")
    after = jobs.checkpoint(again, "last")["state_dict"]
    assert names == before.keys()
    assert all(not torch.equal(before[name], after[name]) for name in names)


def test_auxiliary_heads_of_googlenet_learn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gradients: list[dict[str, float]] = []

    def watch(self: TrainingModule, optimizer: torch.optim.Optimizer) -> None:
        named = self.classifier.net.named_parameters()
        gradients.append({n: 0.0 if p.grad is None else float(p.grad.norm()) for n, p in named})

    monkeypatch.setattr(TrainingModule, "on_before_optimizer_step", watch)
    run = jobs.train(tmp_path / "run", *FAST, "model=googlenet", "model.aux=true")
    assert [name for name, size in gradients[0].items() if size == 0] == []
    assert sum(name.startswith("aux.") for name in gradients[0]) == 14
    loaded = medcnn.load(run / "checkpoints" / "best.ckpt")
    table = pd.read_csv(run / "predictions.csv")
    assert len(loaded.net.aux) == 2
    assert len(table) == 8


def test_loss_with_auxiliary_heads_is_that_of_the_paper() -> None:
    """Szegedy et al. (2015), section 5: each auxiliary loss counts 0.3."""
    from medcnn.classifier.build import make_classifier

    card = {
        "config": {
            "model": {"_target_": "medcnn.nets.build", "name": "googlenet", "aux": True},
            "trainer": {"channels_last": False},
        },
        "task": "multiclass", "class_names": ["a", "b", "c"], "positive": None,
        "class_weights": None, "in_channels": 1, "input_size": [28, 28],
        "mean": [0.5], "std": [0.25], "targets": None, "normalise": "zscore", "whitening": None,
    }  # fmt: skip
    torch.manual_seed(0)
    classifier = make_classifier(card)
    module = TrainingModule(classifier, optimizer=torch.optim.SGD, scheduler=lambda *_: None)
    module.eval()
    images, labels = torch.rand(3, 1, 28, 28), torch.tensor([0, 1, 2])
    parts = classifier.net.forward_with_aux((images - 0.5) / 0.25)
    losses = [torch.nn.functional.cross_entropy(logits, labels) for logits in parts]
    total = module.training_loss({"image": images, "label": labels})
    expected = losses[0] + 0.3 * losses[1] + 0.3 * losses[2]
    torch.testing.assert_close(total, expected)


def test_binary(tmp_path: Path) -> None:
    root = jobs.write_medmnist(tmp_path, "breastmnist", 2)
    options = (*jobs.PLAIN, *medmnist("breastmnist", root), "model=lenet", "cam.n=2")
    run = jobs.train(tmp_path / "run", *options, "trainer.max_epochs=8", "optimizer.lr=0.01")
    table = pd.read_csv(run / "predictions.csv")
    test = table[table["split"] == "test"]
    assert list(test.filter(like="prob:")) == ["prob:malignant", "prob:normal, benign"]
    metrics = jobs.metrics(run)
    auroc = roc_auc_score(test["label"] == "malignant", test["prob:malignant"])
    assert metrics["test/auroc"]["value"] == pytest.approx(auroc)
    assert auroc > 0.9  # it has learnt, and not the wrong way round
    found = test["decision"][test["label"] == "malignant"] == "malignant"
    sensitivity = metrics["test/sensitivity"]
    assert (sensitivity["value"], sensitivity["n"]) == (pytest.approx(found.mean()), len(found))
    _, low, high = proportion_interval(found)
    assert (sensitivity["low"], sensitivity["high"]) == pytest.approx((low, high))


def test_real_ultrasound_images(data_root: Path, tmp_path: Path) -> None:
    data = medmnist("breastmnist", data_root / "medmnist")
    run = jobs.train(tmp_path / "run", *jobs.PLAIN, *data, "model=lenet", "trainer.max_epochs=1")
    table = pd.read_csv(run / "samples.csv")["split"].value_counts()
    assert table.to_dict() == {"train": 546, "val": 78, "test": 156}
    assert jobs.metrics(run)["test/sensitivity"]["n"] == 42  # malignant ones


def test_multilabel(tmp_path: Path) -> None:
    root = jobs.write_medmnist(tmp_path, "chestmnist", 14, columns=14, sizes=(28, 28, 31))
    options = (*jobs.PLAIN, *medmnist("chestmnist", root), "model=lenet", "cam.n=3")
    run = jobs.train(tmp_path / "run", *options, "objective.class_weights=balanced")
    table = pd.read_csv(run / "predictions.csv")
    test = table[table["split"] == "test"]
    shares, labels, decisions = (test.filter(like=f"{c}:") for c in ("prob", "label", "decision"))
    assert shares.shape == labels.shape == decisions.shape == (31, 14)
    own = test.reindex(columns=[f"threshold:{c.partition(':')[2]}" for c in shares]).fillna(0.5)
    assert (decisions.to_numpy() == (shares.to_numpy() >= own.to_numpy())).all()
    expected = roc_auc_score(labels, shares, average="macro")
    assert jobs.metrics(run)["test/auroc"]["value"] == pytest.approx(expected, abs=1e-6)
    weights = jobs.checkpoint(run)["medcnn"]["class_weights"]
    assert weights == pytest.approx([(28 - 4) / 4] * 14)  # each finding is on 4 of 28 images
    assert len(list((run / "cams").glob("*.npy"))) == 3
    points = jobs.checkpoint(run)["medcnn"]["choices"]["operating_point"]["labels"]
    name, point = next((name, point) for name, point in points.items() if point is not None)
    assert test[f"threshold:{name}"].unique().tolist() == pytest.approx([point["threshold"]])
    found = (shares[f"prob:{name}"] >= point["threshold"])[labels[f"label:{name}"] == 1].mean()
    figures = jobs.metrics(run)
    assert figures[f"test/clinic/sensitivity/{name}"]["value"] == pytest.approx(found)
    assert figures["test/clinic/f1"]["value"] is not None
    page = (run / "report.html").read_text()
    assert "The test in the clinic, each label at its own threshold" in page
    assert (
        "Each label is called from a probability of its own on"
        in (run / "MODEL_CARD.md").read_text()
    )
    again = jobs.evaluate(
        tmp_path / "again",
        f"checkpoint='{run}/checkpoints/best.ckpt'",
        "calibration=temperature",
    )
    key = f"test/clinic/sensitivity/{name}"  # calibration moves the threshold too
    assert again[key]["value"] == figures[key]["value"]


def test_ordinal(tmp_path: Path) -> None:
    root = jobs.write_medmnist(tmp_path, "retinamnist", 5)
    options = (*jobs.PLAIN, *medmnist("retinamnist", root), "model=lenet", "cam.n=2")
    run = jobs.train(tmp_path / "run", *options)
    table = pd.read_csv(run / "predictions.csv", dtype={"label": str, "decision": str})
    test = table[table["split"] == "test"]
    names = jobs.checkpoint(run)["medcnn"]["class_names"]
    assert jobs.checkpoint(run)["state_dict"]["net.head.fc3.weight"].shape[0] == 4
    np.testing.assert_allclose(test.filter(like="prob:").sum(axis=1), 1, atol=1e-5)
    true, decided = (test[column].map(names.index) for column in ("label", "decision"))
    kappa = cohen_kappa_score(true, decided, weights="quadratic")
    metrics = jobs.metrics(run)
    assert metrics["test/kappa"]["value"] == pytest.approx(kappa)
    assert metrics["test/mae"]["value"] == pytest.approx(mean_absolute_error(true, decided))


def test_volumes(tmp_path: Path) -> None:
    shape = (28, 28, 28)
    root = jobs.write_medmnist(tmp_path, "nodulemnist3d", 2, sizes=(8, 4, 5), shape=shape)
    options = (*jobs.PLAIN, *medmnist("nodulemnist3d", root), "model=lenet", "cam.n=2")
    run = jobs.train(tmp_path / "run", *options, "batch_size=4", "trainer.max_epochs=1")
    maps = list((run / "cams").glob("*.npy"))
    assert [np.load(file).shape for file in maps] == [shape, shape]


@pytest.mark.parametrize("name", ["multiclass", "ordinal"])
def test_another_objective_than_the_data_set_states(name: str, tmp_path: Path) -> None:
    run = jobs.train(tmp_path / "run", *jobs.QUICK, f"objective={name}", "trainer.max_epochs=1")
    assert jobs.checkpoint(run)["medcnn"]["task"] == name
    assert ("test/mae" in jobs.metrics(run)) == (name == "ordinal")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("objective=binary", "binary needs 2 classes, got 3; use multiclass"),
        ("objective=multilabel", "objective=multilabel doesn't fit data set phantom"),
        ("loss=huber", "loss=huber is for regression tasks, and this one is multiclass"),
        ("objective.task=guess", "objective.task=guess: choose one of"),
        (
            "objective.class_weights=heavy",
            "objective.class_weights=heavy: null, balanced, effective or a list",
        ),
        ("objective.class_weights=[1,2]", "class_weights holds 2 numbers for 3 classes"),
        (
            "objective.class_weights=3",
            r"objective\.class_weights=3: null, balanced, effective or a list",
        ),
        (
            "objective.class_weights=[1,x,2]",
            r"objective\.class_weights=.*x.*: null, balanced, effective or a list",
        ),
        (
            "objective.class_weights=[1,-1,2]",
            r"objective\.class_weights=.*-1.*: null, balanced, effective or a list",
        ),
        (
            "objective.class_weights=[0,0,0]",
            r"objective\.class_weights=.*: null, balanced, effective or a list",
        ),
        (
            "objective.class_weights=[1,.nan,2]",
            r"objective\.class_weights=.*: null, balanced, effective or a list",
        ),
    ],
)
def test_objectives_that_do_not_fit(override: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        jobs.train(tmp_path / "run", *jobs.QUICK, override)


def test_a_loss_that_the_objective_is_not_meant_for_is_refused_before_data_are_read(
    tmp_path: Path,
) -> None:
    options = (*jobs.QUICK, "objective=ordinal", "loss=focal", "++dataset.patients=nowhere")
    with pytest.raises(UserError, match="loss=focal is for binary and multiclass and multilabel"):
        jobs.train(tmp_path / "run", *options)


def test_a_loss_of_the_shares_of_the_classes(tmp_path: Path) -> None:
    uneven = "dataset.class_shares={normal: 2, nodule: 1, effusion: 1}"
    options = (*jobs.QUICK, f"++{uneven}", "trainer.max_epochs=1", "loss=logit_adjusted")
    run = jobs.train(tmp_path / "run", *options, "objective.class_weights=effective")
    table = pd.read_csv(run / "samples.csv")
    shares = table["label"][table["split"] == "train"].value_counts(normalize=True).sort_index()
    card = jobs.checkpoint(run)["medcnn"]
    assert card["loss_prior"] == pytest.approx(shares.tolist())
    assert card["class_weights"][0] < 1 < card["class_weights"][1]
    objective = medcnn.load(run / "checkpoints" / "best.ckpt").objective
    assert objective.prior.tolist() == pytest.approx(shares.tolist())
    z = torch.tensor([[1.0, 2.0, 3.0]])
    assert torch.equal(objective.probs(z), z.softmax(1))  # nothing is added to what predicts


def test_balanced_class_weights(tmp_path: Path) -> None:
    uneven = "dataset.class_shares={normal: 2, nodule: 1, effusion: 1}"
    options = (*jobs.QUICK, f"++{uneven}", "trainer.max_epochs=1")
    run = jobs.train(tmp_path / "run", *options, "objective.class_weights=balanced")
    table = pd.read_csv(run / "samples.csv")
    counts = table["label"][table["split"] == "train"].value_counts().sort_index()
    expected = counts.sum() / (3 * counts)
    assert jobs.checkpoint(run)["medcnn"]["class_weights"] == pytest.approx(expected.tolist())
    given = jobs.train(tmp_path / "given", *options, f"objective.class_weights={expected.tolist()}")
    weights = (jobs.checkpoint(folder)["state_dict"] for folder in (run, given))
    for first, second in zip(*(w.values() for w in weights), strict=True):
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", sorted({*choices("experiment")} - {"shortcut"}))  # the next test
def test_every_experiment_runs(name: str, tmp_path: Path) -> None:
    cfg = jobs.compose("train", f"experiment={name}")
    flag = cfg.dataset.get("flag")
    if flag is None:
        data: tuple[str, ...] = jobs.PHANTOM
    else:
        data = medmnist(flag, jobs.write_medmnist(tmp_path, flag, 2))[1:]
    small = ["batch_size=4", "trainer.accelerator=cpu", "trainer.threads=1"]
    if cfg.model["cut"] is None:  # else it is a recipe for its own net
        small.append("model=lenet")
    run = jobs.train(tmp_path / "run", f"experiment={name}", "debug=fast", *data, *small)
    assert jobs.status(run)["state"] == "finished"


def test_the_shortcut_of_the_experiment_reaches_the_data(tmp_path: Path) -> None:
    options = ("experiment=shortcut", "debug=fast", *jobs.PHANTOM, "model=lenet", "batch_size=4")
    run = jobs.train(tmp_path / "run", *options, "trainer.accelerator=cpu", "trainer.threads=1")
    assert jobs.status(run)["state"] == "finished"
    table = pd.read_csv(run / "samples.csv")
    assert (table["marker"] == (table["label"] > 0)).mean() > 0.85


@pytest.mark.parametrize("experiment", choices("experiment"))
@pytest.mark.parametrize("mode", choices("debug"))
def test_every_experiment_can_be_debugged(mode: str, experiment: str) -> None:
    cfg = jobs.compose("train", f"experiment={experiment}", f"debug={mode}")
    plain = jobs.compose("train", f"experiment={experiment}")
    assert cfg != plain
    assert cfg.dataset == plain.dataset


@pytest.mark.parametrize("mode", sorted({*choices("debug")} - {"overfit"}))  # see the next test
def test_every_debug_mode_runs(mode: str, tmp_path: Path) -> None:
    options = ("trainer.accelerator=cpu", "trainer.threads=1", "model=lenet", "batch_size=8")
    run = jobs.train(tmp_path / "run", *jobs.PHANTOM, *options, f"debug={mode}")
    epochs = pd.read_csv(run / "metrics.csv")["epoch"]
    assert len(epochs) == {"fast": 1, "limit": 3, "profile": 1}[mode]
    assert (run / "logs").exists() == (mode == "profile")


def test_overfitting_learns_its_batches(tmp_path: Path) -> None:
    options = (*jobs.PHANTOM, "trainer.accelerator=cpu", "trainer.threads=1", "model=lenet")
    run = jobs.train(tmp_path / "run", *options, "debug=overfit", "batch_size=8", "cam.n=0")
    history = pd.read_csv(run / "metrics.csv")
    assert history["val/accuracy"].iloc[-1] == 1
    assert history["val/loss"].iloc[-1] < 0.1
    assert history["val/auroc"].max() == 1


def sweep(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> int:
    options = (*jobs.QUICK, "trainer.max_epochs=1", f"hydra.sweep.dir={folder}")
    return jobs.command(monkeypatch, medcnn.train.train, "train", "-m", *options, *arguments)


def test_a_sweep_is_compared_in_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sweep(monkeypatch, tmp_path, "model=lenet,mlp") == 0
    table = pd.read_csv(tmp_path / "summary.csv")
    assert table["run"].tolist() == ["0-phantom-lenet", "1-phantom-mlp"]
    assert table["state"].tolist() == ["finished", "finished"]
    assert table["model"].tolist() == ["lenet", "mlp"]
    for name, auroc in zip(table["run"], table["test_auroc"], strict=True):
        assert auroc == jobs.metrics(tmp_path / name)["test/auroc"]["value"]
    assert {path.name for path in tmp_path.iterdir()} == {
        *table["run"],
        "summary.csv",
        "multirun.yaml",
    }


def test_a_job_of_a_sweep_that_goes_on_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        jobs.call_at(patch, 0, 1, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert sweep(monkeypatch, tmp_path, "seed=3,4") == 130
    table = pd.read_csv(tmp_path / "summary.csv")
    assert table["state"].tolist() == ["interrupted"]
    job = tmp_path / table["run"][0]
    more = (f"resume={job}", "trainer.log_every_n_steps=3")
    assert jobs.command(monkeypatch, medcnn.train.train, "train", *more) == 0
    again = pd.read_csv(tmp_path / "summary.csv")
    assert again["state"].tolist() == ["finished"]
    assert again["seed"].tolist() == [3]
    assert again["trainer.log_every_n_steps"].tolist() == [3]
    assert again["seconds"][0] > table["seconds"][0]
    assert "resume" not in again
    assert again["test_auroc"][0] == jobs.metrics(job)["test/auroc"]["value"]


def test_a_sweep_that_goes_on_leaves_finished_jobs_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    second = iter([False, True])
    with monkeypatch.context() as patch:
        jobs.call_at(patch, 1, 1, lambda: next(second) and os.kill(os.getpid(), signal.SIGTERM))
        assert sweep(monkeypatch, tmp_path, "seed=3,4,5", "trainer.max_epochs=2") == 130
    assert f"the same command and paths.run={tmp_path}" in capsys.readouterr().err
    table = pd.read_csv(tmp_path / "summary.csv")
    assert table["state"].tolist() == ["finished", "interrupted"]
    first = (tmp_path / table["run"][0] / "status.json").read_text()
    assert sweep(monkeypatch, tmp_path, "seed=3,4,5", "trainer.max_epochs=2") == 0
    assert f"{tmp_path / table['run'][0]}: finished before" in capsys.readouterr().out
    assert (tmp_path / table["run"][0] / "status.json").read_text() == first
    again = pd.read_csv(tmp_path / "summary.csv")
    assert again["state"].tolist() == ["finished"] * 3
    for name in again["run"]:
        assert pd.read_csv(tmp_path / name / "metrics.csv")["epoch"].tolist() == [1, 2]
    assert sweep(monkeypatch, tmp_path, "seed=3,4,6", "trainer.max_epochs=2") == 2
    assert "holds a finished run; overwrite=true replaces it" in capsys.readouterr().err


def test_a_failing_job_is_recorded_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    axes = "augment.flip=[-1],[-3],[-2]"  # a film has no front and back
    assert sweep(monkeypatch, tmp_path, axes) == 2
    table = pd.read_csv(tmp_path / "summary.csv")
    assert table["state"].tolist() == ["finished", "failed", "finished"]
    assert "augment.flip" in table["error"][1]
    error = capsys.readouterr().err
    assert "1 job(s) of the sweep failed; see its summary.csv" in error


def test_a_training_that_diverges(tmp_path: Path) -> None:
    options = (*jobs.QUICK, "optimizer=sgd", "optimizer.lr=1.0e+30", "scheduler=none")
    with pytest.raises(UserError, match=r"training has diverged; lower optimizer\.lr"):
        jobs.train(tmp_path / "run", *options)
    assert jobs.status(tmp_path / "run")["state"] == "failed"


def toy(**options: Any) -> dict[str, Any]:
    return {"trust": [jobs.TOY], "dataset": {"_target_": jobs.TOY, "name": "toy", **options}}


def test_one_class_in_the_validation_split(tmp_path: Path) -> None:
    data = toy(sizes=[16, 6, 8], val_label=1)
    options = ("model=lenet", "cam.n=2", "trainer.max_epochs=3")
    run = jobs.train(tmp_path / "run", *jobs.PLAIN, *options, **data)
    assert jobs.metrics(run)["val/auroc"] == {"value": None, "low": None, "high": None, "n": 6}
    assert jobs.metrics(run)["test/auroc"]["value"] is not None
    history = pd.read_csv(run / "metrics.csv")
    assert history["val/auroc"].isna().all()
    assert history["val/loss"].notna().all()
    assert history["val/score"].to_numpy() == pytest.approx(-history["val/loss"].to_numpy())
    assert jobs.checkpoint(run)["epoch"] == history["val/loss"].idxmin() > 0
    assert json.loads((run / "status.json").read_text())["state"] == "finished"


@pytest.mark.parametrize(("split", "sizes"), [("train", [0, 4, 4]), ("test", [4, 4, 0])])
def test_an_empty_split_is_found_before_the_training(
    split: str, sizes: list[int], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=f"column 'split' has no {split} rows"):
        jobs.train(tmp_path / "run", *jobs.PLAIN, "model=lenet", **toy(sizes=sizes))
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_splits_of_one_sample(tmp_path: Path) -> None:
    run = jobs.train(
        tmp_path / "run", *jobs.PLAIN, "model=lenet", "cam.n=1", **toy(sizes=[5, 1, 1])
    )
    for name, split in (("predictions", "test"), ("predictions_val", "val")):
        assert pd.read_csv(run / f"{name}.csv")["split"].tolist() == [split]
    assert jobs.metrics(run)["test/accuracy"]["n"] == 1


def test_a_split_smaller_than_a_batch(tmp_path: Path) -> None:
    run = jobs.train(
        tmp_path / "run", *jobs.PLAIN, "model=lenet", "cam.n=1", **toy(sizes=[5, 2, 2])
    )
    assert len(pd.read_csv(run / "predictions.csv")) == 2
