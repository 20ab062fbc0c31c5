"""The paths of the data, which no file of a run tells with ``pseudonymise=true``.

A pseudonym stands in the run's files, in its config too. What is behind it is in a folder beside
the key of the pseudonyms, from which `open_data` takes it: whoever has both can go on with the run.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from medcnn.errors import UserError, check_path
from medcnn.jobs.copies import copy_folder
from medcnn.jobs.remote import is_address, parent_of
from medcnn.jobs.settings.commands import OpenData, Tested

PLACES, NO_PLACES = ("path", "root", "folder"), ("_target_", "name", "flag")
PSEUDONYM = re.compile(r"d-[0-9a-f]{16}")
_hidden: dict[str, str] = {}  # paths of the job at hand, and what stands for them


def hide_paths(cfg: OpenData | Tested, key_file: str | None) -> None:
    """Put pseudonyms in the place of a job's data paths, in its settings and in `with_pseudonyms`.

    Args:
        cfg: It is changed.
        key_file: Of the pseudonyms; None to hide nothing.
    """
    if key_file is None:
        _hidden.clear()
        return
    from medcnn.jobs.pseudonym_key import load_key, pseudonym

    key, folder = load_key(Path(key_file).expanduser()), _folder(key_file)

    def hide(name: str, value: str) -> str:
        is_place = value and name not in NO_PLACES and (name in PLACES or is_path(value))
        if PSEUDONYM.fullmatch(value) or not is_place:
            return value
        stands = pseudonym(value, key, "data")
        _remember(value, stands)
        _keep(folder, stands, value)
        return stands

    _replace(cfg, hide)


def revealed(cfg: OpenData) -> OpenData:
    """Return settings with their data paths, from the folder beside the key of the pseudonyms.

    Raises:
        UserError: That folder doesn't have them.
    """
    if not PSEUDONYM.search(str(cfg.plain())):
        return cfg
    check_path("paths.pseudonym_key", cfg.paths.pseudonym_key)
    folder = _folder(str(cfg.paths.pseudonym_key))

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
        _remember(path, value)
        return path

    shown = cfg.model_copy(deep=True)
    _replace(shown, reveal)
    return shown


def _remember(path: str, stands: str) -> None:
    """Have `with_pseudonyms` put a pseudonym for a path; for an address with its folder and copies.

    So it does for an address without its scheme, as the messages of a storage have it.
    """
    _hidden[path] = stands
    if is_address(path):
        for place in (path, parent_of(path)) if Path(path).suffix else (path,):
            names = (place, place.partition("://")[2], str(copy_folder(place)))
            _hidden.update(dict.fromkeys(names, stands))


def with_pseudonyms(text: str) -> str:
    """Return a text in which pseudonyms stand for the data paths of the job at hand."""
    key, equals, value = text.partition("=")
    value = value.strip("'\"").replace("\\'", "'")  # as `medcnn.jobs.arguments` has quoted it
    if value in _hidden:
        return f"{key}{equals}{_hidden[value]}"
    for path in sorted(_hidden, key=len, reverse=True):
        if "/" in path or "\\" in path:  # else it may be a word
            text = text.replace(path, _hidden[path])
    return text


def _replace(cfg: OpenData | Tested, change: Callable[[str, str], str]) -> None:
    """Change the texts in settings that may be data paths."""

    def changed(value: Any, name: str) -> Any:
        if isinstance(value, dict):
            return {key: changed(inner, str(key)) for key, inner in value.items()}
        if isinstance(value, list):
            return [changed(inner, name) for inner in value]
        return change(name, value) if isinstance(value, str) else value

    cfg.dataset = changed(cfg.dataset, "")
    cfg.cache.folder = change("folder", cfg.cache.folder)
    cfg.paths.data = change("data", cfg.paths.data)


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
    """Return True if a value looks like a path or the name of a file.

    >>> [is_path(text) for text in ("a/b", "~", "scan 1.nii.gz", "0.5", "resnet", "1e-3")]
    [True, True, True, False, False, False]
    """
    return "/" in text or "\\" in text or text.startswith("~") or bool(FILE_NAME.fullmatch(text))
