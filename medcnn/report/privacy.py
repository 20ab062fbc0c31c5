"""The facts of a run that may be shown to others: no path, no person, no machine."""

import re
import shlex
from collections.abc import Sequence
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from medcnn.jobs.private import is_path

PLACE = "PATH"  # stands for any path
HIDDEN_GROUPS = ("paths", "logger", "cache")
HIDDEN_KEY = re.compile(r"user|mail|entity|account|host|token|secret|password|api_?key", re.I)
ANY_PATH = re.compile(r"(?<![\w/.\\<])(?:~|/|\.{1,2}/|[A-Za-z]:[\\/]|\\\\)[^\s'\",;:)\]]+")


def without_paths(text: str) -> str:
    """Return a sentence, its paths made unreadable.

    >>> without_paths("train/loss of /home/anna/x.csv is high")
    'train/loss of PATH is high'
    """
    return ANY_PATH.sub(PLACE, text)


def command(words: Sequence[str]) -> str:
    """Return a command as one can type it, without the paths of this machine.

    Args:
        words: As in environment.json: the interpreter, the file, the overrides.

    >>> command(["python", "/home/anna/medcnn/train.py", "model=resnet", "paths.run=/tmp/x"])
    'python -m medcnn.train model=resnet paths.run=PATH'
    """
    if len(words) < 2:
        return ""
    program, file, *rest = words
    path = _pure(file)
    start = ["-m", f"medcnn.{path.stem}"] if path.parent.name == "medcnn" else [path.name]
    return shlex.join([_pure(program).name, *start, *map(_argument, rest)])


def _pure(path: str) -> PurePosixPath | PureWindowsPath:
    return PureWindowsPath(path) if "\\" in path else PurePosixPath(path)


def _argument(word: str) -> str:
    key, sign, value = word.partition("=")
    if not sign:
        return PLACE if is_path(word) else word
    if HIDDEN_KEY.search(key):
        return f"{key}=HIDDEN"
    hidden = key.lstrip("+~").split(".")[0] in HIDDEN_GROUPS or is_path(value.strip("'\""))
    return f"{key}={PLACE if hidden and '/' not in key else value}"


def config(values: Any) -> Any:
    """Return a config without paths, loggers, and keys of a person, a machine or a secret.

    Args:
        values: As of yaml.safe_load.

    >>> config({"seed": 0, "paths": {"run": "x"}, "dataset": {"csv": "/home/anna/x.csv"}})
    {'seed': 0, 'dataset': {'csv': 'PATH'}}
    """
    if isinstance(values, dict):
        kept = {k: v for k, v in values.items() if k not in HIDDEN_GROUPS}
        return {k: v if k == "_target_" else _value(str(k), v) for k, v in kept.items()}
    if isinstance(values, list):
        return [config(value) for value in values]
    return PLACE if isinstance(values, str) and is_path(values) else values


def _value(key: str, value: Any) -> Any:
    return "HIDDEN" if HIDDEN_KEY.search(key) and value is not None else config(value)
