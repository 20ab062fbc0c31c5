"""A stand-in for SLURM."""

import os
from pathlib import Path

import pytest


def scontrol(folder: Path, monkeypatch: pytest.MonkeyPatch, code: int = 0) -> Path:
    """A stand-in for SLURM's; gives the file that its arguments go to."""
    program = folder / "scontrol"
    program.write_text(f'#!/bin/sh\necho "$@" > {folder}/asked\nexit {code}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return folder / "asked"
