"""``python -m medcnn`` lists the commands."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

from medcnn.__main__ import COMMANDS, main


def test_each_command_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    listed = [line.split()[2] for line in lines if line.startswith("  python -m ")]
    assert listed == 2 * [f"medcnn.{name}" for name in COMMANDS]
    for name in COMMANDS:
        package = find_spec(f"medcnn.{name}")
        assert package is not None
        assert package.submodule_search_locations is None or find_spec(f"medcnn.{name}.__main__")


def test_a_command_needs_its_dot(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "seed=1"]) == main(["fit"]) == 2
    err = capsys.readouterr().err
    assert err == (
        "medcnn: train: write python -m medcnn.train, with a dot\n"
        "medcnn: fit: python -m medcnn lists the commands\n"
    )


def test_arguments_are_read_before_heavy_libraries_are_loaded() -> None:
    commands = ("train", "data.__main__", "evaluate", "predict", "explain", "features")
    code = f"import sys\n{''.join(f'import medcnn.{name}; ' for name in commands)}"
    code += "print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "pytorch_lightning", "monai", "torchvision", "matplotlib", "sklearn", "scipy"}
    assert not heavy & set(found.stdout.split())
