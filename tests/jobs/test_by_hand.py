"""What a person has set, and where."""

from pathlib import Path
from typing import Any

import jobs
import pytest
from hydra.core.hydra_config import HydraConfig

from medcnn.jobs.by_hand import Settings, set_by_hand

MINE = """# @package _global_
defaults:
  - base
  - override /augment: strong
augment:
  flip: []
batch_size: 8
"""


def test_keys_of_the_command_line_and_of_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "experiment"
    folder.mkdir()
    (folder / "mine.yaml").write_text(MINE)
    (folder / "base.yaml").write_text("# @package _global_\nmodel: {width: 0.5}\nbatch_size: 4\n")
    (tmp_path / "my file.yaml").write_text(MINE.replace("  - base\n", ""))
    found: list[Settings] = []

    def task(cfg: Any, trust: list[str]) -> None:
        assert cfg.batch_size == 8
        found.append(set_by_hand())

    arguments = (f"--config-dir={tmp_path}", "experiment=mine", "model=vgg", "++seed=3")
    file = (
        f"experiment={tmp_path / 'my file.yaml'}",
        "debug=fast",
        "dataset.path=x=y",
        "dataset=csv",
    )
    try:
        assert jobs.command(monkeypatch, task, "train", *arguments) == 0
        assert jobs.command(monkeypatch, task, "train", *file) == 0
    finally:
        HydraConfig.instance().cfg = None
    mine = dict.fromkeys(("model.width", "augment.flip", "batch_size"), ("experiment=mine", None))
    mine["augment"] = ("experiment=mine", "strong")
    by_command = {"model": ("command line", "vgg"), "seed": ("command line", None)}
    assert found[0] == mine | by_command
    assert found[1]["augment.flip"] == ("experiment=my file", None)
    assert found[1]["augment"] == ("experiment=my file", "strong")
    assert found[1]["cam.n"] == ("debug=fast", None)
    assert found[1]["dataset"] == ("command line", "csv")
    assert set_by_hand() == {}
