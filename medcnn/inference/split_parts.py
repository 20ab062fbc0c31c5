"""A split, tested by several processes, each with its share of the batches."""

import shlex
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from medcnn.classifier.classifier import Classifier
from medcnn.classifier.ensemble import load_members
from medcnn.data.batches import DataModule
from medcnn.data.open_data import data_config, open_data
from medcnn.data.row_batches import Batch
from medcnn.data.samples import Samples
from medcnn.inference.parts import (
    PARTS,
    Advance,
    Done,
    Parts,
    begin_parts,
    job_of,
    kept_parts,
    opened_parts,
)
from medcnn.inference.several_processes import Task, do_all
from medcnn.inference.tta import bare_trainer, collect, mirrored_axes_of
from medcnn.jobs.atomic_files import replacing
from medcnn.jobs.hardware import device_of_one, set_threads
from medcnn.jobs.rundir import RunDir, place_of
from medcnn.jobs.settings.commands import Evaluate

WORKER = "medcnn.inference.split_worker"
ROWS = "rows.npy"  # in the folder of the parts: the rows of all batches, one after the other
BATCHES = 64  # of a part, at most


def collect_shared(
    cfg: Evaluate,
    trust: list[str],
    run: RunDir,
    checkpoints: Sequence[Path],
    members: Sequence[Classifier],
    data: DataModule,
    threads: int | None,
) -> dict[str, Tensor]:
    """Return what `medcnn.inference.tta.collect` does, from several processes.

    Each opens the data for itself. The batches are those of one process, so the figures are, too,
    but for what other numbers of threads round otherwise.

    Args:
        cfg: Of the test.
        trust: Names that the checkpoint's config may hold beside medcnn's own.
        run: Where parts are kept until all are done, in a folder of its own; with the same
            ``paths.run`` the same command goes on with them.
        checkpoints: Of the members.
        members: The classifiers.
        data: With its test splits.
        threads: Of all processes together; None for all cores.
    """
    batches = batches_of(data)
    output, rows = run / "collected.csv", torch.cat(batches).numpy()
    job = {"cfg": cfg.plain(), "trust": trust, "sizes": [len(batch) for batch in batches]}
    again = f"the same command with paths.run={shlex.quote(place_of(run))}"
    again += " and without overwrite=true" if cfg.overwrite else ""
    task = Task(WORKER, {**job, "threads": threads}, cfg.processes, again)
    with kept_parts(output, cfg.overwrite) as folder:
        with replacing(folder / ROWS) as file:
            np.save(file, rows)
        depends_on = job_of(cfg, checkpoints, _digest(data.samples, rows), len(batches))
        number = max(1, min(BATCHES, len(batches) // (PARTS * cfg.processes)))
        parts = begin_parts(folder, depends_on, len(batches), number, ".csv", replaces=False)
        work = BatchesOfSplit(cfg, members, data.samples, batches)
        do_all(parts, work, "batches tested", task)
        parts.join(output)
    table = pd.read_csv(output, float_precision="round_trip")
    output.unlink()
    return from_table(table, data.samples.labels)


def batches_of(data: DataModule) -> list[Tensor]:
    """Return the rows of each batch of the test splits, none of two splits."""
    return [batch for split in data.test_splits for batch in data.split_batches(split)]


def _digest(samples: Samples, rows: np.ndarray) -> str:
    names = "\n".join(samples.table["image"].iloc[rows].astype(str))
    return sha256(names.encode(errors="surrogateescape")).hexdigest()


class BatchesOfSplit:
    """Classifiers that pass batches of a split, as `Work`.

    Args:
        cfg: Of the test.
        members: The classifiers, calibrated as that says.
        samples: The data.
        batches: Rows of each.
        worker: Number of this process among several; None for the one that leads them.
    """

    def __init__(
        self,
        cfg: Evaluate,
        members: Sequence[Classifier],
        samples: Samples,
        batches: Sequence[Tensor],
        worker: int | None = None,
    ) -> None:
        self.members, self.samples, self.batches = members, samples, batches
        self.axes, self.passes = mirrored_axes_of(cfg.tta, members), cfg.mc_dropout
        precision = cfg.precision or members[0].card["config"]["trainer"]["precision"]
        device = device_of_one(cfg.accelerator, cfg.processes, worker)
        self.trainer = bare_trainer(cfg.accelerator, precision, device.index)

    def do(self, first: int, last: int, advance: Advance) -> Done:
        """Pass the batches first … last - 1; the table has a row an image, see `as_table`."""
        data = _These(self.samples, self.batches[first:last])
        collected = collect(self.trainer, self.members, data, self.axes, self.passes)
        advance(last - first)
        return Done(as_table(collected), [])


class _These(DataModule):
    """Given batches of a data set."""

    def __init__(self, samples: Samples, batches: Sequence[Tensor]) -> None:
        super().__init__(samples, max(map(len, batches)))
        self.batches = list(batches)

    def test_dataloader(self) -> DataLoader[Batch]:
        return self._loader(self.batches)


def begin_in_worker(job: dict[str, Any]) -> tuple[Parts, BatchesOfSplit]:
    """Return the parts and the work of a job, in one of several processes."""
    cfg, threads = Evaluate.model_validate(job["cfg"]), job["threads"]
    set_threads(None if threads is None else max(1, threads // job["of"]), job["of"])
    paths, members, _ = load_members(cfg.checkpoint, cfg.ensemble, job["trust"])
    for member in members:
        member.calibrate(cfg.calibration)
    settings = data_config(members[0].card["config"], cfg, paths[0])
    data = open_data(settings, job["trust"], card=members[0].card, checked=False, quiet=True)
    parts = opened_parts(job["parts"])
    batches = torch.from_numpy(np.load(parts.folder / ROWS)).split(job["sizes"])
    return parts, BatchesOfSplit(cfg, members, data.samples, batches, job["worker"])


def as_table(collected: dict[str, Tensor]) -> pd.DataFrame:
    """Return what was collected, a row an image; ``views:3`` is the third number of its views."""
    columns: dict[str, np.ndarray] = {}
    for name, values in collected.items():
        flat = values.movedim(1, 0) if name == "views" else values
        flat = flat.reshape(len(flat), -1)
        columns |= {f"{name}:{k}": flat[:, k].numpy() for k in range(flat.shape[1])}
    return pd.DataFrame(columns)


def from_table(table: pd.DataFrame, labels: Tensor) -> dict[str, Tensor]:
    """Return what `as_table` was given, in order of the rows; labels are like these (N, …)."""
    found = dict(_columns(table.sort_values("row:0", kind="stable")))
    collected = {"row": found.pop("row")[:, 0]}
    label = found.pop("label").to(labels.dtype)
    collected["label"] = label[:, 0] if labels.ndim == 1 else label
    classes = found["probs"].shape[1]
    for name, values in found.items():
        if name == "views":
            values = values.unflatten(1, (-1, classes)).movedim(0, 1).contiguous()
        elif name == "quantiles":
            values = values.unflatten(1, (classes, -1))
        collected[name] = values.float() if name == "logits" else values
    return collected


def _columns(table: pd.DataFrame) -> Iterator[tuple[str, Tensor]]:
    """Yield each tensor (N, …) of a table with its name."""
    of = {str(column): str(column).partition(":")[0] for column in table}
    for name in dict.fromkeys(of.values()):
        own = table[[column for column in of if of[column] == name]]
        yield name, torch.from_numpy(own.to_numpy(copy=True))
