"""Memory and time of a training step on one long study, in chunks that are computed again.

python scripts/benchmark_studies.py [--slices 300] [--size 224] [--chunk 8] [--net resnet18]
    [--aggregate gru] [--one-pass-slices 300] [--output table.csv]

One step (forward, backward, SGD) of a net with model.aggregate on one study of noise, on the CPU:
once with model.chunk, once in one pass, which keeps what all slices need for the gradient. Each is
done in a process of its own. Memory is the highest resident set of that process, and of it what
was added by the step. Where one pass of all slices doesn't fit into the machine, it takes fewer
(--one-pass-slices), and seconds are compared by slice.
"""

import json
import resource
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path

MB = 2**20


def main() -> None:
    """Do each step in a process of its own, and print a table and a line of ratios."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--chunk", type=int, default=8)
    parser.add_argument("--net", default="resnet18")
    parser.add_argument("--aggregate", default="gru")
    parser.add_argument("--one-pass-slices", type=int, help="in one pass; by default all")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--step", help="JSON of one step, to be done in this process")
    options = parser.parse_args()
    if options.step is not None:
        print(json.dumps(step(Namespace(**json.loads(options.step)))))
        return
    import pandas as pd

    given = {"size": options.size, "net": options.net, "aggregate": options.aggregate}
    whole = options.one_pass_slices or options.slices
    rows = [
        measured({**given, "slices": options.slices, "chunk": options.chunk}),
        measured({**given, "slices": whole, "chunk": None}),
    ]
    table = pd.DataFrame(rows)
    print(table.to_string(index=False))
    chunked, one_pass = rows
    slower = (chunked["seconds"] / chunked["slices"]) / (one_pass["seconds"] / one_pass["slices"])
    less = one_pass["MB of the step"] / chunked["MB of the step"]
    print(f"in chunks a slice takes {slower:.2f} times as long, and the step {less:.1f} times less")
    if options.output is not None:
        table.to_csv(options.output, index=False)


def measured(given: dict[str, object]) -> dict[str, float]:
    """Return the figures of a step that another process does."""
    command = [sys.executable, __file__, "--step", json.dumps(given)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def peak() -> float:
    """Return the highest resident set of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MB


def step(given: Namespace) -> dict[str, object]:
    """Train one step on one study; return its figures."""
    import torch

    from medcnn.nets import build
    from medcnn.nets.chunks import in_chunks

    torch.manual_seed(0)
    sides = (given.size, given.size)
    net = build(
        given.net, in_channels=1, num_classes=2, input_size=sides,
        aggregate=given.aggregate, chunk=given.chunk,
    ).train()  # fmt: skip
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    images, label = torch.rand(given.slices, 1, *sides), torch.tensor([1])
    bag, order = torch.zeros(given.slices, dtype=torch.int64), torch.arange(given.slices)
    before, begun = peak(), time.perf_counter()
    maps = in_chunks(net.features, images, net.chunk)
    logits = net.head(maps, {"bag": bag, "order": order})
    torch.nn.functional.cross_entropy(logits, label).backward()
    optimizer.step()
    return {
        **vars(given),
        "seconds": round(time.perf_counter() - begun, 2),
        "peak MB": round(peak()),
        "MB of the step": round(peak() - before),
    }


if __name__ == "__main__":
    main()
