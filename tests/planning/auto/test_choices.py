"""Choices as settings, and as a config that makes the same settings."""

from pathlib import Path

import jobs
import pytest
import yaml

from medcnn.errors import UserError
from medcnn.jobs.arguments import recipe_file
from medcnn.planning.auto.choices import changed, check_names, experiment, fixed, group_node

VALUES = {
    "augment": "standard",
    "average": "ema",
    "augment.flip": [-1, -2],
    "model.width": 0.25,
    "fold": "all",
    "objective.class_weights": None,
}


def test_an_experiment_makes_the_settings_that_were_chosen(tmp_path: Path) -> None:
    by_hand = {"augment.noise": ("command line", None)}
    now = jobs.compose("train", "augment.noise=0.5")
    chosen = changed(now, VALUES, by_hand)
    assert chosen.augment["noise"] == 0.5
    file = tmp_path / "my plan=1.yaml"
    text = experiment({key: (value, "why so") for key, value in VALUES.items()}, ["What for."])
    file.write_text(text)
    again = jobs.compose("train", "augment.noise=0.5", recipe_file(f"experiment={file}"))
    for settings in (chosen, again):
        settings.paths.run = "run"
    assert again.plain() == chosen.plain()
    assert "  - override /augment: standard # why so\n" in text
    assert "  width: 0.25 # why so\n" in text


def test_a_group_is_as_hydra_composes_it() -> None:
    for choice in ("none", "light", "standard", "strong"):
        assert group_node("augment", choice) == jobs.compose("train", f"augment={choice}").augment


def test_comments_end_with_their_line() -> None:
    text = experiment({"seed": (1, "a\nb: c")}, [])
    assert yaml.safe_load(text) == {"seed": 1}


def test_epochs_of_the_data_are_those_of_the_training() -> None:
    assert fixed({"dataset.epochs": ("command line", None)}) == {
        "dataset.epochs": "command line",
        "trainer.max_epochs": "command line",
    }


def test_a_rule_that_there_is_not() -> None:
    with pytest.raises(UserError, match=r"plan\.without=wdith: choose of width, batch"):
        check_names(["wdith"], ["width", "batch"])
