"""The snapshots of a training, tested as one ensemble."""

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from medcnn.classifier.chosen_on_validation import choose_and_keep, chosen_anew
from medcnn.classifier.classifier import CALIBRATIONS, Classifier
from medcnn.classifier.ensemble import load_members, point_of, write_ensemble
from medcnn.data.checks.dataset import DataSet
from medcnn.data.samples import Samples
from medcnn.errors import UserError
from medcnn.inference.of_split import stand_for_all, write_tested
from medcnn.inference.results import headline
from medcnn.inference.tta import (
    bare_trainer,
    collect_looks,
    mean_answer,
    mirrored_axes,
    mirrored_lines,
)
from medcnn.jobs.rundir import RunDir
from medcnn.jobs.settings.commands import OfficialTest, Train
from medcnn.training.from_config import make_data


def finish_snapshots(cfg: Train, run: RunDir, data: DataSet, trust: list[str]) -> None:
    """Test the mean of the snapshots, and keep them as an ensemble; without snapshots do nothing.

    The test lies in ``ensemble/``. With ``checkpoints/ensemble.json`` that folder is an ensemble:
    for `medcnn.load`, and as ``checkpoint=`` of commands.

    Args:
        cfg: Of the training.
        run: Where it wrote.
        data: What it was trained on.
        trust: Names that the config may hold beside medcnn's own.
    """
    folder, start = run.best.parent, time.perf_counter()
    files = sorted(folder.glob("snapshot-*.ckpt"), key=_number)
    if not files:
        return
    _, members, _ = load_members(None, files, trust)
    trainer = bare_trainer(cfg.trainer.accelerator, cfg.trainer.precision)
    loaders, rule = make_data(cfg, data.samples, trust), cfg.evaluation.operating_point
    axes = mirrored_axes(cfg.tta, cfg.plain())
    tested = [collect_looks(trainer, member, loaders, axes) for member in members]
    for file, member, one in zip(files, members, tested, strict=True):
        choose_and_keep(file, member, data.samples, one, rule)
    choices = {"operating_points": _points(members, tested, data.samples, rule, 1)}
    if axes:
        choices["mirrored"] = _points(members, tested, data.samples, rule)
    write_ensemble(folder, files, choices)
    collected = together(members, tested, "none")
    stand_for_all(members[0], point_of(choices, mirrored=bool(axes)))
    settings = OfficialTest.model_validate(cfg.plain() | {"split": "test", "dataset": None})
    own = RunDir(run / "ensemble")
    with own.claimed(overwrite=True):
        notes = mirrored_lines(axes)
        metrics = write_tested(own, settings, trainer, members[0], data, collected, notes)
        own.set_status("finished", seconds=time.perf_counter() - start)
    print(f"{own.path}: {len(files)} snapshots together: {headline(metrics)}", flush=True)


def together(
    members: Sequence[Classifier],
    tested: Sequence[dict[str, Tensor]],
    how: str,
    count: int | None = None,
) -> dict[str, Tensor]:
    """Return what members say together, as `medcnn.inference.tta.collect` does.

    Args:
        members: The classifiers.
        tested: Of each ``row``, ``label`` and ``looks`` (L, n, outputs), of the same rows.
        how: The calibration of their probabilities.
        count: Of looks, from the first one; None for all.

    Raises:
        UserError: A member lacks that calibration.
    """
    for member in members:
        member.calibrate(how)
    pairs = zip(members, tested, strict=True)
    answers = [(member, logits) for member, one in pairs for logits in one["looks"][:count]]
    return mean_answer(tested[0], answers)


def _points(
    members: Sequence[Classifier],
    tested: Sequence[dict[str, Tensor]],
    samples: Samples,
    rule: str,
    count: int | None = None,
) -> dict[str, dict[str, Any] | None]:
    """Return the operating point of the mean of the first looks, or of all, by calibration."""
    points = {}
    for how in CALIBRATIONS:
        with suppress(UserError):  # a member lacks it
            collected = together(members, tested, how, count)
            points[how] = chosen_anew(members[0], samples, collected, rule)
    return points


def _number(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])
