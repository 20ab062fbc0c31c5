"""The settings of a command whose places are addresses, with places on the disk in their stead."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from medcnn.errors import UserError
from medcnn.jobs import launched
from medcnn.jobs.copies import COPIES, copies_in, local_copy
from medcnn.jobs.mirror import mirrored
from medcnn.jobs.remote import is_address, refuse_address

READ = ("checkpoint", "random_labels")  # copied; images are when they are listed
READ_SEVERAL = ("ensemble", "seeds")
BESIDE = ("explain", "features")  # commands that write beside the checkpoint by default
WITH_RUN = ("train", "evaluate")  # commands that write a run directory


@contextmanager
def on_the_disk(settings: Any, config_name: str) -> Iterator[None]:
    """Put places on the disk where a command's settings hold addresses, for the block.

    Checkpoints become copies, a run directory one that is mirrored: see `medcnn.jobs.mirror`. The
    data stay as they are, since what a run keeps has to lead there from other machines.

    Raises:
        UserError: An address where none can be taken, or one that can't be read or written to.
    """
    paths = getattr(settings, "paths", None)
    with ExitStack() as stack:
        if paths is not None:
            refuse_address("paths.data", paths.data, "give a folder on a disk, for copies")
            stack.enter_context(copies_in(Path(paths.data) / COPIES))
        _check_output(settings, config_name)
        for key in READ:
            if is_address(value := getattr(settings, key, None)):
                setattr(settings, key, str(local_copy(value, key)))
        for key in READ_SEVERAL:
            several = getattr(settings, key, [])
            local = [str(local_copy(one, key)) if is_address(one) else one for one in several]
            if local != several:
                setattr(settings, key, local)
        if config_name in WITH_RUN:
            stack.enter_context(_run_on_the_disk(settings))
        yield


def _check_output(settings: Any, config_name: str) -> None:
    """Raise UserError where results would be written to an address, or beside a copy."""
    output = getattr(settings, "output", None)
    refuse_address("output", output, "give output= a place on a disk")
    for run in getattr(settings, "runs", ()):
        refuse_address("runs", run, "copy the run directories to a disk")
    if config_name in BESIDE and output is None and is_address(settings.checkpoint):
        raise UserError(
            f"checkpoint={settings.checkpoint} is an address, beside which nothing is written: add "
            "output= with a folder on a disk"
        )


@contextmanager
def _run_on_the_disk(settings: Any) -> Iterator[None]:
    """Mirror the run directory of the settings, if it is an address."""
    resume = getattr(settings, "resume", None)
    key, address = ("paths.run", settings.paths.run) if resume is None else ("resume", resume)
    if not is_address(address):
        yield
        return
    if launched.others is not None and launched.others.place.nodes > 1:
        raise UserError(f"{key}={address}: an address goes with processes on one machine")
    with mirrored(address, key) as folder:
        if resume is None:
            settings.paths.run = folder
        else:
            settings.resume = folder
        yield
