"""Which planted fault each check of medcnn.diagnose catches, and which checks fire without one.

python scripts/benchmark_diagnosis.py [--data FOLDER] [--sets phantom breastmnist] [--nets …]
    [--planted-in lenet resnet] [--output docs/diagnosis.csv]

Each net is diagnosed as it is, on each data set: whatever fires there is a false alarm. Then one
fault after the other is planted into some of the nets. A row of the table is one diagnosis.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
import pandas as pd
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from medcnn.data.open_data import open_data
from medcnn.data.samples import Samples
from medcnn.jobs.atomic_files import write_csv
from medcnn.jobs.instantiate import conf_dir
from medcnn.jobs.settings.read import read
from medcnn.nets.base import stages_of
from medcnn.training.diagnosis.finding import Finding
from medcnn.training.diagnosis.parts import Parts, make_parts
from medcnn.training.diagnosis.run import findings
from medcnn.training.transfer import settle

NETS = ("linear", "mlp", "lenet", "alexnet", "zfnet", "vgg", "googlenet", "resnet", "densenet")
MODERN = {"lenet": ["model.version=modern"]}  # with ReLU, which the net of 1998 lacks


def nothing(_: Any) -> None:
    """Plant nothing here."""


@dataclass(frozen=True)
class Plant:
    """A fault, and the checks of which at least one has to find it.

    Args:
        checks: Their names.
        overrides: Of the settings; ``{last}`` is the number of the last class.
        data: What is done to the data set.
        parts: What is done to the training.
    """

    checks: tuple[str, ...]
    overrides: tuple[str, ...] = ()
    data: Callable[[Samples], None] = nothing
    parts: Callable[[Parts], None] = nothing


def saturate(samples: Samples) -> None:
    """Make all that is brighter than black white, as where 16 bits are taken for one."""
    samples.intensity_range = (-2.0, -1.0)


def heavier_frequent(parts: Parts) -> None:
    """Weigh the most frequent class ten times as much as the others."""
    labels = parts.samples.labels[parts.samples.rows("train")]
    weights = torch.ones(len(parts.samples.class_names))
    weights[labels.flatten().bincount().argmax()] = 10.0
    parts.objective.class_weights = weights


def zero(parts: Parts) -> None:
    """Start all weights at zero."""
    for weight in parts.classifier.net.parameters():
        nn.init.zeros_(weight)


def shrink(parts: Parts) -> None:
    """Draw the weights of the first layers 10,000 times too small."""
    *stages, _ = learning_stages(parts)
    for stage in stages:
        for weight in stage.parameters():
            weight.data *= 1e-4


def freeze(parts: Parts) -> None:
    """Freeze the first stage."""
    learning_stages(parts)[0].requires_grad_(False)


def kill(parts: Parts) -> None:
    """Start the biases of the last stage so low that no unit ever answers."""
    for name, weight in learning_stages(parts)[-1].named_parameters():
        if name.endswith("bias"):
            nn.init.constant_(weight, -100.0)


def learning_stages(parts: Parts) -> list[nn.Module]:
    """Return the stages with weights."""
    return [stage for stage in stages_of(parts.classifier.net).values() if [*stage.parameters()]]


def after_head(parts: Parts, last: nn.Module) -> None:
    """Put a layer behind the logits."""
    net = parts.classifier.net
    net.head = nn.Sequential(net.head, last)  # type: ignore[arg-type]


def softmax(parts: Parts) -> None:
    """Give the loss probabilities in the place of logits."""
    after_head(parts, nn.Softmax(1) if parts.objective.num_outputs > 1 else nn.Sigmoid())


class WrongBackward(torch.autograd.Function):
    """The identity, with a gradient that is a tenth too large."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Return x."""
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Return a wrong gradient."""
        return 1.1 * gradients[0]


class Through(nn.Module):
    """A function as a layer."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """Return the function's value."""
        return self.function(x)


def detach(parts: Parts) -> None:
    """Cut the gradient between features and head."""
    net = parts.classifier.net
    net.head = nn.Sequential(Through(Tensor.detach), net.head)  # type: ignore[arg-type]


def marked(images: Tensor, labels: Tensor) -> Tensor:
    """Return images with a square in a corner whose brightness is that of their label."""
    images = images.clone()
    shade = labels.float() / max(1.0, float(labels.max()))
    images[(slice(None), slice(None), *[slice(0, 4)] * (images.ndim - 2))] = shade.view(
        -1, *[1] * (images.ndim - 1)
    )
    return images


def leak(parts: Parts) -> None:
    """Let the augmentation mark images by their label."""
    labels, given = parts.samples.labels, parts.data.augment

    def augment(images: Tensor, rows: Tensor, epoch: int) -> Tensor:
        images = images if given is None else given(images, rows, epoch)
        return marked(images, labels[rows])

    parts.data.augment = augment


class Telling:
    """Images that are marked by the label that the table holds at the time."""

    def __init__(self, samples: Samples) -> None:
        self.samples, self.images, self.shape = samples, samples.images, samples.images.shape

    def __getitem__(self, rows: Tensor) -> Tensor:
        images = self.images[rows]
        return (255 * marked(images / 255, self.samples.labels[rows])).to(images.dtype)


def tell(samples: Samples) -> None:
    """Let the data set mark images by their label, in all splits."""
    samples.images = Telling(samples)


def augment_all(parts: Parts) -> None:
    """Augment the images of validation, too."""
    augment = parts.data.augment
    assert augment is not None

    def prepare(batch: Any, _: int) -> Any:
        batch = parts.data.scaled(batch)
        return {**batch, "image": augment(batch["image"], batch["row"], 0)}

    parts.data.on_after_batch_transfer = prepare  # type: ignore[method-assign, assignment]


def stay_in_training(parts: Parts) -> None:
    """Leave the net in training mode in validation."""
    net = parts.classifier.net.train()
    net.train = lambda mode=True: net  # type: ignore[method-assign]


PLANTED = {
    "labels shuffled": Plant(("labels",), data=lambda samples: samples.shuffle_labels(1)),
    "inputs not normalised": Plant(("inputs",), ("normalise=none",)),
    "images all white": Plant(("inputs",), data=saturate),
    "wrong class weights": Plant(("class weights",), parts=heavier_frequent),
    "augmentation gives the label away": Plant(("augmentation",), parts=leak),
    "augmentation in validation": Plant(("validation images",), parts=augment_all),
    "data set gives the label away": Plant(("shuffled labels",), data=tell),
    "softmax before the loss": Plant(("logits",), parts=softmax),
    "zero initialisation": Plant(("frozen parts", "activations"), parts=zero),
    "weights too small": Plant(("activations", "gradients"), parts=shrink),
    "dead ReLUs": Plant(("dead units",), parts=kill),
    "frozen by mistake": Plant(("frozen parts",), parts=freeze),
    "detached features": Plant(("frozen parts",), parts=detach),
    "wrong backward": Plant(
        ("finite differences",), parts=lambda parts: after_head(parts, Through(WrongBackward.apply))
    ),
    "validation in training mode": Plant(("evaluation mode",), parts=stay_in_training),
    "rate 1,000 times too high": Plant(("learning rate",), ("optimizer.lr=1.0",)),
    "rate 1,000 times too low": Plant(("learning rate",), ("optimizer.lr=1.0e-6",)),
}
# Batch norm gives weights of any size the same signal, and in a net of one layer nothing precedes.
HARMLESS = {("resnet", "weights too small")}


def planted(plant: Plant, samples: Samples, *overrides: str) -> Parts:
    """Return the parts of a training with a fault in it.

    Args:
        plant: The fault.
        samples: Its data, which are changed.
        *overrides: Of the settings of a training, as on the command line.
    """
    cfg = composed(*overrides, *plant.overrides)
    plant.data(samples)
    settle(cfg, samples, [])
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    parts = make_parts(cfg, samples, [])
    plant.parts(parts)
    return parts


def composed(*overrides: str) -> Any:
    """Return the settings of a training."""
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return read(hydra.compose("train", list(overrides)), "train")


def diagnosed(data: str, net: str, fault: str, plant: Plant, root: str) -> dict[str, Any]:
    """Return a row of the table: one diagnosis."""
    overrides = [f"dataset={data}", f"model={net}", f"paths.data={root}", "near_duplicates=false"]
    overrides += MODERN.get(net, []) if fault else []
    samples = open_data(composed(*overrides), checked=False).samples
    start = time.perf_counter()
    found: list[Finding] = list(findings(planted(plant, samples, *overrides)))
    seconds = time.perf_counter() - start
    fired = [one.check for one in found if one.passed is False]
    return {
        "data": data,
        "net": net,
        "planted": fault or "nothing",
        "expected": " or ".join(plant.checks),
        "caught": bool(set(plant.checks) & set(fired)) if fault else "",
        "false_alarms": "" if fault else len(fired),
        "fired": "; ".join(fired),
        "done": sum(one.passed is not None for one in found),
        "seconds": round(seconds, 1),
    }


def cases(
    sets: list[str], nets: list[str], planted_in: list[str]
) -> Iterator[tuple[str, str, str]]:
    """Yield data set, net and fault of each diagnosis."""
    for data in sets:
        yield from ((data, net, "") for net in nets)
        for net in planted_in:
            yield from ((data, net, fault) for fault in PLANTED if (net, fault) not in HARMLESS)


def main() -> None:
    """Diagnose all, and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="data", help="folder of the MedMNIST files")
    parser.add_argument("--sets", nargs="*", default=["phantom", "breastmnist"])
    parser.add_argument("--nets", nargs="*", default=list(NETS))
    parser.add_argument("--planted-in", nargs="*", default=["lenet", "resnet"])
    parser.add_argument("--output", type=Path, default=Path("docs/diagnosis.csv"))
    given = parser.parse_args()
    rows = []
    for data, net, fault in cases(given.sets, given.nets, given.planted_in):
        rows.append(diagnosed(data, net, fault, PLANTED.get(fault, Plant(())), given.data))
        print(*rows[-1].values(), sep=" | ", flush=True)
        write_csv(given.output, pd.DataFrame(rows))
    caught = [row["caught"] for row in rows if row["planted"] != "nothing"]
    alarms = sum(row["false_alarms"] for row in rows if row["planted"] == "nothing")
    print(f"{given.output}: {sum(caught)} of {len(caught)} faults caught, {alarms} false alarms")


if __name__ == "__main__":
    main()
