"""The config files themselves: every choice composes, every key says what it means."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jobs
import pytest
import yaml
from omegaconf import DictConfig, OmegaConf

from medcnn.jobs.instantiate import TARGETS, conf_dir

pytestmark = pytest.mark.no_cover  # twice as slow with coverage; other tests cover the lines

FILES = sorted(conf_dir().rglob("*.yaml"))
ROOTS = ("train", "evaluate", "predict", "explain", "features")
CHOICES = [(f.parent.name, f.stem) for f in FILES if f.parent != conf_dir() and f.stem[0] != "_"]
# Keys that need no comment: what they are is said by the library that takes them.
OBVIOUS = {
    "_target_", "name", "version", "monitor", "mode", "limit_val_batches", "limit_test_batches",
}  # fmt: skip


def content(file: Path) -> Any:
    return yaml.safe_load(file.read_text(encoding="utf-8")) or {}


def targets(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "_target_" and value is not None:
                yield value
            yield from targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from targets(value)


def resolved(root: str, *overrides: str) -> DictConfig:
    """A config whose interpolations all lead somewhere."""
    cfg = jobs.composed(root, *overrides)
    OmegaConf.resolve(cfg)
    return cfg


def test_targets_are_exactly_those_that_the_files_name() -> None:
    assert {target for file in FILES for target in targets(content(file))} == TARGETS


@pytest.fixture(scope="module")
def keys() -> set[Any]:
    """The keys at the top of a training's config."""
    return set(jobs.composed("train"))


@pytest.mark.parametrize("root", ROOTS)
def test_each_root_composes(root: str) -> None:
    cfg = resolved(root)
    assert cfg.trust == []
    assert not cfg.get("overwrite")


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_each_choice_composes(group: str, choice: str, keys: set[Any]) -> None:
    asks = (group, choice) in (("model", "timm"), ("model", "monai"))  # for a name
    root = "search" if group == "search" else "train"
    cfg = resolved(root, f"{group}={choice}", *([f"model.name={choice}"] if asks else []))
    assert cfg.trainer.max_epochs >= 1
    # no recipe adds another key at the top
    own = {"search", "output"} if group == "search" else set()
    assert set(cfg) - keys - own <= {"plan"}
    assert keys | own <= set(cfg)
    if group in ("dataset", "model"):
        assert cfg[group].name == choice
        assert f"-{choice}" in cfg.paths.run
    if group == "dataset":
        assert cfg.trainer.max_epochs == cfg.dataset.epochs


@pytest.mark.parametrize("root", ["evaluate", "explain"])
def test_other_data_for_a_checkpoint(root: str) -> None:
    assert "_target_" not in jobs.composed(root).get("dataset", {})
    assert resolved(root, "dataset=retinamnist", "paths.data=x").dataset.root == "x"


def test_groups_are_those_of_the_design() -> None:
    assert {group for group, _ in CHOICES} >= {
        "dataset", "model", "objective", "augment", "optimizer", "scheduler", "trainer",
        "callbacks", "logger", "experiment", "debug", "paths", "transfer",
    }  # fmt: skip
    debug = {choice for group, choice in CHOICES if group == "debug"}
    assert debug == {"fast", "limit", "overfit", "profile"}


def test_what_the_debug_choices_mean() -> None:
    fast = resolved("train", "debug=fast", "trainer=cpu")
    assert (fast.trainer.max_epochs, fast.trainer.limit_train_batches) == (1, 2)
    assert fast.trainer.accelerator == "cpu"  # the choice of the trainer stays
    assert resolved("train", "debug=limit").trainer.limit_val_batches == 0.1
    assert resolved("train", "debug=overfit").overfit_batches > 0
    assert resolved("train", "debug=profile").trainer.profiler == "simple"


def test_experiments_are_changed_by_the_command_line_and_by_debug() -> None:
    cfg = resolved("train", "experiment=medmnist_benchmark", "model=vgg", "seed=5", "debug=fast")
    assert (cfg.dataset.name, cfg.model.name, cfg.optimizer._target_, cfg.seed) == (
        "breastmnist", "vgg", "torch.optim.Adam", 5,
    )  # fmt: skip
    assert cfg.trainer.max_epochs == 1
    assert resolved("train", "experiment=shortcut").dataset.shortcut == 0.95


def test_loggers_and_callbacks() -> None:
    assert set(resolved("train", "logger=all").logger) == {"tensorboard", "csv"}
    assert resolved("train", "logger=none").logger == {}
    assert "early_stopping" not in resolved("train").callbacks
    assert "early_stopping" in resolved("train", "callbacks=early_stopping").callbacks


def test_a_data_set_file_holds_what_all_of_its_kind_share_once() -> None:
    for file in FILES:
        if file.parent.name == "dataset" and "mnist" in file.stem and file.stem[0] != "_":
            assert set(content(file)) == {"defaults", "flag", "name", "epochs"}
            assert content(file)["flag"] == content(file)["name"] == file.stem


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(conf_dir())))
def test_every_default_is_explained(file: Path) -> None:
    if "defaults" in content(file) and file.parent != conf_dir():
        return  # changes values that are explained where they stand first
    if file.parent.name in ("experiment", "debug"):
        return
    lines = file.read_text(encoding="utf-8").split("\nhydra:\n")[0].splitlines()
    settings = [line for line in lines if re.match(r"\s*\w+:\s+[^#\s]", line)]
    unexplained = [line for line in settings if "#" not in line]
    assert [line for line in unexplained if line.split(":")[0].strip() not in OBVIOUS] == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(conf_dir())))
def test_every_recipe_says_what_it_is_for(file: Path) -> None:
    if file.parent == conf_dir() or file.parent.name in ("dataset", "model", "experiment", "debug"):
        top = file.read_text(encoding="utf-8").splitlines()[:3]
        assert any(re.match(r"# (?!@package)\w+", line) for line in top)
