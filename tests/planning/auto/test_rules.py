"""What the rules say of data that are made up."""

from dataclasses import replace
from typing import Any

import pytest
from planned_trainings import SLOW, planned

from medcnn.errors import UserError

CSV = ("dataset=csv", "dataset.path=table.csv")


def test_few_images_train_in_folds_once_there_is_time_for_the_width_that_they_want() -> None:
    short, long = planned(180).cfg, planned(7200).cfg
    assert (short.fold, long.fold, long.folds) == (None, "all", 6)
    assert short.model["width"] == long.model["width"] == 0.5
    assert (short.batch_size, short.augment["rotate"]) == (32, 10.0)


def test_the_time_that_is_planned_is_the_budget() -> None:
    for seconds in (180, 600, 3600):
        plan = planned(seconds)
        needs, epochs = plan.needs, plan.cfg.trainer.max_epochs
        whole = needs.beside({}) + needs.rounds * epochs * needs.epoch({})
        assert whole <= seconds
        assert whole > 0.75 * seconds or epochs == 100


def test_what_is_set_by_hand_stays() -> None:
    options = ("model=densenet", "augment.flip=[]", "trainer.max_epochs=7")
    by_hand = {"model": "densenet", "augment.flip": None, "trainer.max_epochs": None}
    plan = planned(600, *options, by_hand=by_hand)
    cfg = plan.cfg
    assert (cfg.model["name"], cfg.augment["flip"], cfg.trainer.max_epochs) == ("densenet", [], 7)
    assert cfg.augment["rotate"] == 10.0
    reasons = {line.key: line.reason for line in plan.lines}
    assert reasons["model"] == "set by hand (command line)"
    assert list(reasons).count("trainer.max_epochs") == 1


@pytest.mark.parametrize(
    ("kind", "flips"),
    [("US", [-1]), ("CT", []), ("", []), ("pathmnist", [-1, -2]), ("organamnist", [])],
)
def test_flips_where_side_carries_no_meaning(kind: str, flips: list[int]) -> None:
    plan = planned(600, kind=kind)
    assert plan.cfg.augment["flip"] == flips
    (reason,) = [line.reason for line in plan.lines if line.key == "augment"]
    assert ("not mirrored" in reason) == (not flips)


def test_a_rule_left_out() -> None:
    plan = planned(600, "plan.without=[width,augment]")
    assert plan.cfg.model["width"] == 1.0
    assert plan.cfg.augment["flip"] == [-1]
    assert {line.rule for line in plan.lines}.isdisjoint({"width", "augment"})


def test_lesions_choose_the_size_of_files() -> None:
    files: dict[str, Any] = {"size": None, "own": (512, 512), "images": 400, "patients": 200}
    assert planned(36000, **files, lesion=0.1).cfg.dataset["size"] == 128  # 12 px
    assert planned(36000, **files, lesion=0.5).cfg.dataset["size"] == 64
    assert planned(36000, **files).cfg.dataset["size"] == 224
    assert planned(180, **files | {"images": 4000}).cfg.dataset["size"] == 28


def test_files_of_regions_of_unlike_size_get_one_scale() -> None:
    files: dict[str, Any] = {"size": None, "own": (512, 512), "lesion": 0.5}
    cfg = planned(36000, *CSV, **files, extents={"none": ((200.0, 320.0), (200.0, 216.0))}).cfg
    assert (cfg.dataset["size"], cfg.dataset["spacing"]) == (64, [5.0, 3.375])
    cfg = planned(36000, *CSV, **files, extents={"none": ((200.0, 216.0), (200.0, 216.0))}).cfg
    assert cfg.dataset["spacing"] is None


def test_memory_limits_size_and_batch() -> None:
    files: dict[str, Any] = {"size": None, "own": (512, 512)}
    small = replace(SLOW, memory=450_000_000)
    cfg = planned(36000, *CSV, **files).cfg
    assert (cfg.dataset["size"], cfg.batch_size) == (224, 32)
    plan = planned(
        36000, *CSV, "model.width=1", by_hand={"model.width": None}, **files, machine=small
    )
    room = plan.needs.room({})
    assert plan.cfg.dataset["size"] == 128
    assert room is not None
    assert plan.cfg.batch_size == room < 32
    with pytest.raises(UserError, match="no memory for a step of two images"):
        planned(36000, machine=replace(SLOW, memory=1_000_000))


def test_given_weights_are_started_from() -> None:
    plan = planned(600, "model.pretrained=true", by_hand={"model.pretrained": None})
    assert (plan.cfg.transfer.mode, plan.cfg.model["width"]) == ("auto", 1.0)
    assert planned(600).cfg.transfer.mode == "scratch"


def test_too_few_images_for_folds_train_once() -> None:
    plan = planned(600, images=40, patients=40, rarest=8)
    assert plan.cfg.fold is None
    assert any("too few for 6 folds" in line.reason for line in plan.lines)
    assert planned(7200, task="multilabel", images=400, patients=40, rarest=8).cfg.fold == "all"


def test_without_time_for_folds_there_is_one_training() -> None:
    files = {"size": None, "own": (512, 512), "images": 4088, "patients": 60, "lesion": 0.15}
    assert planned(180, **files).cfg.fold is None
    assert planned(36000, **files).cfg.fold == "all"


def test_many_images_are_trained_on_in_part() -> None:
    cfg = planned(600, images=200_000, rarest=10_000).cfg
    assert (cfg.fold, cfg.trainer.max_epochs) == (None, 1)
    assert 0 < cfg.trainer.limit_train_batches < 1


def test_volumes_for_which_there_is_no_time() -> None:
    with pytest.raises(UserError, match=r"budget=3 min: .* take at least .* or smaller volumes"):
        planned(180, dims=3, size=(128, 128, 128), own=(128, 128, 128))


@pytest.mark.parametrize("task", ["multiclass", "multilabel", "ordinal", "regression"])
def test_every_task(task: str) -> None:
    cfg = planned(7200, task=task, outputs=3).cfg
    assert (cfg.fold, cfg.loss.name) == ("all", None)


def test_much_around_the_body_is_cut_off() -> None:
    files: dict[str, Any] = {"size": None, "own": (512, 512), "lesion": 0.5}
    assert planned(36000, *CSV, **files, kind="MR", body=0.6).cfg.dataset["crop"] == "body"
    assert planned(36000, *CSV, **files, kind="US", body=0.6).cfg.dataset["crop"] == "none"
    assert planned(36000, *CSV, **files, body=0.95).cfg.dataset["crop"] == "none"


def test_networks_side_by_side_where_threads_help_one_little() -> None:
    two = replace(SLOW, threads=2, scaling=0.4)
    plan, alone = planned(4500, machine=two), planned(4500)
    assert (plan.cfg.folds_at_once, alone.cfg.folds_at_once) == (2, 1)
    assert plan.needs.rounds == 3
    assert planned(36000, machine=replace(two, scaling=1.0)).cfg.folds_at_once == 1
    assert planned(4500, "trainer.threads=2", machine=two).cfg.folds_at_once == 1
