import re

import pytest
from optuna import create_study

from medcnn.errors import UserError
from medcnn.planning.search.space import corners, overrides_of, read_space, suggest

SPACE = {
    "model.depth": {"choices": [18, 34], "when": {"model": "resnet"}},
    "model": ["lenet", "resnet"],
    "optimizer.lr": {"low": 1e-4, "high": 1e-1, "log": True},
    "batch_size": {"low": 8, "high": 24, "int": True, "step": 8},
    "model.width": {"low": 0.5, "high": 1, "when": {"model": ["resnet"], "model.depth": 34}},
}


def test_a_trial_draws_what_goes_together() -> None:
    study = create_study()
    for _ in range(40):
        draws = suggest(read_space(SPACE), study.ask())
        assert ("model.depth" in draws) == (draws["model"] == "resnet")
        assert ("model.width" in draws) == (draws.get("model.depth") == 34)
        assert 1e-4 <= draws["optimizer.lr"] <= 1e-1
        assert draws["batch_size"] in (8, 16, 24)


def test_all_choices_and_ends_are_tried_before_the_first_trial() -> None:
    tried = corners(read_space(SPACE))
    for name, values in {
        "model": {"lenet", "resnet"},
        "model.depth": {18, 34},
        "optimizer.lr": {1e-4, 1e-1},
        "batch_size": {8, 24},
        "model.width": {0.5, 1.0},
    }.items():
        assert {draws[name] for draws in tried if name in draws} == values
    assert all("model.depth" not in draws for draws in tried if draws["model"] == "lenet")


def test_text_that_hydra_reads_back() -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    draws = {"a": "it's", "b": "null", "c": r"x\'", "d": 0.1, "e": True, "f": None, "g": "a,b"}
    parsed = OverridesParser.create().parse_overrides(overrides_of(draws))
    assert {one.key_or_group: one.value() for one in parsed} == draws


@pytest.mark.parametrize(
    ("node", "says"),
    [
        ({}, "search.space={}: nothing to draw"),
        ({"seed": 3}, "search.space.seed=3: give a list of choices, or a range"),
        ({"seed": [1, 1]}, "search.space.seed=[1, 1]: a choice is there twice"),
        ({"seed": [[1]]}, "search.space.seed=[[1]]: give choices in brackets, words or numbers"),
        ({"lr": {"low": 1}}, "search.space.lr.high=None: give a number"),
        ({"lr": {"low": 2, "high": 1}}, "search.space.lr: low=2 has to be below high=1"),
        ({"lr": {"low": 0, "high": 1, "log": True}}, "with log=true low is above 0"),
        ({"lr": {"low": 0, "high": 1, "log": 10}}, "search.space.lr.log=10: choose one of true,"),
        ({"n": {"low": 0.5, "high": 2, "int": True}}, "n.low=0.5: give a whole number"),
        ({"n": {"low": 1, "high": 2, "setp": 1}}, "n.setp: there is no such key (did you mean st"),
        ({"a": [1], "b": {"choices": [2], "when": {"A": 1}}}, "b.when: A isn't drawn"),
        ({"a": ["x"], "b": {"choices": [2], "when": {"a": "X"}}}, "b.when: a is never X"),
        (
            {"a": {"low": 0, "high": 1}, "b": {"choices": [2], "when": {"a": 1}}},
            "b.when: a has a range; only choices can be asked for",
        ),
        ({"b": {"choices": [2], "when": {"b": 2}}}, "search.space.b.when: it waits for itself"),
    ],
)
def test_a_space_that_can_t_be(node: dict[str, object], says: str) -> None:
    with pytest.raises(UserError, match=re.escape(says)):
        read_space(node)
