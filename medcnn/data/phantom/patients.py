"""The patients of a phantom: groups, splits, random numbers; and their images, made in parallel."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from medcnn.data.phantom.projection import Array
from medcnn.data.samples import SPLITS
from medcnn.errors import UserError
from medcnn.jobs.progress import Progress


def apportion(shares: Sequence[float], count: int) -> Array:
    """Put items into groups so that every beginning of the list has nearly the shares asked for.

    Each item goes to the group that is furthest behind its share, so nothing changes for the first
    items when more follow.

    Returns:
        (count,) int64 group indices.
    """
    target = np.asarray(shares, dtype=np.float64) / np.sum(shares)
    given = np.zeros(len(target))
    groups = np.empty(count, dtype=np.int64)
    for item in range(count):
        groups[item] = np.argmax(np.round(target * (item + 1) - given, 9))  # ties: the first group
        given[groups[item]] += 1
    return groups


def split_patients(group: Array, names: Sequence[str], shares: Sequence[float]) -> Array:
    """Return split indices (patients,), with the same shares in every group; its names are given.

    Raises:
        UserError: A group has too few patients for one in each split.
    """
    split = np.empty(len(group), dtype=np.int64)
    for index, name in enumerate(names):
        rows = np.flatnonzero(group == index)
        split[rows] = apportion(shares, len(rows))
        if len(np.unique(split[rows])) < len(SPLITS):
            raise UserError(
                f"dataset.patients={len(group)}: {len(rows)} of class {name} are too few for one "
                "in each split; ask for more patients, or for other shares"
            )
    return split


def generator_of(seed: int, *key: int) -> np.random.Generator:
    """Return a generator that depends on the seed and the key alone."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def in_blocks(count: int, block: int, take: Callable[[Array], None]) -> None:
    """Call `take` with the rows 0 … count-1, some at a time, in any order, on two threads."""
    blocks = np.split(np.arange(count), range(block, count, block))
    with ThreadPoolExecutor(2) as pool, Progress("images drawn", count) as drawn:
        for rows, _ in zip(blocks, pool.map(take, blocks), strict=True):
            drawn.advance(len(rows))
