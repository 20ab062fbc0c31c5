"""Which case of transfer learning a job is, and what is refused."""

from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pytest
import torch

from medcnn import nets
from medcnn.data.samples import Samples
from medcnn.errors import UserError
from medcnn.training.transfer import settle

pytestmark = pytest.mark.no_cover  # twice as slow with coverage; other tests cover the lines

NET = ("model=resnet", "model.width=0.125")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a net that was not trained."""
    path = tmp_path_factory.mktemp("weights") / "net.pt"
    torch.manual_seed(0)
    net = nets.build("resnet", width=0.125, in_channels=1, num_classes=5, input_size=(28, 28))
    torch.save(net.state_dict(), path)
    return path


def settled(samples: Samples, *overrides: str) -> tuple[Any, str | None]:
    cfg = jobs.compose("train", *jobs.QUICK, *NET, *overrides)
    return cfg, settle(cfg, samples, [])


def test_without_weights_all_is_trained_from_scratch() -> None:
    cfg, line = settled(jobs.banded(30))
    assert (cfg.transfer.mode, cfg.model["cut"], line) == ("scratch", None, None)


@pytest.mark.parametrize(
    ("small", "found", "mode"),
    [(61, "head", "head"), (61, "partial", "partial"), (61, "finetune", "finetune"),
     (60, "partial", "finetune")],
)  # fmt: skip
def test_the_cases(
    small: int, found: str, mode: str, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "medcnn.training.linear_probe.best_stage", lambda *_: (found, "layer3", "because")
    )
    cfg, line = settled(jobs.banded(60), f"model.weights='{weights}'", f"transfer.small={small}")
    assert cfg.transfer.mode == mode
    assert cfg.model["cut"] == ("layer3" if mode == "partial" else None)
    few = "few (below 61), and because" if small == 61 else "many (at least 60)"
    assert line == f"transfer: {mode}, for 60 training images are {few}"


def test_features_that_fit_nowhere_are_trained_further(weights: Path) -> None:
    samples = jobs.banded(60)
    noise = np.random.default_rng(0).integers(0, 255, tuple(samples.images.shape), np.uint8)
    samples.images = torch.from_numpy(noise)
    cfg, line = settled(samples, f"model.weights='{weights}'")
    assert (cfg.transfer.mode, cfg.model["cut"]) == ("finetune", None)
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
    monkeypatch.setattr("medcnn.training.linear_probe.score", lambda *_: next(given))
    cfg, line = settled(jobs.banded(60), f"model.weights='{weights}'")
    assert cfg.transfer.mode == mode
    assert cfg.model["cut"] == (stage if mode == "partial" else None)
    assert f"{max(scores):.3f} of {stage}" in str(line)


@pytest.mark.parametrize("task", ["multiclass", "multilabel", "regression"])
def test_similarity_is_measured_on_every_task(task: str, weights: Path) -> None:
    cfg, line = settled(jobs.banded(60, task), f"model.weights='{weights}'")
    what = "R²" if task == "regression" else "AUROC"
    assert f"cross-validated {what} of a linear probe" in str(line)
    assert ("the last stage fit them best" in str(line)) == (cfg.transfer.mode == "head")
    assert (f"features of {cfg.model['cut']} fit" in str(line)) == (cfg.transfer.mode == "partial")
    again, same = settled(jobs.banded(60, task), f"model.weights='{weights}'")
    assert (again.transfer.mode, same) == (cfg.transfer.mode, line)


def test_blind_late_stages_are_seen(tmp_path: Path) -> None:
    """Of a net whose last two stages say nothing, the early ones are kept."""
    torch.manual_seed(0)
    net = nets.build("resnet", width=0.125, in_channels=1, num_classes=5, input_size=(28, 28))
    for name, p in net.named_parameters():
        if name.startswith(("features.layer3", "features.layer4")):
            p.data.mul_(0)
    torch.save(net.state_dict(), tmp_path / "blind.pt")
    cfg, line = settled(jobs.banded(60), f"model.weights='{tmp_path / 'blind.pt'}'")
    assert cfg.transfer.mode == "partial"
    assert cfg.model["cut"] in ("layer1", "layer2")
    assert f"the features of {cfg.model['cut']} fit them better than those of the last" in str(line)


def test_too_few_to_measure(weights: Path) -> None:
    samples = jobs.banded(8)
    _, line = settled(samples, f"model.weights='{weights}'")
    assert str(line).endswith("they are too few to measure how well the features fit")


def test_flat_nets_have_nothing_to_compare(tmp_path: Path) -> None:
    net = nets.build("mlp", in_channels=1, num_classes=2, input_size=(28, 28))
    torch.save(net.state_dict(), tmp_path / "mlp.pt")
    cfg = jobs.compose("train", *jobs.QUICK, "model=mlp", f"model.weights='{tmp_path / 'mlp.pt'}'")
    assert "no feature maps to compare" in str(settle(cfg, jobs.banded(30), []))
    assert cfg.transfer.mode == "head"


def test_a_short_config_of_a_net_means_the_defaults() -> None:
    cfg = jobs.compose("train", *jobs.QUICK)
    for key in ("cut", "weights", "pretrained"):
        cfg.model.pop(key, None)
    assert settle(cfg, jobs.banded(30), []) is None
    assert cfg.transfer.mode == "scratch"


def test_partial_cuts_where_the_user_says(weights: Path) -> None:
    given = (f"model.weights='{weights}'", "transfer=partial")
    assert settled(jobs.banded(30), *given)[0].model["cut"] == "layer2"
    assert settled(jobs.banded(30), *given, "model.cut=layer3")[0].model["cut"] == "layer3"


def test_a_settled_job_needs_the_file_no_more() -> None:
    cfg, line = settled(
        jobs.banded(30), "model.weights=gone.pt", "transfer=partial", "model.cut=layer1"
    )
    assert (cfg.model["cut"], line) == ("layer1", None)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["transfer=head"], r"transfer=head needs weights .*model\.weights="),
        (["transfer=scratch", "model.weights=x.pt"], "transfer=scratch starts from random weights"),
        (["model.weights=none.pt"], r"can't read weights none\.pt: No such file"),
        (
            ["transfer=finetune", "transfer.unfreeze=1", "model.weights=x.pt",
             "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"],
            "transfer.unfreeze works in one process",
        ),
    ],
)  # fmt: skip
def test_what_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        settled(jobs.banded(30), *overrides)
    assert "\n" not in str(error.value)


def test_a_net_of_the_user_s_own(tmp_path: Path) -> None:
    own = (*jobs.QUICK, "~model.name", f"model._target_={jobs.SMALL_NET}")
    cfg = jobs.compose("train", *own)
    assert settle(cfg, jobs.banded(30), [jobs.SMALL_NET]) is None
    assert cfg.transfer.mode == "scratch"
    with pytest.raises(UserError, match="transfer=partial cuts medcnn's own networks only"):
        settle(jobs.compose("train", *own, "transfer=partial"), jobs.banded(30), [jobs.SMALL_NET])
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
