"""Measured parts, kept one by one, so that a stopped run goes on."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from medcnn.jobs.atomic_files import write_csv, write_json


class Parts:
    """A folder with one table for each part of the work that is done.

    Parts that were made with other settings, the plain values that they depend on, are removed.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder = folder
        known = folder / "settings.json"
        if folder.exists() and _read(known) != json.loads(json.dumps(settings)):
            shutil.rmtree(folder)
        write_json(known, settings)

    def table(self, name: str, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """The table of a part: read where it is there, else made and kept."""
        path = self.folder / f"{name}.csv"
        if not path.exists():
            write_csv(path, make())
        return pd.read_csv(path, float_precision="round_trip")


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
