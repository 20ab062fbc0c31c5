"""Which case of transfer learning a job is, and what is refused."""

from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import r2_score, roc_auc_score

from medcnn import nets
from medcnn.data.samples import SPLITS, Samples
from medcnn.errors import UserError
from medcnn.objective import UNKNOWN
from medcnn.transfer import probe, score, settle, targets

NET = ("model=resnet", "model.width=0.125")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a net that was not trained."""
    path = tmp_path_factory.mktemp("weights") / "net.pt"
    torch.manual_seed(0)
    net = nets.build("resnet", width=0.125, in_channels=1, num_classes=5, input_size=(28, 28))
    torch.save(net.state_dict(), path)
    return path


def banded(rows: int, task: str = "multiclass", **options: Any) -> Samples:
    """Images whose bright band tells the class; two of each patient."""
    splits = np.repeat(SPLITS, [rows, 6, 6])
    labels = np.arange(len(splits)) // 2 % 3
    images = torch.from_numpy(jobs.patterns(labels, (28, 28), seed=1))[:, None]
    table = pd.DataFrame({"image": np.arange(len(splits)), "patient": np.arange(len(splits)) // 2})
    table["split"] = splits
    names: tuple[str, ...] = ("a", "b", "c")
    if task == "multilabel":
        for k, name in enumerate(names):
            unknown = np.arange(len(splits)) % 7 == k
            table[f"label:{name}"] = np.where(unknown, UNKNOWN, labels == k)
    elif task == "regression":
        table["label"], names = (10.0 * labels).astype(np.float32), ("height",)
    else:
        table["label"] = labels
    return Samples("banded", table, images, task, names, **options)  # type: ignore[arg-type]


def settled(samples: Samples, *overrides: str) -> tuple[Any, str | None]:
    cfg = jobs.compose("train", *jobs.QUICK, *NET, *overrides)
    return cfg, settle(cfg, samples, [])


def test_without_weights_all_is_trained_from_scratch() -> None:
    cfg, line = settled(banded(30))
    assert (cfg.transfer.mode, cfg.model.cut, line) == ("scratch", None, None)


@pytest.mark.parametrize(
    ("small", "found", "mode"),
    [(61, "head", "head"), (61, "partial", "partial"), (61, "finetune", "finetune"),
     (60, "partial", "finetune")],
)  # fmt: skip
def test_the_cases(
    small: int, found: str, mode: str, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medcnn.transfer.best_stage", lambda *_: (found, "layer3", "because"))
    cfg, line = settled(banded(60), f"model.weights='{weights}'", f"transfer.small={small}")
    assert cfg.transfer.mode == mode
    assert cfg.model.cut == ("layer3" if mode == "partial" else None)
    few = "few (below 61), and because" if small == 61 else "many (at least 60)"
    assert line == f"transfer: {mode}, for 60 training images are {few}"


def test_features_that_fit_nowhere_are_trained_further(weights: Path) -> None:
    samples = banded(60)
    noise = np.random.default_rng(0).integers(0, 255, tuple(samples.images.shape), np.uint8)
    samples.images = torch.from_numpy(noise)
    cfg, line = settled(samples, f"model.weights='{weights}'")
    assert (cfg.transfer.mode, cfg.model.cut) == ("finetune", None)
    assert "no stage's features fit them" in str(line)


@pytest.mark.parametrize(
    ("scores", "mode", "stage"),
    [
        ([0.80, 0.81, 0.82, 0.83, 0.90], "head", "layer4"),
        ([0.80, 0.81, 0.92, 0.83, 0.90], "partial", "layer2"),
        ([0.80, 0.90, 0.85, 0.90, 0.85], "partial", "layer3"),
        ([0.95, 0.81, 0.92, 0.83, 0.90], "finetune", "stem"),
        ([0.50, 0.60, 0.70, 0.74, 0.71], "finetune", "layer3"),
    ],
)
def test_what_the_probes_lead_to(
    scores: list[float], mode: str, stage: str, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = iter([1.0, *scores])  # the first call only asks whether there is anything to measure
    monkeypatch.setattr("medcnn.transfer.score", lambda *_: next(given))
    cfg, line = settled(banded(60), f"model.weights='{weights}'")
    assert cfg.transfer.mode == mode
    assert cfg.model.cut == (stage if mode == "partial" else None)
    assert f"{max(scores):.3f} of {stage}" in str(line)


@pytest.mark.parametrize("task", ["multiclass", "multilabel", "regression"])
def test_similarity_is_measured_on_every_task(task: str, weights: Path) -> None:
    cfg, line = settled(banded(60, task), f"model.weights='{weights}'")
    what = "R²" if task == "regression" else "AUROC"
    assert f"cross-validated {what} of a linear probe" in str(line)
    assert ("the last stage fit them best" in str(line)) == (cfg.transfer.mode == "head")
    assert (f"features of {cfg.model.cut} fit" in str(line)) == (cfg.transfer.mode == "partial")
    again, same = settled(banded(60, task), f"model.weights='{weights}'")
    assert (again.transfer.mode, same) == (cfg.transfer.mode, line)


def test_blind_late_stages_are_seen(tmp_path: Path) -> None:
    """Of a net whose last two stages say nothing, the early ones are kept."""
    torch.manual_seed(0)
    net = nets.build("resnet", width=0.125, in_channels=1, num_classes=5, input_size=(28, 28))
    for name, p in net.named_parameters():
        if name.startswith(("features.layer3", "features.layer4")):
            p.data.mul_(0)
    torch.save(net.state_dict(), tmp_path / "blind.pt")
    cfg, line = settled(banded(60), f"model.weights='{tmp_path / 'blind.pt'}'")
    assert cfg.transfer.mode == "partial"
    assert cfg.model.cut in ("layer1", "layer2")
    assert f"the features of {cfg.model.cut} fit them better than those of the last" in str(line)


def test_too_few_to_measure(weights: Path) -> None:
    samples = banded(8)
    _, line = settled(samples, f"model.weights='{weights}'")
    assert str(line).endswith("they are too few to measure how well the features fit")


def test_flat_nets_have_nothing_to_compare(tmp_path: Path) -> None:
    net = nets.build("mlp", in_channels=1, num_classes=2, input_size=(28, 28))
    torch.save(net.state_dict(), tmp_path / "mlp.pt")
    cfg = jobs.compose("train", *jobs.QUICK, "model=mlp", f"model.weights='{tmp_path / 'mlp.pt'}'")
    assert "no feature maps to compare" in str(settle(cfg, banded(30), []))
    assert cfg.transfer.mode == "head"


def test_partial_cuts_where_the_user_says(weights: Path) -> None:
    given = (f"model.weights='{weights}'", "transfer=partial")
    assert settled(banded(30), *given)[0].model.cut == "layer2"
    assert settled(banded(30), *given, "model.cut=layer3")[0].model.cut == "layer3"


def test_a_settled_job_needs_the_file_no_more() -> None:
    cfg, line = settled(banded(30), "model.weights=gone.pt", "transfer=partial", "model.cut=layer1")
    assert (cfg.model.cut, line) == ("layer1", None)


def test_the_measures() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 200)
    truth, given = np.eye(3)[labels], generator.normal(size=(200, 3))
    expected = np.mean([roc_auc_score(labels == k, given[:, k]) for k in range(3)])
    assert score(truth, given, "multiclass") == pytest.approx(expected)
    truth[:50, 0] = np.nan
    part = roc_auc_score(labels[50:] == 0, given[50:, 0])
    rest = [roc_auc_score(labels == k, given[:, k]) for k in (1, 2)]
    assert score(truth, given, "multilabel") == pytest.approx(np.mean([part, *rest]))
    numbers = generator.normal(size=(50, 1))
    assert score(numbers, numbers + 0.1, "regression") == r2_score(numbers, numbers + 0.1)
    assert score(np.ones((5, 1)), np.ones((5, 1)), "multilabel") is None


def test_a_probe_never_sees_a_patient_twice() -> None:
    """Features that name the patient, and labels that are the patient's: nothing can be known."""
    generator = np.random.default_rng(0)
    patients = np.repeat(np.arange(40), 5)
    truth = np.repeat(generator.integers(0, 2, 40), 5)[:, None].astype(float)
    given = probe(np.eye(40)[patients], truth, patients)
    assert abs(float(roc_auc_score(truth, given)) - 0.5) < 0.2
    known = probe(truth + 0.1 * generator.normal(size=truth.shape), truth, patients)
    assert roc_auc_score(truth, known) > 0.99


def test_targets() -> None:
    samples = banded(30, "multilabel")
    wanted = targets(samples, torch.arange(9))
    assert np.isnan(wanted[0, 0])
    assert np.isnan(wanted[8, 1])
    assert wanted[2].tolist()[:2] == [0.0, 1.0]
    assert targets(banded(30), torch.arange(6)).argmax(1).tolist() == [0, 0, 1, 1, 2, 2]
    assert targets(banded(30, "regression"), torch.tensor([4])).tolist() == [[20.0]]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["transfer.mode=all"], r"transfer\.mode=all: choose one of scratch, head, partial, finet"),
        (["transfer.first_lr=0"], r"transfer\.first_lr=0: give a share, above 0 and up to 1"),
        (["transfer.first_lr=low"], r"transfer\.first_lr=low: give a share"),
        (["transfer.head_lr=0"], r"transfer\.head_lr=0: give a number above 0"),
        (["transfer.unfreeze=-1"], r"transfer\.unfreeze=-1: give a whole number, at least 0"),
        (["transfer.small=0"], r"transfer\.small=0: give a whole number, at least 1"),
        (["transfer=head"], r"transfer=head needs weights .*model\.weights="),
        (["transfer=scratch", "model.weights=x.pt"], "transfer=scratch starts from random weights"),
        (["model.weights=none.pt"], r"can't read weights none\.pt: No such file"),
        (["model.weights=none.pt", "transfer=partial"], r"can't read weights none\.pt"),
        (
            ["transfer=finetune", "transfer.unfreeze=1", "model.weights=x.pt",
             "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"],
            "transfer.unfreeze works in one process",
        ),
    ],
)  # fmt: skip
def test_what_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        settled(banded(30), *overrides)
    assert "\n" not in str(error.value)


def test_a_net_of_the_user_s_own(tmp_path: Path) -> None:
    own = (*jobs.QUICK, "~model.name", f"model._target_={jobs.SMALL_NET}")
    cfg = jobs.compose("train", *own)
    assert settle(cfg, banded(30), [jobs.SMALL_NET]) is None
    assert cfg.transfer.mode == "scratch"
    with pytest.raises(UserError, match="transfer=partial cuts medcnn's own networks only"):
        settle(jobs.compose("train", *own, "transfer=partial"), banded(30), [jobs.SMALL_NET])
    run = jobs.train(tmp_path / "run", *own, "transfer=head", trust=[jobs.SMALL_NET])
    assert jobs.status(run)["state"] == "finished"


def test_the_choice_is_told_and_kept(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = jobs.train(tmp_path / "run", *jobs.QUICK, *NET, f"model.weights='{weights}'")
    said = capsys.readouterr().out
    assert "transfer: " in said
    assert "weights: 120 tensors loaded; dropped head.fc.weight (5×64, here 3×64)" in said
    mode = jobs.checkpoint(run)["medcnn"]["config"]["transfer"]["mode"]
    assert f"transfer: {mode}, " in said
    assert f"mode: {mode}" in (run / "config.yaml").read_text()
    given = (f"model.weights='{weights}'", "transfer=head", "overwrite=true")
    jobs.train(run, *jobs.QUICK, *NET, *given)
    frozen = "frozen: all but 195 parameters; "
    assert f"{frozen}augment=none computes their features once" in capsys.readouterr().out
    jobs.train(run, *jobs.QUICK, *NET, *given, "augment=none")
    assert f"{frozen}features are computed once" in capsys.readouterr().out
