"""What a plan may change of a net: its width and strides, and the size of its images."""

from collections.abc import Sequence
from typing import Any

from medcnn.jobs.hardware import processes
from medcnn.jobs.settings.commands import Train
from medcnn.planning.auto.machine import HALF, NARROW, WHOLE
from medcnn.planning.auto.time_needed import Needs
from medcnn.training.transfer import has_weights

SIZES = (28, 64, 128, 224)  # px an edge; the same in which MedMNIST publishes its sets
WIDTHS = (WHOLE, HALF, NARROW)  # shares of the published numbers of channels, the widest first
LESION = 8  # px that a lesion is to be long, at least
CELLS = 7  # an edge of the last map, at least


def wanted(n: Needs) -> dict[str, Any]:
    """Return the smallest size that may do, and the width that a net has where there is time.

    Few images, and volumes, want half of the published width.
    """
    free = n.data.size is None and n.is_free("dataset.size")
    widest = {"model.width": widths(n)[0]} if narrowest(n) else {}
    return ({"dataset.size": lesion_size(n)} if free else {}) | widest


def finest(n: Needs) -> dict[str, Any]:
    """Return `wanted`, and the strides of a finer map where a net may have them."""
    values = wanted(n)
    side = values.get("dataset.size")
    sides = n.size if side is None else (side,) * n.data.dims
    found = finer(sides) if takes_strides(n.cfg) and n.is_free("model.strides") else None
    return values if found is None else values | {"model.strides": found}


def passes_side_by_side(n: Needs, values: dict[str, Any] | None = None) -> list[float]:
    """Return the passes of each of several networks, by how many of them train side by side.

    The first is of one after the other, the only way where threads aren't shared.

    Args:
        n: What is known.
        values: Of the networks; None for those that are wanted.
    """
    given, free = n.cfg.trainer, n.is_free("folds_at_once")
    shared = n.machine.device == "cpu" and given.threads is None and processes(given) == 1
    counts = range(1, min(n.folds, n.machine.threads) + 1) if shared and free else [n.at_once]
    values = wanted(n) if values is None else values
    return [n.given({"folds_at_once": k}).passes(values) for k in counts]


def widths(n: Needs) -> list[float]:
    """Return the widths that a net may have, the widest first."""
    half = n.data.few or n.data.dims == 3
    return [w for w in WIDTHS if w <= HALF or not half]


def sizes(n: Needs) -> list[int]:
    """Return the sizes that files can be brought to without being made larger."""
    return [s for s in SIZES if s <= min(n.data.own) * n.cut] or [SIZES[0]]


def lesion_share(n: Needs) -> float | None:
    """Return the length of a lesion as a share of the edge of what is kept."""
    return None if n.data.lesion is None else n.data.lesion / n.cut


def lesion_size(n: Needs) -> int:
    """Return the smallest size at which a lesion is seen; where none is known, the smallest."""
    known, share = sizes(n), lesion_share(n)
    if share is None:
        return known[0]
    seen = next((s for s in known if share * s >= LESION), known[-1])
    return max(seen, 64 if 64 in known else known[0])


def narrowest(n: Needs) -> dict[str, Any]:
    """Return the width of the narrowest net there may be; nothing where no width is to choose."""
    fixed = n.cfg.model.get("width") is None or not n.is_free("model.width") or has_weights(n.cfg)
    return {} if fixed else {"model.width": WIDTHS[-1]}


def takes_strides(cfg: Train) -> bool:
    """Return whether the net of a config may have other strides than the published ones."""
    return "strides" in cfg.model and not has_weights(cfg)


def finer(size: Sequence[int]) -> list[int] | None:
    """Return the strides of four stages with which a map has `CELLS`; None for the published ones.

    >>> finer((28, 28)), finer((64, 64))
    ([1, 1, 2, 2], None)
    """
    halvings = next((k for k in (3, 2, 1) if min(size) / 2**k >= CELLS), 0)
    return None if len(size) == 3 or halvings == 3 else [1] * (4 - halvings) + [2] * halvings
