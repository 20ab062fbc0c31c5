"""Folders of images for the tests of sources."""

from pathlib import Path

import pytest


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with the (empty) images a.png … d.png."""
    top = tmp_path.resolve() / "root"
    top.mkdir()
    for name in "abcd":
        (top / f"{name}.png").touch()
    return top
