"""Parts of some work, done by several processes of which any may be lost."""

import json
import logging
import os
import subprocess
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, NamedTuple, Protocol, TextIO

from medcnn.errors import UserError, system_error
from medcnn.inference.parts import Advance, Parts, Work
from medcnn.jobs.interruption import raise_if_received
from medcnn.jobs.processes import signal_name
from medcnn.jobs.progress import Progress
from medcnn.jobs.terminal import say

TRIES = 2  # processes that a part may cost
GONE = 2  # exit code of a process that is left alone in the midst of a part

Said = SimpleQueue[tuple["Worker", dict[str, Any] | None]]


class Task(NamedTuple):
    """How the work of a command is shared.

    Attributes:
        module: Whose ``python -m`` does parts of it, see `serve`.
        job: Plain values from which that begins.
        processes: How many; 1 for this one alone.
        again: The words for the command that goes on, as ``the same command``.
    """

    module: str
    job: Mapping[str, Any]
    processes: int
    again: str


def do_all(parts: Parts, work: Work, what: str, task: Task) -> None:
    """Do the parts that aren't done, here or in several processes, and say how far it is.

    Args:
        parts: What there is to do.
        work: That does it here.
        what: Is done, as ``images classified``.
        task: How it is shared.

    Raises:
        KeyboardInterrupt: With a line that says how to go on.
        UserError: What `share` or the work raise.
    """
    for line in parts.failed():  # in what was done before
        say(line)
    waiting, done = parts.waiting(), parts.done_rows()
    if done:
        print(f"{done} of {parts.total} {what} before", flush=True)
    try:
        with Progress(what, parts.total, done) as bar:
            if task.processes > 1:
                several = range(min(task.processes, len(waiting)))
                job = {**task.job, "parts": parts.plain(), "of": len(several)}
                share(
                    waiting,
                    [start(task.module, {**job, "worker": k}) for k in several],
                    bar.advance,
                )
                return
            for number in waiting:
                parts.do(number, work, bar.advance)
                raise_if_received()
    except KeyboardInterrupt:
        done = parts.done_rows()
        on = f" after {done} of {parts.total} {what}; {task.again} goes on" if done else ""
        raise KeyboardInterrupt(f"interrupted{on}") from None


class Process(Protocol):
    """What is needed of a `subprocess.Popen` in text mode."""

    stdin: Any
    stdout: Any

    def wait(self) -> int:
        """Return the exit code once it has ended."""

    def kill(self) -> None:
        """End it."""


def start(module: str, job: Mapping[str, Any]) -> Process:
    """Start a process of ``python -m MODULE``, which ends when this one does, on a job.

    Args:
        module: With `serve` in it.
        job: Plain values, for its `begin`.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", module],
        stdin=subprocess.PIPE,  # closed when this process ends, however it does
        stdout=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,  # Ctrl-C is for this process, which then stops the others
    )
    _write(process.stdin, job)
    return process


class Worker:
    """A process at work, as its first process sees it.

    Attributes:
        part: The number of the part that it does; None for none.
        rows: So many of its rows are done.
    """

    def __init__(self, process: Process, said: Said) -> None:
        self.process, self.rows = process, 0
        self.part: int | None = None
        threading.Thread(target=self._listen, args=(said,), daemon=True).start()

    def _listen(self, said: Said) -> None:
        with suppress(ValueError):  # of a line that was cut short, or a stream that was closed
            for line in self.process.stdout:
                said.put((self, json.loads(line)))
        said.put((self, None))

    def give(self, waiting: deque[int]) -> None:
        """Give it the next part, if there is one."""
        self.part, self.rows = (waiting.popleft() if waiting else None), 0
        if self.part is not None:
            with suppress(OSError):  # it has ended, which its other stream tells
                _write(self.process.stdin, {"part": self.part})


def share(parts: Sequence[int], processes: Sequence[Process], advance: Advance) -> None:
    """Have processes do parts, each the next one when it is done with one.

    If one is lost, as to the system's want of memory, the others do its part.

    Args:
        parts: Their numbers.
        processes: Of `start`. They are ended when this returns or raises.
        advance: Is told rows that are done, and, with a minus, those that are to be done again.

    Raises:
        UserError: All processes are lost, or several by the same part, or one failed by itself.
    """
    waiting, said, lost = deque(parts), Said(), Counter[int | None]()
    workers = [Worker(process, said) for process in processes]
    try:
        for worker in workers:
            worker.give(waiting)
        while any(worker.part is not None for worker in workers):
            worker, told = said.get()
            if told is None:
                workers.remove(worker)
                lost[worker.part] += worker.part is not None
                _check_loss(worker.process.wait(), bool(workers), lost[worker.part])
                if worker.part is not None:
                    advance(-worker.rows)
                    waiting.appendleft(worker.part)
                for idle in [one for one in workers if one.part is None]:
                    idle.give(waiting)
            elif "error" in told:
                raise UserError(told["error"])
            elif "rows" in told:
                worker.rows += told["rows"]
                advance(told["rows"])
            else:
                worker.give(waiting)
    finally:
        for process in processes:
            process.kill()
            process.wait()
            with suppress(OSError):  # of what it wasn't told any more
                process.stdin.close()


def _check_loss(code: int, others: bool, times: int) -> None:
    """Raise UserError if the work can't go on without a process; else say that it is lost."""
    if code >= 0:
        raise UserError(
            f"a process of this work failed with exit code {code}; the same command goes on"
        )
    how = f"a process of this work was ended by {signal_name(-code)}"
    if not others:
        raise UserError(f"{how}, and none is left; the same command goes on")
    if times >= TRIES:
        raise UserError(f"{how}, as another by the same images; the same command goes on")
    say(f"{how}; the others do its part")


def serve(
    orders: TextIO,
    replies: TextIO,
    begin: Callable[[dict[str, Any]], tuple[Parts, Work]],
    end: Callable[[int], Any] = os._exit,
) -> None:
    """Do the parts that the first process orders, until it closes the stream.

    Args:
        orders: A line of JSON each: the job, then ``{"part": 12}``.
        replies: Gets ``{"rows": 64}`` as rows are done, ``{"done": 12}``, and ``{"error": …}``.
        begin: From the job to all parts and the work.
        end: Ends this process, whatever it does, once the orders do.
    """
    given: SimpleQueue[dict[str, Any] | None] = SimpleQueue()

    def listen() -> None:
        with suppress(ValueError):
            for line in orders:
                given.put(json.loads(line))
        given.put(None)
        end(GONE)

    threading.Thread(target=listen, daemon=True).start()
    job = given.get()
    if job is None:
        return
    try:
        parts, work = begin(job)
        while (order := given.get()) is not None:
            parts.do(order["part"], work, lambda rows: _write(replies, {"rows": rows}))
            _write(replies, {"done": order["part"]})
    except (UserError, OSError) as raised:
        error = system_error(raised) if isinstance(raised, OSError) else raised
        if error is None:
            raise
        _write(replies, {"error": str(error)})


def serve_process(begin: Callable[[dict[str, Any]], tuple[Parts, Work]]) -> None:
    """Be a process that does parts by the orders on stdin, and replies on stdout; see `serve`."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_WRONLY)  # as what is printed here is said by the first one
    os.dup2(nowhere, sys.stdout.fileno())
    logging.disable(logging.WARNING)  # notes, which the first process gives
    serve(sys.stdin, replies, begin)


def _write(stream: Any, content: Mapping[str, Any]) -> None:
    stream.write(json.dumps(content) + "\n")
    stream.flush()
