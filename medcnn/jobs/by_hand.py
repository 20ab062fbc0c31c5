"""What a person has set: on the command line, in an experiment, or in conf/local."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from medcnn.jobs.instantiate import conf_dir

Settings = dict[str, tuple[str, str | None]]
FILES = ("experiment", "debug", "local")  # groups whose choices are files of settings


def set_by_hand() -> Settings:
    """Return the keys that a person has set, each with where, and of a group its choice.

    A group stands by its name (``model``), with the choice; a key in it by its own
    (``model.width``). Empty outside a command line.
    """
    if not HydraConfig.initialized():
        return {}
    found: Settings = {}
    choices = OmegaConf.to_container(HydraConfig.get().runtime.choices)
    assert isinstance(choices, dict)
    for group in FILES:
        if choices.get(group):
            where = group if group == "local" else f"{group}={Path(choices[group]).name}"
            found |= {key: (where, one) for key, one in _of_file(f"{group}/{choices[group]}")}
    overrides = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    assert isinstance(overrides, list)
    for one in OverridesParser.create().parse_overrides(overrides):
        key = str(one.key_or_group)
        choice = str(one.value()) if (conf_dir() / key).is_dir() else None
        if key not in FILES and not one.is_delete():
            found[key] = ("command line", choice)
    return found


def _of_file(name: str) -> Iterator[tuple[str, str | None]]:
    """Yield the groups that a config file chooses, with the choice, and the keys that it sets."""
    sources = HydraConfig.get().runtime.config_sources
    folders = [Path(one.path) for one in sources if one.schema == "file"]
    file = next((path for f in folders if (path := f / f"{name}.yaml").is_file()), None)
    content = yaml.safe_load(file.read_text(encoding="utf-8")) if file else None
    for one in (content or {}).pop("defaults", []):
        if isinstance(one, dict):
            for key, choice in one.items():
                yield str(key).split()[-1].lstrip("/"), str(choice)
        elif one != "_self_":
            yield from _of_file(f"{name.rpartition('/')[0]}/{one}")
    for key in _leaves(content or {}):
        yield key, None


def _leaves(node: dict[str, Any], above: str = "") -> Iterator[str]:
    """Yield the keys of values, with those above them before a dot."""
    for key, value in node.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}"
