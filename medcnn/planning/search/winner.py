"""The winner of a search: as an experiment config, tested once, and if asked trained further."""

from functools import partial
from pathlib import Path
from typing import Any

import hydra
import yaml
from omegaconf import DictConfig, OmegaConf

from medcnn.inference.of_split import evaluate_split
from medcnn.jobs.atomic_files import write_text
from medcnn.jobs.private import hide_paths, with_pseudonyms
from medcnn.jobs.rundir import RunDir
from medcnn.jobs.settings.commands import Evaluate, Search, Train
from medcnn.jobs.settings.read import read
from medcnn.planning.search.compose import Composer
from medcnn.planning.search.space import Draws, overrides_of
from medcnn.training.cross_validation import cross_validate
from medcnn.training.one_run import train_in
from medcnn.training.run import recorded

# Keys that say where and on what machine a training runs, and groups that end up in others
OF_ONE_MACHINE = (
    "hydra", "search", "output", "engine", "paths", "cache", "resume", "overwrite", "spreadsheet",
    "trust", "trainer.accelerator", "trainer.devices", "trainer.threads",
)  # fmt: skip
RECIPES = ("search", "experiment", "debug", "local", "engine")


def write_experiment(path: Path, composer: Composer, draws: Draws, about: str) -> None:
    """Write what a trial has trained with as a config that ``medcnn.train experiment=`` takes.

    It has the choice of each group and the value of each key that aren't those of conf/train.yaml,
    whether they were drawn, or come from the command line, an experiment or this machine's config;
    but not what concerns one machine alone.

    Args:
        path: The file.
        composer: Of the search.
        draws: Of the trial.
        about: A line to stand above.
    """
    cfg = composer.config(draws, of_hydra=True)
    usual = hydra.compose("train", return_hydra_config=True)
    before = usual.hydra.runtime.choices
    chosen = {
        group: choice
        for group, choice in cfg.hydra.runtime.choices.items()
        if group not in RECIPES and not group.startswith("hydra/") and choice != before.get(group)
    }
    local = ["~local"] if before.get("local") else []
    base = hydra.compose("train", [*local, *(f"{g}={c or 'null'}" for g, c in chosen.items())])
    values = _different(_plain(cfg), _plain(base))
    content: dict[str, Any] = {
        "defaults": [
            *({f"override /{group}": choice} for group, choice in chosen.items()),
            "_self_",
        ]
    }
    text = yaml.safe_dump(content | values, sort_keys=False, allow_unicode=True)
    write_text(path, f"# @package _global_\n# {about}\n{with_pseudonyms(text)}")


def test_once(cfg: Search, trial: RunDir, folder: Path, draws: Draws, trust: list[str]) -> None:
    """Test a trial's checkpoint on the test split, in a run directory of its own, once.

    Args:
        cfg: Of the search.
        trial: The winner's run directory.
        folder: Of the test.
        draws: Of the winner.
        trust: Names that the config may hold beside medcnn's own.
    """
    run = RunDir(folder)
    if run.finished:
        return
    settings: Evaluate = read(hydra.compose("evaluate"), "evaluate")
    settings.checkpoint, settings.paths.run = str(trial.weights), str(folder)
    settings.cache = cfg.cache
    settings.evaluation = cfg.evaluation.model_copy(update={"operating_point": None})
    settings.accelerator, settings.threads = cfg.trainer.accelerator, cfg.trainer.threads
    settings.overwrite = True
    evaluate_split(settings, trust)
    run.set_status("finished", **{**run.facts, "overrides": overrides_of(draws)})


def train_further(
    cfg: Search, training: Train, folder: Path, overrides: list[str], trust: list[str]
) -> None:
    """Train the winner's settings on all folds, or with several seeds, as the search asks.

    Runs that are finished are left as they are; one that was interrupted goes on.

    Args:
        cfg: Of the search.
        training: The winner's settings.
        folder: For the runs.
        overrides: With which it could be trained again.
        trust: Names that the config may hold beside medcnn's own.
    """
    if cfg.search.final == "folds":
        _train(training.model_copy(deep=True, update={"fold": "all"}), folder, overrides, trust)
    elif cfg.search.final == "seeds":
        for seed in range(cfg.seed, cfg.seed + cfg.search.seeds):
            own = training.model_copy(deep=True, update={"seed": seed})
            _train(own, folder / f"seed-{seed}", [*overrides, f"seed={seed}"], trust)


def _train(cfg: Train, folder: Path, overrides: list[str], trust: list[str]) -> None:
    run = RunDir(folder)
    if run.finished:
        return
    cfg.paths.run = str(folder)
    hide_paths(cfg, cfg.paths.pseudonym_key if cfg.pseudonymise else None)
    run.go_on() if run.trained else run.claim(overwrite=True)
    write_text(run / "config.yaml", cfg.yaml())
    train = cross_validate if cfg.fold == "all" else train_in
    shown = [with_pseudonyms(one) for one in overrides]
    recorded(run, partial(train, cfg, run, trust), run.give_back, shown)


def _plain(cfg: DictConfig) -> dict[str, Any]:
    content = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def _different(node: dict[str, Any], base: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Return the values that differ from those of a base config, nested as there."""
    found: dict[str, Any] = {}
    for key, value in node.items():
        if f"{above}{key}" in OF_ONE_MACHINE or (key in base and base[key] == value):
            continue
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            value = _different(value, base[key], f"{above}{key}.")
            if not value:
                continue
        found[key] = value
    return found
