"""Where the data lie, which no file of a run tells with ``pseudonymise=true``.

A pseudonym stands in the run's files, in its config too. What is behind it is in a folder beside
the key of the pseudonyms, from which `open_data` takes it: whoever has both can go on with the run.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from medcnn.errors import UserError, check_path

GROUPS = ("dataset", "cache", "paths")
KEYS = {"cache": ("folder",), "paths": ("data",)}  # of other groups all that look like paths
PLACES, NO_PLACES = ("path", "root", "folder"), ("_target_", "name", "flag")
PSEUDONYM = re.compile(r"d-[0-9a-f]{16}")
_hidden: dict[str, str] = {}  # paths of the job at hand, and what stands for them


def hide_paths(cfg: DictConfig, key_file: str | None) -> None:
    """Put pseudonyms in the place of a job's data paths, in its config and in `with_pseudonyms`.

    Args:
        cfg: Resolved; it is changed.
        key_file: Of the pseudonyms; None to hide nothing.

    Raises:
        UserError: The key, or the folder beside it, can't be made or read.
    """
    if key_file is None:
        _hidden.clear()
        return
    from medcnn.jobs.pseudonym_key import load_key, pseudonym

    check_path("paths.pseudonym_key", key_file)
    key, folder = load_key(Path(key_file).expanduser()), _folder(key_file)

    def hide(name: str, value: str) -> str:
        if PSEUDONYM.fullmatch(value) or not _is_place(name, value):
            return value
        _hidden[value] = stands = pseudonym(value, key, "data")
        _keep(folder, stands, value)
        return stands

    _replace(cfg, hide)


def revealed(cfg: DictConfig) -> DictConfig:
    """Return a config with its data paths, from the folder beside the key of the pseudonyms.

    Raises:
        UserError: That folder doesn't have them.
    """
    text = OmegaConf.to_yaml(cfg)
    if not PSEUDONYM.search(text):
        return cfg
    folder = _folder(cfg.paths.pseudonym_key)

    def reveal(name: str, value: str) -> str:
        if not PSEUDONYM.fullmatch(value):
            return value
        try:
            path = (folder / value).read_text(encoding="utf-8", errors="surrogateescape")
        except OSError as error:
            raise UserError(
                f"{name}={value}: the path was hidden by pseudonymise=true, and {folder} doesn't "
                "have it: bring that folder here (paths.pseudonym_key), or give the data anew"
            ) from error
        _hidden[path] = value
        return path

    shown = cfg.copy()
    _replace(shown, reveal)
    return shown


def with_pseudonyms(text: str) -> str:
    """Return a text in which pseudonyms stand for the data paths of the job at hand."""
    key, equals, value = text.partition("=")
    value = value.strip("'\"")
    if value in _hidden:
        return f"{key}{equals}{_hidden[value]}"
    for path in sorted(_hidden, key=len, reverse=True):
        if "/" in path or "\\" in path:  # else it may be a word
            text = text.replace(path, _hidden[path])
    return text


def _replace(cfg: DictConfig, change: Callable[[str, str], str]) -> None:
    """Change the texts in a config that may be data paths."""

    def walk(node: Any, key: Any, name: str) -> None:
        value = None if OmegaConf.is_missing(node, key) else node[key]
        if isinstance(value, DictConfig | ListConfig):
            for inner in list(value) if isinstance(value, DictConfig) else range(len(value)):
                walk(value, inner, str(inner) if isinstance(inner, str) else name)
        elif isinstance(value, str):
            node[key] = change(name, value)

    with open_dict(cfg):
        for group in GROUPS:
            if isinstance(cfg.get(group), DictConfig):
                for key in KEYS.get(group, tuple(cfg[group])):
                    if key in cfg[group]:
                        walk(cfg[group], key, str(key))


def _is_place(name: str, value: str) -> bool:

    return bool(value) and name not in NO_PLACES and (name in PLACES or is_path(value))


def _folder(key_file: str) -> Path:
    key = Path(key_file).expanduser()
    return key.with_name(f"{key.name}.paths")


def _keep(folder: Path, name: str, path: str) -> None:
    """Write what is behind a pseudonym where only its owner can read it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(path)
    except OSError as error:
        raise UserError(f"{folder}: can't be written to ({error.strerror})") from error


FILE_NAME = re.compile(r".*[A-Za-z_-].*\.[A-Za-z][A-Za-z0-9]{0,6}(\.gz)?")


def is_path(text: str) -> bool:
    """Whether a value looks like a path or the name of a file.

    >>> [is_path(text) for text in ("a/b", "~", "scan 1.nii.gz", "0.5", "resnet", "1e-3")]
    [True, True, True, False, False, False]
    """
    return "/" in text or "\\" in text or text.startswith("~") or bool(FILE_NAME.fullmatch(text))
