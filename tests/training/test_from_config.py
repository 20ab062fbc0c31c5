from pathlib import Path

import jobs
import pytest

from medcnn.errors import UserError


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("optimizer.lr=-1", "AdamW refuses these options: Invalid learning rate: -1"),
        ("scheduler.warmup=2", r"scheduler\.warmup=2: a share of the training"),
        ("objective.class_weights=heavy", "class_weights=heavy: null, balanced or a list"),
    ],
)
def test_wrong_options_are_refused_before_data_are_read(
    tmp_path: Path, option: str, words: str
) -> None:
    with pytest.raises(UserError, match=words):
        jobs.train(tmp_path / "run", "dataset=csv", "dataset.path=none.csv", option)
