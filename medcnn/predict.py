"""``python -m medcnn.predict``: classify new images."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from medcnn import cli
from medcnn.errors import UserError, check_whole_number
from medcnn.files import write_csv

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from medcnn.classifier import Card, Classifier
    from medcnn.ensemble import Ensemble


def predict(cfg: DictConfig, trust: list[str]) -> None:
    """Write one row an image: its path, the probability of each class, and the decision.

    Images are prepared as those that the net was trained on. A file that can't be read is named,
    and the others are classified all the same.

    Args:
        cfg: The config as composed from conf/predict.yaml.
        trust: Names that the checkpoint's config may hold beside medcnn's own.

    Raises:
        UserError: Anything that the user can put right.
    """
    import numpy as np
    import torch

    from medcnn.data.formats import list_images
    from medcnn.datasets import spec_of
    from medcnn.ensemble import load
    from medcnn.evaluation.studies import aggregate
    from medcnn.results import decision_table
    from medcnn.trainer import device_of

    output = Path(cfg.output)
    if output.exists() and not cfg.overwrite:
        raise UserError(f"output={output} exists; overwrite=true replaces it")
    classifier = load(cfg.checkpoint, trust=trust).to(device_of(cfg.accelerator))
    card = classifier.card
    batch_size = card["config"]["batch_size"] if cfg.batch_size is None else cfg.batch_size
    check_whole_number("batch_size", batch_size, least=1)
    spec = spec_of(card)
    paths = list_images(cfg.images, volumes=spec.spatial_dims == 3 or spec.slices is not None)
    read: list[Path] = []
    probs: list[np.ndarray] = []
    for first in range(0, len(paths), batch_size):
        items = _read(paths[first : first + batch_size], card)
        if items:
            probs += _classify(classifier, list(items.values()), batch_size)
            read += items
    if not read:
        raise UserError(f"images={cfg.images}: none of {len(paths)} files could be read")
    studies = np.repeat(np.arange(len(read)), [len(part) for part in probs])
    how = card["config"].get("aggregate", "mean")
    objective = classifier.objective
    means = {"task": objective.task, "positive": objective.positive}
    several = len(studies) > len(read)
    pooled = aggregate(np.concatenate(probs), studies, how, **means) if several else None  # type: ignore[arg-type]
    shown = torch.from_numpy(np.concatenate(probs) if pooled is None else pooled)
    table = decision_table(classifier.objective, shown, card["class_names"])
    table.insert(0, "image", [str(path) for path in read])
    write_csv(output, table)
    print(f"{output}: {len(read)} of {len(paths)} images classified", flush=True)
    if len(read) < len(paths):
        raise UserError(f"{len(paths) - len(read)} of {len(paths)} images could not be read")


def _read(paths: list[Path], card: "Card") -> dict[Path, "Tensor"]:
    """Images (S, C, *size) float32 in 0 … 1 of the files that can be read; the others are named."""
    import torch

    from medcnn.data.batches import unit_intensity
    from medcnn.data.intensity import TRAINING, file_range
    from medcnn.data.scan import read_file
    from medcnn.datasets import spec_of

    spec = spec_of(card)
    items: dict[Path, Tensor] = {}
    for path in paths:
        try:
            images, facts = read_file(path, spec)
            if spec.intensity == TRAINING:
                low, high = card["intensity_range"]
            else:
                low, high = file_range(facts, spec.intensity)
        except UserError as error:
            print(f"medcnn: {path} {error}", file=sys.stderr)
            continue
        ranges = torch.tensor([[low, high]]).expand(len(images), 2)
        stored = torch.from_numpy(images)
        if len(stored) and stored.shape[1] < card["in_channels"]:
            stored = stored.expand(-1, card["in_channels"], *stored.shape[2:])
        items[path] = unit_intensity(stored, ranges)
    return items


def _classify(
    classifier: "Classifier | Ensemble", items: list["Tensor"], batch_size: int
) -> list["np.ndarray"]:
    """Probabilities (S, K) of each item (S, C, *size)."""
    import torch

    from medcnn.trainer import autocast

    images = torch.cat(items)
    with autocast(classifier):
        probs = [classifier.classify(part).cpu() for part in images.split(batch_size)]
    return [part.numpy() for part in torch.cat(probs).split([len(item) for item in items])]


if __name__ == "__main__":
    cli.main(predict, "predict")
