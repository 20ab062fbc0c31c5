"""What is said of a training's tables: of sound ones nothing."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from medcnn.report.judge import judge

EPOCHS = np.arange(1, 31)
RISING = np.interp(EPOCHS, [1, 6, 30], [0.04, 1.0, 1e-5])  # one cycle of the learning rate


def epochs(**columns: Any) -> pd.DataFrame:
    """Losses that fall as they should; other columns in their place."""
    falling = 1.1 * np.exp(-EPOCHS / 10)
    sound = {"epoch": EPOCHS, "train/loss": falling, "val/loss": falling + 0.05, "lr": RISING}
    return pd.DataFrame(sound | {key.replace("_", "/"): v for key, v in columns.items()})


def health(rows: int = 12, **columns: Any) -> pd.DataFrame:
    """Steps of a sound size; other columns in their place, __ for the stroke."""
    lr = np.interp(np.arange(rows), [0, rows / 5, rows - 1], [0.04, 1.0, 0.0])
    sound = {"epoch": 1, "step": np.arange(rows), "lr": lr, "waiting": 0.05, "gradient_norm": 1.0}
    sound |= {f"update/{stage}": 2e-3 * lr for stage in ("conv1", "conv2", "head")}
    sound |= {"dead/conv1": 0.1, "dead/conv2": 0.0}
    return pd.DataFrame(sound | {key.replace("__", "/"): v for key, v in columns.items()})


def about(**tables: pd.DataFrame) -> list[str]:
    both = {"epochs": epochs(), "health": health()} | tables
    return [verdict.about for verdict in judge(**both)]


def test_a_sound_training_is_passed_over_in_silence() -> None:
    assert judge(epochs(), health()) == []
    assert judge(None, None) == []
    assert judge(epochs().iloc[:0], health().iloc[:0]) == []
    assert judge(epochs().iloc[:2], health(2)) == []
    learnt = np.maximum(1.1 * np.exp(-EPOCHS / 2), 0.01)
    assert judge(epochs(train_loss=learnt, val_loss=learnt, lr=1.0), health()) == []
    assert judge(epochs().drop(columns=["val/loss", "lr"]), None) == []


def test_a_loss_that_is_no_number() -> None:
    loss = epochs()["train/loss"].to_numpy().copy()
    loss[20:] = np.nan
    (verdict,) = judge(epochs(train_loss=loss), health())
    assert verdict.line.startswith("from epoch 21 on the loss is no finite number")


def test_a_loss_that_has_never_fallen() -> None:
    flat = 0.69 + 0.001 * np.sin(EPOCHS)
    (verdict,) = judge(epochs(train_loss=flat, val_loss=flat, lr=1.0), health())
    assert "has not fallen since the first epoch (0.69" in verdict.line


def test_a_loss_that_falls_no_more_though_the_rate_is_high() -> None:
    plateau = np.maximum(1.1 * np.exp(-EPOCHS / 4), 0.5)
    (verdict,) = judge(epochs(train_loss=plateau, val_loss=plateau, lr=1.0), health())
    assert "has stopped falling" in verdict.line
    assert judge(epochs(train_loss=plateau, val_loss=plateau, lr=1.0), None, over=False) == []
    resting = np.interp(EPOCHS, [1, 8, 9, 30], [1, 1, 0.01, 0])  # weights are to come to rest
    assert judge(epochs(train_loss=plateau, val_loss=plateau, lr=resting), None) == []


def test_learning_by_heart() -> None:
    rising = np.where(EPOCHS < 8, 1.0 - 0.05 * EPOCHS, 0.6 + 0.03 * (EPOCHS - 8))
    (verdict,) = judge(epochs(val_loss=rising), health())
    assert "since epoch 8 the validation loss has risen from 0.63 to 1.23" in verdict.line
    ragged = np.where(EPOCHS == 20, 0.19, 0.24)  # of a sound training: one low epoch of few images
    assert about(epochs=epochs(val_loss=ragged)) == []
    noisy = 0.6 + 0.05 * np.sin(EPOCHS)
    assert about(epochs=epochs(val_loss=noisy)) == []


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"update__conv1": 0.05}, ["long steps"]),
        ({"update__conv1": 2e-9}, ["still"]),
        ({f"update__{k}": 1e-6 for k in ("conv1", "conv2", "head")}, ["short steps"]),
        ({"dead__conv2": 0.8}, ["dead"]),
        ({"waiting": 0.7}, ["waiting"]),
        ({"waiting": [0.9] * 2 + [0.05] * 10}, []),  # while a cache is filled
        ({"dead__conv2": [0.8, 0.1] * 6}, []),
        ({"update__conv2": np.nan}, []),  # of a stage that is frozen
    ],
)
def test_steps(columns: dict[str, Any], expected: list[str]) -> None:
    assert about(health=health(**columns)) == expected


def test_a_rate_that_is_still_to_rise_is_not_too_low() -> None:
    low = health(**{f"update__{k}": 1e-6 for k in ("conv1", "conv2", "head")})
    assert judge(None, low, over=False) == []


def test_the_head_of_a_frozen_trunk_may_take_long_steps() -> None:
    alone = health(update__head=0.2).drop(columns=["update/conv1", "update/conv2"])
    assert judge(None, alone) == []


def test_the_worst_stages_are_named() -> None:
    many = health(**{f"update__stage{k}": 0.02 for k in range(6)})
    (verdict,) = judge(None, many)
    assert "of stage0, stage1, stage2, stage3 and 2 more by 2.0 %" in verdict.line
