"""The beginning of a search, and the joining of one: the same settings for all of its workers."""

import json
import secrets
from pathlib import Path
from typing import Any

import yaml

from medcnn.errors import UserError
from medcnn.jobs.atomic_files import check_folder, write_json, write_text
from medcnn.jobs.private import hide_paths
from medcnn.jobs.settings.commands import Search
from medcnn.planning.search.compose import Composer, check_data, check_space
from medcnn.planning.search.samplers import make_sampler
from medcnn.planning.search.space import read_space
from medcnn.planning.search.storage import locked, open_study
from medcnn.planning.search.trials import Trials, make_pruner

SETTINGS, NAME = "search.yaml", "study.json"
# What may differ between workers, and between the first command and one that goes on
FREE = (
    "output", "paths", "cache", "trust", "engine", "trainer.accelerator", "trainer.devices",
    "trainer.threads", "search.trials", "search.budget", "search.keep", "search.stale",
    "search.storage", "search.final", "search.seeds",
)  # fmt: skip


def begin(cfg: Search, trust: list[str]) -> tuple[Composer, Trials]:
    """Return what composes and what hands out the trials of a search, a new one or one to join.

    Raises:
        UserError: Settings with which no trial could begin, or other ones than those of the search
            in that folder.
    """
    _refuse(cfg)
    space = read_space(cfg.search.space)
    composer = Composer(space)
    folder = Path(cfg.output)
    check_folder(f"output={folder}", folder)
    make_sampler(cfg.search, cfg.seed, cfg.search.first, [])  # raises where it can't
    if not (folder / SETTINGS).exists():
        check_space(composer, space, trust)
        check_data(composer, space, trust)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        name = _same_settings(cfg, folder)
        study = open_study(folder, cfg.search.storage, name)
    study.pruner = make_pruner(cfg.search.pruner, cfg.trainer.max_epochs)
    return composer, Trials(folder, study, cfg.search, cfg.seed, space)


def _refuse(cfg: Search) -> None:
    """Raise UserError at settings of a training that a search can't have."""
    if cfg.fold == "all":
        raise UserError(
            "fold=all: a trial is of one fold, such as fold=0; search.final=folds trains the "
            "winner on all of them"
        )
    if cfg.trainer.launcher is not None:
        raise UserError("trainer=ray starts one training; a search runs on Ray by engine=ray")
    for key, way in (
        ("plan", "a search has a space in the place of a plan; leave it out"),
        (
            "perf",
            "trials side by side would measure each other; set trainer.precision and the like",
        ),
        ("budget", "that of a search is search.budget"),
        ("resume", "a search goes on by the command that began it, with its output="),
        ("overwrite", "a search replaces nothing; choose another output="),
    ):
        if given := getattr(cfg, key, None):
            shown = "auto" if key == "plan" else str(given).lower() if given is True else given
            raise UserError(f"{key}={shown}: {way}")


def _same_settings(cfg: Search, folder: Path) -> str:
    """Write the settings of a new search, or compare them; gives back the name of its study.

    Raises:
        UserError: The search in that folder has other ones.
    """
    shown = cfg.model_copy(deep=True)
    hide_paths(shown, shown.paths.pseudonym_key if shown.pseudonymise else None)
    if shown.search.storage is not None:  # which may hold a password
        shown.search.storage = "…"
    content = shown.plain()
    path = folder / SETTINGS
    if not path.exists():
        if any(one.name[0] != "." and one.name != "logs" for one in folder.iterdir()):
            raise UserError(f"output={folder} holds files but no search; choose another")
        write_json(folder / NAME, {"name": f"{folder.resolve().name}-{secrets.token_hex(4)}"})
        write_text(path, shown.yaml())
    before, now = (dict(_flat(one)) for one in (yaml.safe_load(path.read_text("utf-8")), content))
    for key in before | now:
        free = any(key == one or key.startswith(f"{one}.") for one in FREE)
        if not free and str(before.get(key)) != str(now.get(key)):
            raise UserError(
                f"output={folder} holds a search with {key}={before.get(key)}, not "
                f"{now.get(key)}; give its settings, or choose another output"
            )
    return str(json.loads((folder / NAME).read_text("utf-8"))["name"])


def _flat(node: Any, above: str = "") -> Any:
    for key, value in node.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value
