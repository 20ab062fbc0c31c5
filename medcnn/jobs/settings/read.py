"""From a composed config, or that of a stored run, to settings, or to one line of what is wrong."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import yaml
from omegaconf import DictConfig, OmegaConf
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from medcnn.errors import UserError
from medcnn.jobs.instantiate import conf_dir
from medcnn.jobs.lacking import lacking, nearest
from medcnn.jobs.settings import commands
from medcnn.jobs.settings.commands import Command

ROOTS: dict[str, type[Command]] = {
    name: getattr(commands, name.title())
    for name in (
        "train",
        "diagnose",
        "plan",
        "evaluate",
        "predict",
        "explain",
        "features",
        "data",
        "report",
        "search",
    )
}
WAYS = {
    "bool_type": "choose one of true, false",
    "list_type": "give names in brackets",
    "string_type": "give a word",
}
LATER = re.compile(r"\$\{|^\?\?\?$")
Made = TypeVar("Made", bound=Command)


def check(cfg: DictConfig, root: str) -> None:
    """Raise UserError at a key that no config of medcnn has, or a value that can't be.

    Values that are still missing, and interpolations, are looked at by `read`.

    Args:
        cfg: As composed, before a job begins.
        root: The file in conf/, without ``.yaml``.
    """
    try:
        ROOTS[root].model_validate(_given(OmegaConf.to_container(cfg)))
    except ValidationError as error:
        found = [one for one in error.errors() if one["type"] != "missing"]
        if found:
            raise UserError(_worst(found, root)) from None


def read(cfg: DictConfig, root: str) -> Any:
    """Return the settings of a job, one of `ROOTS`; raise UserError as `check` does."""
    given = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    again: Any = OmegaConf.create(given)  # a text that was put together may be an interpolation
    try:
        return ROOTS[root].model_validate(OmegaConf.to_container(again, resolve=True))
    except ValidationError as error:
        raise UserError(_worst(error.errors(), root)) from None


def read_stored(kind: type[Made], given: dict[str, Any] | DictConfig, file: str | Path) -> Made:
    """Return the settings of a run of any version of medcnn.

    Keys that there are no more are left out; those that there were not yet have their default.

    Args:
        kind: Of a training, or a part of it.
        given: As config.yaml and checkpoints hold it; it isn't changed.
        file: Where it was, for messages.

    Raises:
        UserError: A value that can't be.
    """
    content: Any = OmegaConf.to_container(OmegaConf.create(given))
    while True:
        whole = OmegaConf.create(content)
        try:
            return kind.model_validate(OmegaConf.to_container(whole, resolve=True))
        except ValidationError as error:
            for one in error.errors():
                if one["type"] not in ("extra_forbidden", "missing"):
                    raise UserError(f"{file}: {_worst([one], 'train')}") from None
                *above, key = one["loc"]
                node: Any = content
                for part in above:
                    node = node[part]
                if one["type"] == "missing":
                    node[key] = _default(*above, key)
                else:
                    del node[key]


def no_such_key(key: str, root: str, *values: object) -> str:
    """Return the message about a key that a root config lacks, and the values it was to have."""
    sentence = lacking(key, *values)
    if sentence is not None:
        return f"there is no key {key}: {sentence}"
    group, _, rest = key.partition(".")
    if group in ROOTS and group not in ROOTS[root].model_fields and (conf_dir() / group).is_dir():
        return f"there is no key {key} here: it is of python -m medcnn.{group}"
    if choices := _having(group, rest):
        has = "has" if len(choices) == 1 else "have"
        return f"there is no key {key} here; {group}={', '.join(choices)} {has} it"
    names = _names(root)
    same = [name for name in names if name.rpartition(".")[2] == key.rpartition(".")[2]]
    near = f" (did you mean {' or '.join(same)}?)" if 0 < len(same) <= 3 else nearest(key, names)
    return f"there is no key {key}{near}"


def _given(node: Any) -> Any:
    """Return a node without the values that are still to come: ``???`` and interpolations."""
    if not isinstance(node, dict):
        return node
    later = {key for key, value in node.items() if isinstance(value, str) and LATER.search(value)}
    return {key: _given(value) for key, value in node.items() if key not in {"hydra", *later}}


def _worst(errors: list[ErrorDetails], root: str) -> str:
    """Return the line about a key that there is not, or else about the first wrong value."""
    unknown = ("extra_forbidden", "no_such_key")
    error = next((one for one in errors if one["type"] in unknown), errors[0])
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    key = ".".join(part for part in error["loc"] if isinstance(part, str))
    if kind == "extra_forbidden":
        return no_such_key(key, root, value)
    if kind == "no_such_key":
        return no_such_key(f"{key}.{context['key']}", root, value[context["key"]])
    if kind == "missing" and (conf_dir() / key / "none.yaml").exists():
        return f"{key} is missing: {key}=none goes without"
    if kind == "missing":
        return f"{key} is missing: add {key}=… to the command line"
    if kind == "value_error":
        return f"{key}{context['error']}"
    if kind == "literal_error":
        words = context["expected"].replace(" or ", ", ").replace("'", "")
        return f"{key}={value}: {lacking(value) or f'choose one of {words.lower()}'}"
    return f"{key}={value}: {WAYS.get(kind) or error['msg'].lower()}"


def _names(root: str) -> list[str]:
    """Return the keys and groups that a root config may have, and the keys within these."""
    file, fields = _file(root), list(ROOTS[root].model_fields)
    groups = [key for one in file["defaults"] if isinstance(one, dict) for key in one]
    names = [*fields, *(key for key in groups if " " not in key), *_within(file)]
    for group in fields:
        for path in sorted((conf_dir() / group).glob("*.yaml")):
            names += _within({group: _file(f"{group}/{path.stem}")})
    return list(dict.fromkeys(names))


def _having(group: str, key: str) -> list[str]:
    """Return the choices of a group whose files have a key."""
    files = [path for path in (conf_dir() / group).glob("*.yaml") if path.stem[0] != "_"]
    return sorted(f.stem for f in files if key in _within(_file(f"{group}/{f.stem}")))


def _within(node: dict[str, Any], above: str = "") -> Iterator[str]:
    """Yield the keys of a config file, with those above them before a dot."""
    for key, value in node.items():
        if key not in ("hydra", "defaults"):
            yield f"{above}{key}"
            if isinstance(value, dict):
                yield from _within(value, f"{above}{key}.")


def _default(group: Any, *keys: Any) -> Any:
    """Return the default of a key of a training."""
    node: Any = _file("train")
    if group not in node:
        (choice,) = (one[group] for one in node["defaults"] if group in one)
        node = {group: _file(f"{group}/{choice}")}
    for key in (group, *keys):
        node = node[key]
    return node


@cache
def _file(name: str) -> dict[str, Any]:
    content = yaml.safe_load((conf_dir() / f"{name}.yaml").read_text(encoding="utf-8"))
    return dict(content or {})
