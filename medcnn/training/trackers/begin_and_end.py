"""The trackers of a run, from its start to its end."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from medcnn.errors import InterruptedRunError, PrunedRunError
from medcnn.jobs.instantiate import instantiate
from medcnn.jobs.rundir import RunDir
from medcnn.jobs.settings.commands import Train
from medcnn.training.trackers.tracker import Tracker

HERE = "medcnn.training.trackers."


def is_tracker(node: Any) -> bool:
    """Return whether a config of the group ``logger`` is of a tracker, and not of Lightning's."""
    return isinstance(node, dict) and str(node.get("_target_", "")).startswith(HERE)


@contextmanager
def tracked(cfg: Train, run: RunDir, trust: Iterable[str]) -> Iterator[list[Tracker]]:
    """Tell the trackers of a config how the run of the block begins and ends.

    Yields:
        These trackers, which are callbacks of the training; empty without any.

    Raises:
        UserError: One of them can't be reached; then nothing is begun.
    """
    opened: list[Tracker] = []
    try:
        for name, node in cfg.logger.items():
            if is_tracker(node):
                tracker = instantiate(node, f"logger.{name}", trust, save_dir=run.path)
                tracker.begin()
                opened.append(tracker)
        yield opened
    except BaseException as error:
        for tracker in opened:
            tracker.end(_state(error))
        raise
    for tracker in opened:
        tracker.finish()


def _state(error: BaseException) -> str:
    if isinstance(error, PrunedRunError):
        return "pruned"
    interrupted = isinstance(error, InterruptedRunError) or not isinstance(error, Exception)
    return "interrupted" if interrupted else "failed"
