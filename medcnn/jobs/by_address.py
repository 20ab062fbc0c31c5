"""The settings of a command whose places are addresses, with places on the disk in their stead."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from medcnn.errors import UserError
from medcnn.jobs import launched
from medcnn.jobs.copies import COPIES, OF_DISK, copies_in, local_checkpoint
from medcnn.jobs.mirror import mirrored
from medcnn.jobs.remote import check_secret, is_address, refuse_address

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
    _check_secrets(settings.plain())
    paths = getattr(settings, "paths", None)
    with ExitStack() as stack:
        if paths is not None:
            refuse_address("paths.data", paths.data, "give a folder on a disk, for copies")
            stack.enter_context(copies_in(Path(paths.data) / COPIES))
        _check_output(settings, config_name)
        if config_name == "evaluate":
            _check_apart(settings)
        for key in READ:
            if is_address(value := getattr(settings, key, None)):
                setattr(settings, key, str(local_checkpoint(value, key)))
        for key in READ_SEVERAL:
            several = getattr(settings, key, [])
            local = [str(local_checkpoint(one, key)) if is_address(one) else one for one in several]
            if local != several:
                setattr(settings, key, local)
        if config_name in WITH_RUN:
            stack.enter_context(_run_on_the_disk(settings))
        yield


def _check_secrets(value: Any, key: str = "") -> None:
    """Raise UserError, which doesn't tell it, for an address in the settings with a password."""
    if isinstance(value, dict):
        for name, inner in value.items():
            _check_secrets(inner, f"{key}.{name}".lstrip("."))
    elif isinstance(value, list):
        for inner in value:
            _check_secrets(inner, key)
    elif is_address(value):
        check_secret(key, value)


def _check_apart(settings: Any) -> None:
    """Raise UserError where the run directory of a test holds what is tested."""
    run = settings.paths.run
    if not is_address(run):  # which is looked at with the copies
        return
    for one in (settings.checkpoint, *settings.ensemble):
        if one is not None and _parts(one)[: len(_parts(run))] == _parts(run):
            raise UserError(f"paths.run={run} holds the checkpoint itself; choose another")


def _parts(place: str) -> tuple[str, ...]:
    """Return the parts of an address, or of a path on the disk as it is in truth."""
    if is_address(place) and not place.startswith(OF_DISK):
        return tuple(part for part in place.split("/") if part not in ("", "."))
    return Path(place.removeprefix(OF_DISK)).expanduser().resolve().parts


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
    trainer: Any = getattr(settings, "trainer", None)
    on_ray = trainer is not None and trainer.launcher == "ray" and trainer.num_nodes > 1
    if on_ray or (launched.others is not None and launched.others.place.nodes > 1):
        raise UserError(f"{key}={address}: an address goes with processes on one machine")
    with mirrored(address, key) as folder:
        if resume is None:
            settings.paths.run = folder
        else:
            settings.resume = folder
        yield
