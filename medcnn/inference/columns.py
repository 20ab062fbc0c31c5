"""What the columns of a table do for a net: its score where each of them says nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from medcnn.classifier.classifier import Classifier
from medcnn.data.as_trained import as_trained
from medcnn.data.batches import unit_intensity
from medcnn.data.columns.encoding import blocks
from medcnn.data.row_batches import RowDataset, context_of
from medcnn.data.samples import Samples
from medcnn.evaluation.importance import permutation_importance
from medcnn.evaluation.of_tables import predictions_of
from medcnn.inference.tables import predictions_table
from medcnn.jobs.atomic_files import write_csv
from medcnn.jobs.progress import Progress
from medcnn.jobs.rundir import RunDir
from medcnn.nets.base import evaluating
from medcnn.objective import known

REPEATS = 10  # permutations of each column
FILE = "columns.csv"


def write_importance(
    run: RunDir,
    members: Sequence[Classifier],
    samples: Samples,
    split: str,
    batch_size: int,
    device: torch.device,
) -> None:
    """Write ``columns.csv``, the importance of each column, if the first classifier takes some.

    The classifiers are on the device afterwards; else see `importance_table`.
    """
    if members[0].card.get("features"):
        for member in members:
            member.to(device)
        write_csv(run / FILE, importance_table(members, samples, split, batch_size))


def importance_table(
    members: Sequence[Classifier],
    samples: Samples,
    split: str,
    batch_size: int,
    repeats: int = REPEATS,
) -> pd.DataFrame:
    """Return how far the score falls where a column is permuted within a split; a row a column.

    Args:
        members: Classifiers whose probabilities are averaged; columns are those of the first.
        samples: The data. With `Samples.studies` the studies change places, else the images.
        split: Of these data.
        batch_size: Images, or studies, that pass the net at a time.
        repeats: Permutations of each column.

    Returns:
        Columns ``column``, ``score`` (auroc or r2), ``importance`` with its bounds ``low`` and
        ``high`` (`medcnn.evaluation.importance.permutation_importance`), ``repeats`` and ``n``.
    """
    rows = samples.rows(split)
    labels = samples.labels[rows].reshape(len(rows), -1)
    rows = rows[known(labels).any(1)]
    names = [code["column"] for code in members[0].card["features"]]
    seed = members[0].card["config"]["seed"]
    orders = {
        name: [permutation(len(rows), (seed, k, r)) for r in range(repeats)]
        for k, name in enumerate(names)
    }
    asked = [(None, None), *((name, order) for name in names for order in orders[name])]
    with Progress("columns permuted"):
        answers = [answers_of(member, samples, rows, asked, batch_size) for member in members]
    probs = torch.stack(answers).mean(0)
    objective, card = members[0].objective, members[0].card
    collected = {"row": rows, "label": samples.labels[rows], "probs": probs[0]}
    base = predictions_of(predictions_table(samples, objective, collected), card)
    permuted = probs[1:].numpy().reshape(len(names), repeats, *probs.shape[1:])
    found = permutation_importance(base, dict(zip(names, permuted, strict=True)), seed=seed)
    records = [
        {"column": name, "score": objective.monitor, **one._asdict()} for name, one in found.items()
    ]
    table = pd.DataFrame(records).rename(columns={"value": "importance"})
    return table.assign(repeats=repeats, n=len(rows))


def permutation(count: int, key: Sequence[int]) -> Tensor:
    """Return the numbers 0 … count-1 in an order (count,) that depends on the key alone."""
    return torch.from_numpy(np.random.default_rng(list(key)).permutation(count))


@torch.inference_mode()
def answers_of(
    member: Classifier,
    samples: Samples,
    rows: Tensor,
    asked: Sequence[tuple[str | None, Tensor | None]],
    batch_size: int,
) -> Tensor:
    """Return the probabilities (A, n, K) of rows (n,) with a column permuted in A ways.

    The images pass the trunk once; only the head is asked A times.

    Args:
        member: In any mode, in which it stays.
        samples: The data.
        rows: Of images, or with `Samples.studies` of studies.
        asked: Each a column and the order (n,) in which its values stand; None for all as they are.
        batch_size: Rows at a time.
    """
    own = replace(samples)
    as_trained(own, member.card)
    places, values = blocks(member.card.get("features") or []), own.feature_values
    dataset, found = RowDataset(own), []
    with evaluating(member), member.autocast():
        for part in torch.arange(len(rows)).split(batch_size):
            batch = {key: one.to(member.device) for key, one in dataset[rows[part]].items()}
            whole: Mapping[str, Any] = context_of(batch) or {}
            ranges = batch.get("range", own.intensity_range)
            maps = member.features(unit_intensity(batch["image"], ranges))
            answers = []
            for name, order in asked:
                context = whole  # also of a column that this member doesn't take
                if name in places and values is not None and order is not None:
                    given = values[rows[part]]
                    given[:, places[name]] = values[rows[order[part]], places[name]]
                    context = {**whole, "features": given.to(member.device)}
                answers.append(member.probs(member.head(maps, context or None)).cpu())
            found.append(torch.stack(answers))
    return torch.cat(found, 1)
