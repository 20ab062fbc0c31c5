"""Checkpoint files: whole or not there, and why one can't be used."""

from pathlib import Path

import pytest
import torch
from disks import fill, forbidden

from medcnn.classifier.checkpoint import WholeFiles, read_checkpoint
from medcnn.errors import UserError


def test_the_checkpoint_before_stands_until_the_new_one_is_whole(small_disk: Path) -> None:
    path = small_disk / "checkpoints" / "last.ckpt"
    WholeFiles().save_checkpoint({"epoch": torch.arange(1000)}, path)
    before = path.read_bytes()
    ballast = fill(small_disk)
    with pytest.raises(OSError, match=r"No space left on device: .*last\.ckpt"):
        WholeFiles().save_checkpoint({"epoch": torch.arange(2000)}, path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
    ballast.unlink()
    WholeFiles().save_checkpoint({"epoch": torch.arange(2000)}, path)
    assert len(torch.load(path)["epoch"]) == 2000


def test_why_a_checkpoint_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    with pytest.raises(UserError, match="there is no such file"):
        read_checkpoint(path)
    with pytest.raises(UserError, match=r"is a folder; a run's checkpoint is"):
        read_checkpoint(tmp_path)
    path.write_bytes(b"PK")
    with pytest.raises(UserError, match="is not a checkpoint, or a damaged one"):
        read_checkpoint(path)
    with forbidden(path), pytest.raises(UserError, match=r"last\.ckpt: permission denied"):
        read_checkpoint(path)
