"""From chosen values to settings, and to an experiment config that makes the same of them."""

from typing import Any, TypeVar

import yaml
from omegaconf import OmegaConf

from medcnn.errors import UserError
from medcnn.jobs.by_hand import Settings
from medcnn.jobs.instantiate import conf_dir
from medcnn.jobs.settings.commands import Train

Made = TypeVar("Made", bound=Train)
# Keys that say where and on what a training runs, not how: a plan is of any machine and data of the
# kind, but for how files become images.
ELSEWHERE = (
    *("dataset", "paths", "cache", "logger", "engine", "pseudonymise"),
    *("plan", "budget", "resume", "overwrite", "trust", "output"),
)
OF_IMAGES = ("dataset.size", "dataset.crop", "dataset.crop_margin", "dataset.spacing")
FILE_KEYS = {"dataset.epochs": "trainer.max_epochs", "dataset.net_width": "model.width"}


def is_group(key: str) -> bool:
    """Return whether a key is that of a group of configs."""
    return "." not in key and (conf_dir() / key).is_dir()


def group_node(group: str, choice: str) -> dict[str, Any]:
    """Return what the file of a group's choice holds, with that of the choices it starts from."""
    path = conf_dir() / group / f"{choice}.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    node: dict[str, Any] = {}
    for one in content.pop("defaults", ["_self_"]):
        node |= content if one == "_self_" else group_node(group, one)
    return OmegaConf.to_container(OmegaConf.create(node), resolve=True)  # type: ignore[return-value]


def changed(cfg: Made, values: dict[str, Any], by_hand: Settings | None = None) -> Made:
    """Return settings with other values; what was set by hand within a new group stays."""
    content = cfg.plain()
    for key, value in values.items():
        if is_group(key):
            kept = {one: _get(content, one) for one in by_hand or {} if one.startswith(f"{key}.")}
            content[key] = group_node(key, value)
            for one, there in kept.items():
                _set(content, one, there)
        else:
            _set(content, key, value)
    return type(cfg).model_validate(content)


def fixed(by_hand: Settings) -> dict[str, str]:
    """Return the keys that a plan leaves alone, with where each was set."""
    found = {key: where for key, (where, _) in by_hand.items()}
    return found | {FILE_KEYS[key]: where for key, where in found.items() if key in FILE_KEYS}


def experiment(values: dict[str, tuple[Any, str]], head: list[str]) -> str:
    """Return the text of an experiment config.

    Args:
        values: By their keys (a group by its name), each with the reason, a comment.
        head: Lines above it.
    """
    groups = {key: one for key, one in values.items() if is_group(key)}
    lines = ["# @package _global_", *(f"# {line}" for line in head)]
    if groups:
        lines.append("defaults:")
    for key, (choice, reason) in groups.items():
        lines.append(f"  - override /{key}: {choice}{_comment(reason)}")
    tree: dict[str, Any] = {}
    for key, value in values.items():
        if key not in groups:
            _set(tree, key, value)
    return "\n".join([*lines, *_lines(tree)]) + "\n"


def _lines(tree: dict[str, Any], depth: int = 0) -> list[str]:
    lines = []
    for key, value in tree.items():
        if isinstance(value, dict):
            lines += [f"{'  ' * depth}{key}:", *_lines(value, depth + 1)]
        else:
            given, reason = value
            lines.append(f"{'  ' * depth}{key}: {shown(given)}{_comment(reason)}")
    return lines


def shown(value: Any) -> str:
    """Return a value as YAML writes it, in one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).split("\n")[0]


def _comment(reason: str) -> str:
    return f" # {' '.join(reason.split())}" if reason else ""


def value_of(cfg: Train, key: str) -> Any:
    """Return the value of a key."""
    return _get(cfg.plain(), key)


def _get(node: Any, key: str) -> Any:
    for part in key.split("."):
        node = node[part]
    return node


def _set(node: dict[str, Any], key: str, value: Any) -> None:
    *above, last = key.split(".")
    for part in above:
        node = node.setdefault(part, {})
    node[last] = value


def check_names(without: list[str], known: list[str]) -> None:
    """Raise UserError at a rule that there is not."""
    for name in without:
        if name not in known:
            raise UserError(f"plan.without={name}: choose of {', '.join(known)}")
