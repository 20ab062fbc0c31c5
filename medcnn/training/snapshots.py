"""The snapshots of a training, tested as one ensemble."""

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from medcnn.classifier.chosen_on_validation import choose_and_keep, chosen_anew
from medcnn.classifier.classifier import CALIBRATIONS, Classifier
from medcnn.classifier.ensemble import load_members, write_ensemble
from medcnn.data.checks.dataset import DataSet
from medcnn.errors import UserError
from medcnn.inference.logits import collect_logits
from medcnn.inference.of_split import stand_for_all, write_tested
from medcnn.inference.results import headline
from medcnn.inference.tta import bare_trainer
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
    tested = [collect_logits(trainer, member, loaders) for member in members]
    for file, member, one in zip(files, members, tested, strict=True):
        choose_and_keep(file, member, data.samples, one, rule)
    points = {}
    for how in reversed(CALIBRATIONS):  # none at last
        with suppress(UserError):  # a member lacks it
            collected = together(members, tested, how)
            points[how] = chosen_anew(members[0], data.samples, collected, rule)
    write_ensemble(folder, files, {"operating_points": points})
    stand_for_all(members[0], points["none"])
    settings = OfficialTest.model_validate(cfg.plain() | {"split": "test", "dataset": None})
    own = RunDir(run / "ensemble")
    with own.claimed(overwrite=True):
        metrics = write_tested(own, settings, trainer, members[0], data, collected, [])
        own.set_status("finished", seconds=time.perf_counter() - start)
    print(f"{own.path}: {len(files)} snapshots together: {headline(metrics)}", flush=True)


def together(
    members: Sequence[Classifier], tested: Sequence[dict[str, Tensor]], how: str
) -> dict[str, Tensor]:
    """Return what members say together, as `medcnn.inference.tta.collect` does.

    Args:
        members: The classifiers.
        tested: Of each ``row``, ``logits`` and ``label``, of the same rows.
        how: The calibration of their probabilities.

    Raises:
        UserError: A member lacks that calibration.
    """
    for member in members:
        member.calibrate(how)
    pairs = zip(members, tested, strict=True)
    views = torch.stack([member.probs(one["logits"]) for member, one in pairs])
    facts = {name: tested[0][name] for name in ("row", "label")}
    return facts | {"probs": views.mean(0), "views": views}


def _number(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])
