"""What there is not yet is named in the field's words."""

import subprocess
import sys
from pathlib import Path

import jobs
import pytest

from medcnn.__main__ import COMMANDS, main
from medcnn.jobs.instantiate import conf_dir
from medcnn.jobs.lacking import COMMON, LACKING, OF_TIMM, lacking
from medcnn.nets import FAMILIES


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("loss", "LDAM"), "no such loss yet (ldam); loss= is cross_entropy, focal"),
        (("Mo-Saic",), "no putting together of four training images yet (mosaic); reg"),
        (
            ("hydra/sweeper/optuna",),
            "no such search for hyperparameters yet (optuna); python -m medcnn.search has",
        ),
        (("vit_b_16",), "model=timm model.name=vit_small_patch16_224"),
        (("neptune",), "pytorch_lightning.loggers.NeptuneLogger"),
        (("trainer.tune", 1), "no such search for hyperparameters yet (tune)"),
        (("hdf5",), "no reader of such stores yet (hdf5)"),
    ],
)
def test_a_sentence_for_it(words: tuple[str, ...], says: str) -> None:
    assert says in str(lacking(*words))


def test_nothing_that_there_is_is_said_to_be_lacking() -> None:
    choices = {path.stem for path in conf_dir().glob("*/*.yaml")}
    assert not LACKING.keys() & (choices | FAMILIES.keys() | COMMANDS.keys())
    assert lacking(*choices, *FAMILIES, "no_such_key", None, 1) is None


def test_a_common_word_in_a_mistyped_key_or_its_value_asks_for_nothing() -> None:
    assert set(COMMON) <= LACKING.keys()
    mistyped = ("chest_x_ray", "x-ray", "data.export_dir", "search_space", "server_name", "plans")
    assert [lacking(word) for word in mistyped] == [None] * len(mistyped)
    assert lacking("path.runs", "plan", "/data/mixup", "runs/search") is None


@pytest.mark.slow  # timm lists its models
def test_timm_has_what_it_is_said_to_have() -> None:
    timm = pytest.importorskip("timm")
    assert set(OF_TIMM.values()) <= set(timm.list_models())


def test_a_command_that_there_is_not_yet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve"]) == 2
    assert "no server of predictions yet" in capsys.readouterr().err
    call = [sys.executable, "-m", "medcnn.export", "checkpoint=x"]
    environment = {"PYTHONPATH": str(jobs.ROOT)}
    done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("medcnn: there is no export of networks yet (export); ")
    assert done.stderr.count("\n") == 1
