"""Seconds of the audit's search for copies by the number of images, and the copies it finds.

python scripts/benchmark_duplicates.py [--images N …] [--output docs/benchmark_duplicates.csv]

Random images of 32 px with structures of all sizes, of which a fifth is test; 200 of these are
copies of training images (cut by 5 % of each edge, with noise). `way` is how the coarsest level
compares: all pairs, or lists (see medcnn/data/checks/nearest.py); by default medcnn takes lists
from 4.3 thousand million pairs on. All pairs are compared up to 100,000 images only. One process,
one thread a core; nothing else should run meanwhile.
"""

import argparse
import time
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from medcnn.data.checks import nearest
from medcnn.data.checks.duplicates import near_duplicates

SIZE, COPIES, ALL_PAIRS = 32, 200, 100_000
CUT = 0.05


def textured(count: int, generator: torch.Generator) -> Tensor:
    """Return random images (count, 1, 32, 32) uint8 with structures of every size."""
    parts = []
    for start in range(0, count, 10_000):
        some = min(10_000, count - start)
        total = torch.zeros(some, 1, SIZE, SIZE)
        for side in (4, 8, 16):
            noise = torch.rand(some, 1, side, side, generator=generator)
            total += F.interpolate(noise, SIZE, mode="bicubic", align_corners=False)
        parts.append((total * 80).clamp(0, 255).to(torch.uint8))
    return torch.cat(parts)


def copied(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return copies of images that lack a strip at each edge, with noise."""
    edge = round(CUT * SIZE)
    inner = images[..., edge:-edge, edge:-edge].float()
    whole = F.interpolate(inner, SIZE, mode="bilinear", align_corners=False)
    return (whole + 3 * torch.randn(whole.shape, generator=generator)).clamp(0, 255).to(torch.uint8)


def main() -> None:
    """Search, and write a row a number and way."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, nargs="+", default=[25_000, 50_000, 100_000, 200_000])
    parser.add_argument("--output", type=Path, help="CSV file, a row a number and way")
    options = parser.parse_args()
    rows = []
    for count in options.images:
        generator = torch.Generator().manual_seed(count)
        images = textured(count, generator)
        first = count - count // 5
        images[first : first + COPIES] = copied(images[:COPIES], generator)
        splits = ["train"] * first + ["test"] * (count - first)
        for way, limit in (("all pairs", 1 << 62), ("lists", 0)):
            if way == "all pairs" and count > ALL_PAIRS:
                continue
            nearest.EXHAUSTIVE = limit
            start = time.perf_counter()
            pairs, _ = near_duplicates(images, splits)
            seconds = time.perf_counter() - start
            found = sum(int(later) - first == int(other) for later, other in pairs)
            row = {"images": count, "way": way, "seconds": round(seconds, 1), "copies": COPIES}
            rows.append(row | {"found": found, "threads": torch.get_num_threads()})
            print(", ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
            if options.output:
                pd.DataFrame(rows).to_csv(options.output, index=False)


if __name__ == "__main__":
    main()
