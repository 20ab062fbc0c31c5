"""How fast medcnn is beside its peers: the benchmark scripts in turn, one table of ratios.

python scripts/benchmark.py --data DIR [--quick] [--output docs/benchmark.csv] [--only PART …]

DIR holds pneumoniamnist.npz. Each part is a script of this folder, which says what it measures; a
part that fails is said, and the others are done. A row holds how many times as long the other takes
(below 1: it is faster than medcnn), with the lowest and highest of the rounds, and the machine.
Rows of other parts stay as they are. docs/benchmark.png, beside the table, draws all of it. Nothing
else should run meanwhile.

    training    a bare PyTorch loop, step by step: ResNet-18 at 28 and 64 px, LeNet at 28 px
    peers       MONAI's and MedMNIST's ways, from the command to the test
    feeding     MONAI and torchvision, from the disk to the device
    nets        torchvision's nets; crops by one pass; a whole net by one with a frozen trunk
    maps        grad-cam and torchcam
    evaluation  a loop of scikit-learn
    start-up    the libraries alone, by the start up to the first step
    scaling     one process, 2,000 images, 28 px, each by more of it: images a second, and memory
"""

import argparse
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch

mpl.use("Agg")
HERE = Path(__file__).resolve().parent
Row = dict[str, Any]


class Part(NamedTuple):
    """A script, its arguments, those of a quick look, and what its table says."""

    commands: list[list[str]]
    quick: list[str]
    rows: Callable[[pd.DataFrame], Iterator[Row]]
    output: str = "--output"


def processor() -> str:
    """Return the name of this machine's processor, where the system tells."""
    known = Path("/proc/cpuinfo")
    lines = known.read_text(encoding="utf-8").splitlines() if known.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def spread(what: str, ratios: Any, **further: Any) -> Row:
    """Return the row of some ratios."""
    values = np.asarray(ratios, dtype=float)
    found = {"ratio": np.median(values), "lowest": values.min(), "highest": values.max()}
    return {"what": what} | {key: round(float(one), 3) for key, one in found.items()} | further


def training_rows(table: pd.DataFrame) -> Iterator[Row]:
    """Yield a row a net and size: seconds of the bare loop by ours."""
    for (model, size, batch), pairs in table.groupby(["model", "size", "batch_size"]):
        what = f"{model}, {size} px, batch {batch}: bare loop"
        ours = pairs["medcnn_images_per_s"].median()
        yield spread(what, 1 / (pairs["bare_images_per_s"] / pairs["medcnn_images_per_s"]), of=ours)


def peer_rows(table: pd.DataFrame) -> Iterator[Row]:
    """Yield a row a peer: its seconds by ours, round by round."""
    seconds = {name: part["seconds"].to_numpy() for name, part in table.groupby("engine")}
    for name in ("monai", "medmnist"):
        what = f"{table['epochs'].iloc[0]} epochs of PneumoniaMNIST, ResNet-18: {name}"
        yield spread(what, seconds[name] / seconds["medcnn"], of=np.median(seconds["medcnn"]))


def feeding_rows(table: pd.DataFrame) -> Iterator[Row]:
    """Yield a row a case and engine."""
    ours = table[table["engine"] == "medcnn"].set_index("case")["images_per_s"]
    for row in table[table["engine"] != "medcnn"].to_dict("records"):
        bounds = [row[f"ratio_{one}"] for one in ("median", "min", "max")]
        yield spread(f"{row['case']}: {row['engine']}", bounds, of=ours[row["case"]])


def ratio_rows(table: pd.DataFrame) -> Iterator[Row]:
    """Yield the rows that have a ratio, as they are."""
    for row in table.dropna(subset="ratio").to_dict("records"):
        yield spread(row["what"], [row["ratio"], row["lowest"], row["highest"]])


def evaluation_rows(table: pd.DataFrame) -> Iterator[Row]:
    """Yield the row of the loop that medcnn is compared with."""
    for row in table.dropna(subset="by ours").to_dict("records"):
        yield spread(f"{row['what']}: scikit-learn in a loop", [row["by ours"]])


def start_rows(table: pd.DataFrame) -> Iterator[Row]:
    """Yield the seconds of the imports alone by those up to the first step."""
    whole = table["first_step_s"]
    yield spread("imports alone", table["imports_s"] / whole, of=whole.median())


def scaling_rows(table: pd.DataFrame) -> Iterator[Row]:
    """Yield a row a case: images a second by those of the first case of its kind, and MB."""
    for row in table.to_dict("records"):
        what = f"{row['part']}: {row['what']}"
        bounds = [row["ratio"], row["lowest"], row["highest"]]
        yield spread(what, bounds, of=row["images_per_s"], megabytes=row["megabytes"])


LENET = ["--model", "lenet", "--sizes", "28", "--batch-size", "128", "--steps", "40"]
PHANTOM = ["dataset.patients=120", "dataset.size=28", "model=lenet"]
PARTS: dict[str, Part] = {
    "training": Part(
        [["benchmark_training.py"], ["benchmark_training.py", *LENET]],
        ["--pairs", "2"],
        training_rows,
    ),
    "peers": Part([["benchmark_peers.py", "--data", "DIR"]], ["--epochs", "1"], peer_rows),
    "feeding": Part([["benchmark_data.py"]], ["--rounds", "1"], feeding_rows, "--csv"),
    "nets": Part([["benchmark_nets.py"]], ["--rounds", "1"], ratio_rows),
    "maps": Part([["benchmark_cam.py"]], ["--rounds", "1"], ratio_rows),
    "evaluation": Part([["benchmark_evaluation.py"]], ["--rounds", "1"], evaluation_rows),
    "start-up": Part([["benchmark_startup.py", *PHANTOM]], ["--pairs", "1"], start_rows),
    "scaling": Part([["benchmark_scaling.py"]], ["--rounds", "1"], scaling_rows),
}


def measured(name: str, data: Path, quick: bool) -> list[Row]:
    """Run the scripts of a part, and return the rows of the table.

    Raises:
        RuntimeError: A script failed; with its last line.
    """
    part, tables = PARTS[name], []
    with tempfile.TemporaryDirectory() as folder:
        for script, *arguments in part.commands:
            table = Path(folder) / f"{len(tables)}.csv"
            arguments = [str(data) if one == "DIR" else one for one in arguments]
            command = [sys.executable, str(HERE / script), *arguments]
            command += [*(part.quick if quick else []), part.output, str(table)]
            done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
            if done.returncode:
                raise RuntimeError((done.stderr.strip().splitlines() or ["no message"])[-1])
            tables.append(pd.read_csv(table))
    machine = {
        "processor": processor(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    return [{"part": name, **row, **machine} for row in part.rows(pd.concat(tables))]


def draw(table: pd.DataFrame, file: Path) -> None:
    """Draw the ratios on a logarithmic scale, parts one below the other, with their ranges."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, NullFormatter

    shown = table[table["part"] != "scaling"].iloc[::-1].reset_index(drop=True)
    figure, axes = plt.subplots(figsize=(9, 1 + 0.24 * len(shown)), layout="constrained")
    known = list(PARTS)
    for k, row in shown.iterrows():
        colour = f"C{known.index(row['part'])}"
        axes.plot([row["lowest"], row["highest"]], [k, k], color=colour, lw=3, alpha=0.4)
        axes.plot(row["ratio"], k, "o", color=colour, ms=5)
    labels = [f"{row['part']} · {row['what']}" for row in shown.to_dict("records")]
    axes.set_yticks(range(len(shown)), labels, fontsize=7)
    axes.axvline(1, color="0.5", lw=1)
    axes.set(xscale="log", ylim=(-0.7, len(shown) - 0.3))
    axes.set_xlabel("times as long as medcnn, or as the row says")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(file, dpi=110)
    plt.close(figure)


def main() -> None:
    """Measure the parts that are asked for; print, keep and draw the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the MedMNIST file")
    parser.add_argument("--quick", action="store_true", help="few rounds: does it run?")
    parser.add_argument("--output", type=Path, default=Path("docs/benchmark.csv"))
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    options = parser.parse_args()
    table = pd.read_csv(options.output) if options.output.exists() else pd.DataFrame()
    failed = []
    for name in options.only:
        try:
            rows = measured(name, options.data.resolve(), options.quick)
        except RuntimeError as error:
            failed.append(name)
            print(f"{name}: {error}", file=sys.stderr)
            continue
        others = table[table["part"] != name] if len(table) else table
        table = pd.concat([others, pd.DataFrame(rows)], ignore_index=True)
        order = table["part"].map(list(PARTS).index)
        table = table.iloc[order.argsort(kind="stable")].reset_index(drop=True)
        table.to_csv(options.output, index=False)
    if len(table):
        print(table.drop(columns=["processor", "torch"]).to_string(index=False))
        draw(table, options.output.with_suffix(".png"))
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
