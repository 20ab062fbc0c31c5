"""Images drawn by class, with a bound for each patient."""

from typing import Any

import jobs
import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from medcnn.data.batches import DataModule
from medcnn.data.row_batches import RowBatches
from medcnn.data.samples import Samples
from medcnn.data.sampling import (
    REST,
    Draws,
    Sampling,
    bounded,
    class_shares,
    drawn_classes,
    drawn_line,
    sampling_of,
)
from medcnn.errors import UserError
from medcnn.jobs.settings.groups import Sampler
from medcnn.objective import UNKNOWN

LABELS = torch.tensor([0] * 80 + [1] * 15 + [2] * 5)
PATIENTS = np.arange(100) // 2


def samples(labels: Tensor = LABELS, task: Any = "multiclass", **columns: Any) -> Samples:
    """Training images of two classes or more, two of each patient."""
    size = len(labels)
    table = pd.DataFrame({"image": range(size), "patient": PATIENTS[:size], "split": "train"})
    names: tuple[str, ...] = ("a", "b", "c")
    if task == "multilabel":
        table[[f"label:{name}" for name in names]] = labels.numpy()
    else:
        table["label"] = labels.numpy()
    images = torch.zeros(size, 1, 2, 2)
    names = ("height",) if task == "regression" else names
    return Samples("toy", table.assign(**columns), images, task, names)


def drawn(draws: Draws, seed: int = 0) -> tuple[Tensor, Tensor]:
    return draws.epoch(np.random.default_rng(seed))


def test_a_line_says_how_many_of_each_class_are_drawn() -> None:
    labels = torch.tensor([0] * 70 + [1] * 29 + [UNKNOWN])
    draws = Sampling((1.0, 2.0, 1.0)).draws(samples(labels), torch.arange(100), "multiclass")
    counts = torch.bincount(labels[drawn(draws)[0]] + 1).tolist()
    assert counts == [1, 33, 66]
    assert drawn_line(draws, ("a", "b", "c"), "multiclass") == (
        "sampler: an epoch draws 33 a (there are 70) | 66 b (there are 29) | "
        "1 of unknown label (there are 1)"
    )
    several = torch.tensor([[1, 0, 0]] * 6 + [[1, 1, 0]] * 2 + [[0, 0, 0]] * 2)
    draws = Sampling("balanced").draws(
        samples(several, "multilabel"), torch.arange(10), "multilabel"
    )
    assert drawn_line(draws, ("a", "b", "c"), "multilabel") == (
        "sampler: an epoch draws 3 a (there are 6) | 3 b (there are 2) | "
        "3 with none of them (there are 2) (an image by its rarest label)"
    )


@pytest.mark.parametrize(
    ("weights", "shares"),
    [("balanced", [1 / 3, 1 / 3, 1 / 3]), ((1.0, 2.0, 5.0), [0.125, 0.25, 0.625])],
)
def test_each_epoch_has_the_shares_asked_for(weights: Any, shares: list[float]) -> None:
    toy = samples()
    draws = Sampling(weights).draws(toy, torch.arange(100), "multiclass")
    for seed in range(5):
        counts = torch.bincount(LABELS[drawn(draws, seed)[0]], minlength=3)
        assert counts.sum() == 100
        np.testing.assert_allclose(counts, np.array(shares) * 100, atol=1)
    assert class_shares(LABELS, draws.expected, "multiclass", 3) == pytest.approx(shares)


def test_each_image_comes_as_often_as_expected() -> None:
    draws = Sampling("balanced").draws(samples(), torch.arange(100), "multiclass")
    counts = np.array([np.bincount(drawn(draws, seed)[0], minlength=100) for seed in range(400)])
    low, high = np.floor(draws.expected), np.ceil(draws.expected)
    assert ((counts >= low) & (counts <= high)).all()
    np.testing.assert_allclose(counts.mean(0), draws.expected, atol=0.1)  # 4 standard errors


def test_draws_of_an_image_are_counted() -> None:
    rows, times = drawn(Sampling("balanced").draws(samples(), torch.arange(100), "multiclass"))
    for row in rows.unique():
        assert sorted(times[rows == row].tolist()) == list(range(int((rows == row).sum())))


def test_a_class_without_images_has_no_share_and_unknown_labels_keep_theirs() -> None:
    labels = torch.tensor([0] * 50 + [2] * 10 + [-1] * 40)
    toy = samples(labels)
    draws = Sampling("balanced").draws(toy, torch.arange(100), "multiclass")
    got = labels[drawn(draws)[0]]
    assert [int((got == k).sum()) for k in (0, 1, 2, -1)] == [30, 0, 30, 40]


def test_several_labels_are_drawn_by_the_rarest() -> None:
    labels = torch.tensor(
        [[1, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 0, 0], [0, -1, 0], [-1, -1, -1], [0, 1, 0]]
    )
    classes = drawn_classes(labels, "multilabel")
    assert classes.tolist() == [0, 0, 1, 2, 3, 3, REST, 1]
    draws = Sampling("balanced").draws(samples(labels, "multilabel"), torch.arange(8), "multilabel")
    of_class = [draws.expected[classes == k].sum() for k in range(4)]
    np.testing.assert_allclose(of_class, 7 / 4)
    expected = torch.from_numpy(draws.expected)
    by_hand = [
        float((expected * (column == 1)).sum() / expected[column >= 0].sum()) for column in labels.T
    ]
    assert class_shares(labels, draws.expected, "multilabel", 3) == pytest.approx(by_hand)


@pytest.mark.parametrize("weights", [None, "balanced"])
@pytest.mark.parametrize("per_patient", [1, 1.5, 4])
def test_no_patient_has_more_than_its_bound(weights: Any, per_patient: float) -> None:
    """One patient has half of the images; each of the others has one or two, of both classes."""
    patients = np.array([0] * 50 + [1 + k // 2 for k in range(50)])
    labels = torch.tensor([0] * 40 + [1] * 10 + [0, 0, 0, 1, 0] * 10)
    toy = samples(labels, patient=patients)
    draws = Sampling(weights, per_patient).draws(toy, torch.arange(100), "multiclass")
    most = per_patient * 100 / 26
    of_patient = np.bincount(patients, draws.expected)
    assert draws.expected.sum() == pytest.approx(100)
    assert of_patient.max() <= most * (1 + 1e-6)
    if per_patient > 1:  # there are enough patients of each class
        share = 0.5 if weights else 0.2
        assert class_shares(labels, draws.expected, "multiclass", 3)[1] == pytest.approx(
            share, abs=1e-5
        )
    for seed in range(5):
        counts = np.bincount(patients[drawn(draws, seed)[0]])
        assert counts.max() < most + 2  # rounded for each of two classes


def test_a_class_with_too_few_patients_falls_short() -> None:
    classes = np.array([0] * 9 + [1])
    patients = np.arange(10)
    expected = np.array([5 / 9] * 9 + [5.0])
    found = bounded(expected, classes, patients, most=2.0)
    np.testing.assert_allclose(found, [8 / 9] * 9 + [2.0])
    np.testing.assert_array_equal(bounded(expected, classes, patients, most=5.0), expected)


def epoch(world: int, seed: int = 3, number: int = 0, **options: Any) -> list[Tensor]:
    """The batches of an epoch, put together from all processes."""
    draws = Sampling("balanced", 2.0).draws(samples(), torch.arange(100), "multiclass")
    batches = []
    for rank in range(world):
        sampler = RowBatches(
            [torch.arange(100)], 12, seed=seed, draws=draws, rank=rank, world=world, **options
        )
        sampler.set_epoch(number)
        batches.append(list(sampler))
        assert len(sampler) == len(batches[-1]) == 8  # as many as without
    return [torch.stack(shares, 2).flatten(1) for shares in zip(*batches, strict=True)]


@pytest.mark.parametrize("world", [2, 3])
def test_all_processes_together_draw_what_one_draws(world: int) -> None:
    for alone, together in zip(epoch(1), epoch(world), strict=True):
        assert torch.equal(alone, together)


def test_draws_depend_on_seed_and_epoch_alone() -> None:
    whole = torch.cat(epoch(1), 1)
    assert torch.equal(whole, torch.cat(epoch(1), 1))
    assert not torch.equal(whole, torch.cat(epoch(1, seed=4), 1))
    assert not torch.equal(whole, torch.cat(epoch(1, number=1), 1))


def test_rows_are_announced_without_their_draws() -> None:
    announced: list[Tensor] = []
    batches = epoch(1, ahead=announced.append)
    assert torch.equal(torch.stack(announced), torch.stack(batches)[:, 0])


def test_each_draw_of_an_image_is_augmented_in_a_way_of_its_own() -> None:
    toy = samples()
    sampling = Sampling((1.0, 1.0, 20.0))
    keys: list[Tensor] = []

    def augment(images: Tensor, rows: Tensor, epoch: int) -> Tensor:
        keys.append(rows)
        return images

    data = DataModule(
        toy, 10, augment=augment, draws=lambda rows: sampling.draws(toy, rows, "multiclass")
    )
    batches = list(data.train_dataloader())
    data.trainer = type("Trainer", (), {"training": True, "current_epoch": 0})()
    prepared = [data.on_after_batch_transfer(batch, 0) for batch in batches]
    assert all(set(batch) == {"image", "label", "row"} for batch in prepared)
    rows, given = torch.cat([batch["row"] for batch in prepared]), torch.cat(keys)
    assert len(rows.unique()) < len(rows) == len(given.unique())
    assert torch.equal(given % len(toy), rows)


def test_statistics_of_batch_norms_are_of_images_as_they_are_drawn() -> None:
    toy, sampling = samples(), Sampling("balanced")
    data = DataModule(toy, 50, draws=lambda rows: sampling.draws(toy, rows, "multiclass"))
    batches = list(data.statistics_batches(100))
    counts = torch.bincount(torch.cat([batch["label"] for batch in batches]), minlength=3)
    assert ((counts - 100 / 3).abs() < 1).all()
    assert all(set(batch["label"].tolist()) == {0, 1, 2} for batch in batches)


NONE = {"draw": "natural", "weights": None, "per_patient": None, "correct_prior": True}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, None),
        ({"per_patient": 3}, Sampling(None, 3)),
        ({"draw": "balanced"}, Sampling("balanced")),
        ({"draw": "weights", "weights": [1, 2.5]}, Sampling((1.0, 2.5))),
    ],
)
def test_the_sampling_that_a_config_asks_for(
    options: dict[str, Any], expected: Sampling | None
) -> None:
    assert sampling_of(Sampler(**NONE | options)) == expected


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("sampler.draw=even", "sampler.draw=even: choose one of natural, balanced, weights"),
        ("sampler.per_patient=0.5", "sampler.per_patient=0.5: give a number, at least 1, or null"),
        ("sampler=weights sampler.weights=[1,0]", r"sampler.weights=\[1, 0\]: give numbers above"),
        ("sampler=weights", "sampler.weights=null: give numbers above 0"),
        ("sampler.weights=[1,2]", "has no effect without sampler.draw=weights"),
    ],
)
def test_what_is_no_sampling(tmp_path: Any, options: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        jobs.train(tmp_path / "run", "dataset=csv", "dataset.path=none.csv", *options.split())


def test_weights_that_do_not_fit_the_data() -> None:
    rows = torch.arange(8)
    with pytest.raises(UserError, match=r"sampler.weights holds 2 numbers for 3 classes$"):
        Sampling((1.0, 2.0)).draws(samples(), rows, "multiclass")
    several = samples(torch.eye(3, dtype=torch.int64), "multilabel")
    with pytest.raises(UserError, match=r"3 classes, and one for images without any$"):
        Sampling((1.0, 2.0, 3.0)).draws(several, torch.arange(3), "multilabel")
    heights = samples(torch.arange(8.0), "regression")
    with pytest.raises(UserError, match="a regression has no classes to draw"):
        Sampling("balanced").draws(heights, rows, "regression")
    even = Sampling(None, 1).draws(heights, rows, "regression").expected
    np.testing.assert_allclose(even, 1)
