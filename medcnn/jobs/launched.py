"""Runs of processes that torchrun or srun has started.

All of them are given the same command. The first one does what it says. Each other one waits until
that one has a run for it, does its part in a process of its own (``medcnn.training.worker``), and
waits again, so that sweeps and cross-validations need no more. They speak through a store of torch,
which the first process keeps, or torchrun does.
"""

import atexit
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

from medcnn.errors import UserError
from medcnn.jobs.by_hand import set_by_hand
from medcnn.jobs.part import start
from medcnn.jobs.place import Place, find_place, forget_place
from medcnn.jobs.settings.groups import Trainer
from medcnn.jobs.terminal import say

MEET = 600  # seconds for all processes to come
LOOK = 0.2  # seconds between two looks at the store
BEAT = 2  # seconds between two signs of life
SILENCE = 30  # seconds without one, after which a process is lost
FAREWELL = 5  # seconds for the others to hear that all is done
SILENT = -1000  # stands for the exit code of a process that isn't heard of any more

IGNORED = ("SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")  # the first process heeds them


class Others:
    """The other processes of a launcher, as the first one sees them."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.store = _store(place, first=True)
        self.runs = 0
        _beat(self.store, 0)
        atexit.register(self._end)

    def begin(self, task: list[str], shared: dict[str, str]) -> list["Other"]:
        """Have each of them begin its part of a run, and return what stands for them.

        Args:
            task: Arguments of ``medcnn.training.worker``.
            shared: Environment variables of all.
        """
        self.runs += 1
        self.store.set(f"run/{self.runs}", json.dumps({"task": task, "shared": shared}))
        return [Other(self.store, rank, self.runs) for rank in range(1, self.place.world)]

    def _end(self) -> None:
        with suppress(Exception):  # whoever is gone needs no word
            self.store.set(f"run/{self.runs + 1}", json.dumps({}))
            end = time.monotonic() + FAREWELL
            while self.store.add("heard", 0) < self.place.world - 1 and time.monotonic() < end:
                time.sleep(LOOK)


class Other:
    """A part of a run in another process of a launcher, in the way of `subprocess.Popen`."""

    def __init__(self, store: Any, rank: int, run: int) -> None:
        self._store, self._key = store, f"{run}/{rank}"
        self._heart = Heart(store, rank)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code; None while the part goes on."""
        if self.returncode is None:
            try:
                if self._store.check([f"code/{self._key}"]):
                    self.returncode = int(self._store.get(f"code/{self._key}"))
                elif self._heart.silent():
                    self.returncode = SILENT
            except RuntimeError:  # the launcher, which keeps the store, is gone
                self.returncode = SILENT
        return self.returncode

    def kill(self) -> None:
        """Have the process end its part."""
        with suppress(RuntimeError):
            self._store.set(f"stop/{self._key}", "")

    def wait(self, timeout: float = FAREWELL + SILENCE) -> int:
        """Return the exit code once there is one; raise TimeoutExpired as Popen does."""
        end = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("", timeout)
            time.sleep(LOOK)
        return code


class Heart:
    """The signs of life of a process."""

    def __init__(self, store: Any, rank: int) -> None:
        self._store, self._key = store, f"beat/{rank}"
        self._last, self._seen = b"", time.monotonic()

    def silent(self) -> bool:
        """Return whether there has been none for `SILENCE` seconds, or none at all for `MEET`."""
        beat = self._store.get(self._key) if self._store.check([self._key]) else b""
        if beat != self._last:
            self._last, self._seen = beat, time.monotonic()
        return time.monotonic() - self._seen > (SILENCE if self._last else MEET)


def refuse_launcher() -> None:
    """Raise UserError if this process is one of several that torchrun or srun has started."""
    if find_place() is not None:
        raise UserError(
            "torchrun and srun start several processes of python -m medcnn.train alone; start this "
            "command without torchrun, and with one task of srun (--ntasks=1)"
        )


others: Others | None = None  # of the first of several processes that a launcher has started


def join_launcher() -> None:
    """Go on if this process is the first or the only one; else do its part of all runs, and exit.

    The environment loses what a launcher has set: whatever this process starts is started by us.
    """
    global others
    place = find_place()
    forget_place()
    if place is None:
        return
    if place.rank == 0:
        others = Others(place)
    else:
        sys.exit(_serve(place))


def take_over(trainer: Trainer) -> None:
    """Give a training's settings the processes and threads that a launcher has given it.

    Those of a run that is resumed may have been others.

    Raises:
        UserError: A person has set others, or there are several machines and no launcher.
    """
    if others is None:
        if trainer.num_nodes > 1:
            raise UserError(
                f"trainer.num_nodes={trainer.num_nodes}: on several machines torchrun or srun "
                "starts the processes; on one leave it at 1"
            )
        return
    place, devices, by_hand = others.place, trainer.devices, set_by_hand()
    count = len(devices) if isinstance(devices, list) else devices
    for key, number, there in (
        ("trainer.devices", count, place.local_world),
        ("trainer.num_nodes", trainer.num_nodes, place.nodes),
    ):
        if key in by_hand and number not in ("auto", there):
            raise UserError(
                f"{key}={number}, but {place.local_world} process(es) were started on each of "
                f"{place.nodes} machine(s): leave {key} out, or start as many"
            )
    if not isinstance(devices, list) or count != place.local_world:
        trainer.devices = place.local_world
    trainer.num_nodes = place.nodes
    if place.cores is not None and "trainer.threads" not in by_hand:
        trainer.threads = place.cores


def _store(place: Place, first: bool) -> Any:
    """Return the store by which all speak.

    Raises:
        UserError: There is none, or the first process can't have the port.
    """
    from torch.distributed import PrefixStore, TCPStore

    keeps = first and not place.kept
    try:
        found = TCPStore(
            place.host,
            place.port,
            is_master=keeps,
            wait_for_workers=False,
            timeout=timedelta(seconds=MEET),
        )
    except RuntimeError as error:
        what = "port is taken" if keeps else "first process isn't there"
        raise UserError(
            f"{place.host}:{place.port}, where the processes of this job meet: {what}; "
            "MASTER_PORT sets another one"
        ) from error
    return PrefixStore("medcnn", found)


def _beat(store: Any, rank: int) -> None:
    """Give a sign of life now and then, as long as this process lives."""

    def beat() -> None:
        n = 0
        with suppress(Exception):  # of a store that is gone
            while True:
                n += 1
                store.set(f"beat/{rank}", str(n))
                time.sleep(BEAT)

    threading.Thread(target=beat, daemon=True).start()


def _serve(place: Place) -> int:
    """Do this process's part of each run; return the exit code once there is no more."""
    for name in IGNORED:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    leaving: list[float] = []  # once it is to end, it waits for the first process's word
    signal.signal(signal.SIGTERM, lambda *_: leaving.append(time.monotonic() + SILENCE / 2))
    store = _store(place, first=False)
    _beat(store, place.rank)
    heart, run = Heart(store, 0), 0

    def alone() -> bool:
        return heart.silent() or bool(leaving and time.monotonic() > leaving[0])

    try:
        while True:
            run += 1
            while not store.check([f"run/{run}"]):
                if alone():
                    return say(f"process {place.rank}: the first process of this job is gone", 2)
                time.sleep(LOOK)
            task = json.loads(store.get(f"run/{run}"))
            if not task:
                store.add("heard", 1)
                return 0
            code = _part(place, store, run, task, alone)
            store.set(f"code/{run}/{place.rank}", str(code))
    except RuntimeError:  # the store is gone, and so is the first process
        return say(f"process {place.rank}: the first process of this job is gone", 2)


def _part(
    place: Place, store: Any, run: int, task: dict[str, Any], alone: Callable[[], bool]
) -> int:
    """Do this process's part of a run, and return its exit code."""
    ranks = {"LOCAL_RANK": place.local_rank, "RANK": place.rank, "NODE_RANK": place.node}
    shared = task["shared"] | {name: str(number) for name, number in ranks.items()}
    try:
        child = start(place.rank, task["task"], shared)
    except OSError as error:
        return say(f"process {place.rank}: a run of the first process isn't there: {error}", 2)
    try:
        while child.poll() is None:
            if alone() or store.check([f"stop/{run}/{place.rank}"]):
                break
            time.sleep(LOOK)
    finally:
        child.kill()  # of one that has ended: nothing
        code = child.wait()
    return code
