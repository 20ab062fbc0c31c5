"""Fixtures of the tests of pictures."""

from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved, drawn; their files are empty."""
    seen: list[Figure] = []

    def keep(figure: Figure, path: Path, **_: Any) -> None:
        figure.canvas.draw()
        seen.append(figure)
        path.touch()

    monkeypatch.setattr(Figure, "savefig", keep)
    return seen
