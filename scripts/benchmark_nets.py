"""How fast the nets are: beside torchvision's, fully convolutional, and with a frozen trunk.

python scripts/benchmark_nets.py [--rounds 7] [--output docs/benchmark_nets.csv] [--parts NAME …]

Every figure is a ratio of seconds taken in turn, with its median, lowest and highest of all
rounds. Nothing else should run meanwhile. Parts:

- torchvision: seconds of torchvision's net by those of ours, forward and backward, same weights.
- dense: seconds for 36 crops of 224 px by those for one pass over 384 px, the 6×6 scores of both;
  and by how much the two differ, as crops are padded and windows of the large map are not.
- frozen: seconds of a training step of the whole net by those of one with a frozen trunk, and the
  frozen step by a mere forward pass.
- epoch: seconds of an epoch (with validation) of transfer=finetune by one of transfer=head with
  augment=none, from the second epoch on.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pandas as pd
import torch
import torchvision.models as tv
from torch import Tensor, nn

from medcnn import nets
from medcnn.jobs.instantiate import conf_dir
from medcnn.jobs.settings.read import read

PAIRS: dict[str, tuple[str, int, int]] = {  # ours, batch, px
    "alexnet": ("alexnet", 16, 224),
    "vgg11_bn": ("vgg11_bn", 4, 128),
    "googlenet": ("googlenet", 8, 224),
    "resnet18": ("resnet18", 8, 224),
    "resnet50": ("resnet50", 4, 224),
    "densenet121": ("densenet121", 4, 224),
}
DENSE = ("vgg11", "resnet18")


def main() -> None:
    """Measure the parts that are asked for."""
    measure(PARTS, str(__doc__), "docs/benchmark_nets.csv", rounds=7)


def measure(
    parts: dict[str, Callable[[int], Iterator[dict[str, Any]]]], doc: str, output: str, rounds: int
) -> None:
    """Read the command line, and write a row for each figure of the parts that it asks for."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--output", type=Path, default=Path(output))
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts))
    options = parser.parse_args()
    rows = []
    for part in options.parts:
        for row in parts[part](options.rounds):
            rows.append({"part": part, **row})
            print(rows[-1], flush=True)
            pd.DataFrame(rows).to_csv(options.output, index=False)


def against_torchvision(rounds: int) -> Iterator[dict[str, Any]]:
    """Torchvision's seconds by ours, for a forward and a backward pass."""
    for name, (ours_name, batch, size) in PAIRS.items():
        extra: dict[str, Any] = {"aux_logits": False} if name == "googlenet" else {}
        if name == "googlenet":
            extra["init_weights"] = False
        theirs = getattr(tv, name)(num_classes=10, **extra)
        ours = nets.build(ours_name, in_channels=3, num_classes=10, stem="imagenet")
        nets.load_weights(ours, theirs.state_dict())
        x = torch.randn(batch, 3, size, size)
        yield {"what": name, **ratios(partial(step, theirs, x), partial(step, ours, x), rounds)}


def dense(rounds: int) -> Iterator[dict[str, Any]]:
    """36 crops by one pass over the large image."""
    for name in DENSE:
        net = nets.build(name, in_channels=3, num_classes=10, input_size=(224, 224)).eval()
        whole = nets.convolutionalise(net)
        x = torch.randn(1, 3, 384, 384)
        crops = [
            x[..., i : i + 224, j : j + 224] for i in range(0, 161, 32) for j in range(0, 161, 32)
        ]
        batch = torch.cat(crops)
        with torch.inference_mode():
            found = ratios(partial(net, batch), partial(whole, x), rounds)
            each, grid = net(batch), whole(x)[0].flatten(1).T
        spread = float(each.std())
        difference = float((each - grid).abs().max()) / spread
        yield {"what": name, **found, "largest difference, in standard deviations": difference}


def frozen(rounds: int) -> Iterator[dict[str, Any]]:
    """A step of the whole net by one with a frozen trunk, and that one by a forward pass."""
    for name in ("resnet18", "densenet121"):
        net = nets.build(name, in_channels=3, num_classes=10, stem="imagenet")
        fixed = nets.build(name, in_channels=3, num_classes=10, stem="imagenet")
        fixed.features.requires_grad_(False).eval()
        x = torch.randn(8, 3, 224, 224)
        yield {"what": f"{name}, whole by frozen", **ratios(
            partial(step, net, x), partial(step, fixed, x), rounds
        )}  # fmt: skip
        yield {"what": f"{name}, frozen by forward alone", **ratios(
            partial(step, fixed, x), partial(forward, fixed, x), rounds
        )}  # fmt: skip


def epoch(rounds: int) -> Iterator[dict[str, Any]]:
    """An epoch of fine-tuning by one of a new head on features that were computed once."""
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder, "weights.pt")
        net = nets.build("resnet18", in_channels=1, num_classes=3, input_size=(64, 64))
        torch.save(net.state_dict(), weights)
        common = [f"model.weights='{weights}'", "augment=none", "dataset.patients=300"]
        seconds = {
            mode: epoch_seconds([*common, f"transfer={mode}"], Path(folder, mode), 1 + rounds // 2)
            for mode in ("finetune", "head")
        }
    times = np.array(seconds["finetune"]) / np.array(seconds["head"])
    yield {"what": "resnet18, 64 px phantom, finetune by head", **spread_of(times)}


def epoch_seconds(overrides: list[str], run: Path, epochs: int) -> list[float]:
    """Seconds of each epoch of a training but the first, in which features are computed."""
    from medcnn.train import train

    extras = ["logger=none", "cam.n=0", "near_duplicates=false", "trainer.accelerator=cpu"]
    extras += [f"paths.run='{run}'", f"trainer.max_epochs={epochs + 1}"]
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        train(read(hydra.compose("train", [*extras, *overrides]), "train"), [])
    return pd.read_csv(run / "metrics.csv")["seconds"].tolist()[1:]


def step(net: nn.Module, x: Tensor) -> None:
    """A forward and a backward pass."""
    net.zero_grad(set_to_none=True)
    output = net(x)
    getattr(output, "logits", output).square().mean().backward()


@torch.no_grad()
def forward(net: nn.Module, x: Tensor) -> None:
    """A forward pass alone."""
    net(x)


def ratios(first: Callable[[], Any], second: Callable[[], Any], rounds: int) -> dict[str, Any]:
    """Seconds of the first by those of the second, taken in turn, after a round to warm up."""
    found = []
    for number in range(rounds + 1):
        pair = [seconds_of(first), seconds_of(second)]
        if number % 2:  # who goes first changes
            pair = [seconds_of(second), seconds_of(first)][::-1]
        found.append(pair[0] / pair[1])
    return spread_of(np.array(found[1:]))


def spread_of(values: np.ndarray) -> dict[str, Any]:
    """Median, lowest and highest of some ratios."""
    shown = {"ratio": np.median(values), "lowest": values.min(), "highest": values.max()}
    return {key: round(float(value), 3) for key, value in shown.items()}


def seconds_of(job: Callable[[], Any]) -> float:
    """Seconds that a job takes."""
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


PARTS = {
    "torchvision": against_torchvision,
    "dense": dense,
    "frozen": frozen,
    "epoch": epoch,
}


if __name__ == "__main__":
    main()
