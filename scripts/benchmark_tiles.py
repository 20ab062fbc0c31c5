"""Tiles of a large slide: memory and time, beside reading it as a whole.

python scripts/benchmark_tiles.py [--edge 20000] [--tile 224] [--folder DIR] [--output FILE.csv]

A slide of tissue is made (EDGE × EDGE pixels, 0.5 µm a pixel; a TIFF of JPEG blocks, levels of 1, 4
and 16), and opened as a table of one row with an empty cache, each time in a process of its own.
Memory is the largest resident set (peak), the most that isn't mapped from a file (anonymous), and
of that what is there before anything is opened (at rest), in MB. The whole slide is what tifffile
alone takes. Needs the extra slides.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

BLOCK = 512
STEPS = (1, 4, 16)  # of the levels
CM = 20_000  # pixels
MB = 2**20
CASES = {  # what is asked for, beside dataset.tiles
    "all tiles": {},
    "tiles half of tissue": {"tissue": 0.5},
    "the same at 2 µm": {"tissue": 0.5, "tile_spacing": 2.0},
}


def main() -> None:
    """Make the slide, open it in each way, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--edge", type=int, default=20_000)
    parser.add_argument("--tile", type=int, default=224)
    parser.add_argument("--folder", type=Path, help="for the slide; by default a temporary one")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--child", nargs=2, metavar=("SLIDE", "CASE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measured(Path(options.child[0]), options.child[1], options.tile)))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        slide = Path(name) / "slide.tif"
        make_slide(slide, options.edge)
        size = slide.stat().st_size / MB
        rows = []
        for case in ("whole", *CASES):
            child = [sys.executable, __file__, "--tile", str(options.tile), "--child", slide, case]
            done = subprocess.run(child, check=True, stdout=subprocess.PIPE)
            found = json.loads(done.stdout.splitlines()[-1])
            rows.append({"edge": options.edge, "file MB": round(size), "case": case, **found})
            print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    print(table.to_string(index=False))
    if options.output is not None:
        table.to_csv(options.output, index=False)


def make_slide(path: Path, edge: int) -> None:
    """Write a slide block by block: glass, pieces of pink tissue with grain, and a pen mark."""
    import tifffile

    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for step in STEPS:
            side = -(-edge // step)
            file.write(
                blocks(side, step, edge),
                shape=(side, side, 3),
                dtype=np.uint8,
                tile=(BLOCK, BLOCK),
                photometric="rgb",
                compression="jpeg",
                subfiletype=int(step > 1),
                resolution=(CM / step, CM / step),
                resolutionunit="CENTIMETER",
                metadata=None,
            )


def blocks(side: int, step: int, edge: int) -> Iterator[np.ndarray]:
    """Yield the blocks of a level, row by row."""
    rng = np.random.default_rng(step)
    pieces = [(0.3, 0.3, 0.18, 0.22), (0.7, 0.55, 0.2, 0.12), (0.35, 0.8, 0.1, 0.12)]
    for top in range(0, side, BLOCK):
        for left in range(0, side, BLOCK):
            y, x = np.ogrid[top : top + BLOCK, left : left + BLOCK]
            y, x = y * step / edge, x * step / edge
            wave = 0.1 * np.sin(40 * y) * np.cos(33 * x)
            tissue = np.zeros((BLOCK, BLOCK), bool)
            for row, column, high, wide in pieces:
                tissue |= ((y - row) / high) ** 2 + ((x - column) / wide) ** 2 + wave < 1
            colour = np.where(tissue[..., None], (195, 120, 175), (242, 241, 243)).astype(np.int16)
            cells = rng.random((BLOCK // 8, BLOCK // 8)) < 0.3
            nuclei = tissue & cells.repeat(8, 0).repeat(8, 1)
            colour[nuclei] = (95, 60, 140)
            colour[(y < 0.05) & (x < 0.3) & (y > 0.04)] = (25, 30, 28)
            grain = rng.integers(-6, 7, (BLOCK, BLOCK, 1), dtype=np.int16)
            yield (colour + grain).clip(0, 255).astype(np.uint8)


def measured(path: Path, case: str, tile: int) -> dict[str, float]:
    """Return tiles, seconds and memory of one way, in this process."""
    from medcnn.data.image import ImageSpec
    from medcnn.data.listing import Listing
    from medcnn.data.prepared.open_listing import open_listing

    def whole() -> int:
        import tifffile

        return len(tifffile.imread(path, key=0)) and 0

    def tiles() -> int:
        row = {"image": [path.name], "patient": ["p"], "label": [0]}
        spec = ImageSpec(size=(tile, tile), tiles=(tile, tile), **CASES[case])
        table = pd.DataFrame(row)
        listing = Listing("slide", table, path.parent.resolve(), spec, "binary", ("a", "b"))
        with tempfile.TemporaryDirectory(dir=path.parent) as cache:
            opened = open_listing(listing, cache, 10**12)
        if opened.problems:
            sys.exit(opened.problems[0].reason)
        return len(opened.table)

    rest = anonymous()
    seconds, count, peak = watched(whole if case == "whole" else tiles)
    return {
        "tiles": count,
        "seconds": round(seconds, 1),
        "at rest": round(rest),
        "anonymous": round(peak),
        "peak": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MB),
    }


def watched(work: Callable[[], int]) -> tuple[float, int, float]:
    """Return the seconds that some work takes, what it gives, and the peak of `anonymous`."""
    peak, done = [anonymous()], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            peak[0] = max(peak[0], anonymous())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    start = time.perf_counter()
    count = work()
    seconds = time.perf_counter() - start
    done.set()
    thread.join()
    return seconds, count, peak[0]


def anonymous() -> float:
    """Return the MB of this process's resident set that aren't mapped from a file."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024 / MB


if __name__ == "__main__":
    main()
