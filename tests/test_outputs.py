"""Results that can't be written are refused before the work is done."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pytest
from PIL import Image as Picture

from medcnn.check_data import look
from medcnn.errors import UserError
from medcnn.features import main as features
from medcnn.report.__main__ import report

pytestmark = pytest.mark.no_cover


def commands(run: Path, image: Path, bad: Path) -> dict[str, Callable[[], Any]]:
    checkpoint, output = f"checkpoint={run / 'checkpoints' / 'best.ckpt'}", f"output={bad}"
    asked = (checkpoint, "accelerator=cpu", f"image={image}", output)
    return {
        "predict": lambda: jobs.predict(checkpoint, f"images={image}", f"{output}/out.csv"),
        "explain": lambda: jobs.explain(checkpoint, output),
        "explain a file": lambda: jobs.explain(checkpoint, f"image={image}", output),
        "features": lambda: features(jobs.compose("features", *asked), []),
        "report": lambda: report(jobs.compose("report", f"runs={run}", f"{output}/out.html"), []),
        "evaluate": lambda: jobs.evaluate(bad, checkpoint),
        "data": lambda: look(jobs.compose("data", *jobs.PHANTOM, output), []),
    }


@pytest.mark.parametrize("name", commands(Path(), Path(), Path()))
def test_an_output_that_cannot_be_written(name: str, phantom_run: Path, tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    Picture.fromarray(np.zeros((28, 28), np.uint8)).save(image)
    before = sorted(phantom_run.rglob("*"))
    with pytest.raises(UserError, match=r"can't be written: .*a\.png: not a directory"):
        commands(phantom_run, image, image / "folder")[name]()
    assert sorted(phantom_run.rglob("*")) == before
    assert list(tmp_path.iterdir()) == [image]
