"""The snapshots of a training, tested as one ensemble."""

import time
from pathlib import Path

from medcnn.classifier.chosen_on_validation import chosen_anew
from medcnn.classifier.ensemble import load_members, write_ensemble
from medcnn.data.checks.dataset import DataSet
from medcnn.inference.of_split import stand_for_all, write_tested
from medcnn.inference.results import headline
from medcnn.inference.tta import bare_trainer, collect
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
    collected = collect(trainer, members, make_data(cfg, data.samples, trust), [])
    rule = cfg.evaluation.operating_point
    point = chosen_anew(members[0], data.samples, collected, rule)
    write_ensemble(folder, files, {"operating_points": {"none": point} if point else {}})
    stand_for_all(members[0], point)
    settings = OfficialTest.model_validate(cfg.plain() | {"split": "test", "dataset": None})
    own = RunDir(run / "ensemble")
    with own.claimed(overwrite=True):
        metrics = write_tested(own, settings, trainer, members[0], data, collected, [])
        own.set_status("finished", seconds=time.perf_counter() - start)
    print(f"{own.path}: {len(files)} snapshots together: {headline(metrics)}", flush=True)


def _number(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])
