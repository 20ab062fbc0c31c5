"""The folds of a cross-validation side by side, each in a process of its own."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Collection
from queue import Empty, SimpleQueue

import torch

from medcnn.data.memory import available_memory
from medcnn.errors import InterruptedRunError, UserError
from medcnn.jobs.hardware import processes
from medcnn.jobs.interruption import raise_if_received
from medcnn.jobs.notes import fresh
from medcnn.jobs.processes import signal_name
from medcnn.jobs.rundir import RunDir
from medcnn.jobs.settings.commands import Train
from medcnn.training.fold import STOPPED, Before, begin

LOOK = 0.5  # seconds between two looks at whether a signal went unheard
OURS = "medcnn: "  # how the line begins by which a command says what was wrong
ONCE = ("note: ", "audit: ", OURS)  # how lines begin that hold for all folds

Child = subprocess.Popen[str]
Lines = SimpleQueue[tuple[int, str, int | None]]  # of a fold its number, a line; last its exit code


def train_side_by_side(cfg: Train, parts: list[RunDir], trust: list[str], before: Before) -> None:
    """Train the folds that aren't finished, ``folds_at_once`` of them at any time.

    What they print is printed with their number in front, a note that several have only once.
    If this process is interrupted, or a fold fails, the others stop at their next step, and can go
    on later; so they do if this process is killed.

    Args:
        cfg: Of the cross-validation.
        parts: Run directories of its folds.
        trust: Names that the config may hold beside medcnn's own.
        before: See `begin`; called just before the fold is started.

    Raises:
        UserError: A fold's own, with its number; or several processes are asked for.
        InterruptedRunError: A fold was stopped by something outside.
    """
    if processes(cfg.trainer) > 1:
        raise UserError(
            f"folds_at_once={cfg.folds_at_once}: a fold has one process then; add trainer.devices=1"
        )
    at_once = min(cfg.folds_at_once, len(parts))
    waiting = [fold for fold, part in enumerate(parts) if not part.finished]
    running: dict[int, Child] = {}
    lines: Lines = SimpleQueue()
    try:
        while waiting or running:
            if waiting and len(running) < at_once:
                fold, *waiting = waiting
                begin(_with_share(cfg, parts[fold], at_once), parts[fold], fold, before)
                running[fold] = _start(fold, parts[fold], trust, lines)
                continue
            fold, line, code = _next(lines)
            if code:
                raise _error(fold, code, line.removeprefix(OURS))
            if line and (fresh(line) or not line.startswith(ONCE)):
                print(f"fold {fold}: {line}", flush=True)
            if code is not None:
                del running[fold]
    except BaseException:
        _stop(running.values())
        raise


def _with_share(cfg: Train, part: RunDir, at_once: int) -> Train:
    """Return the settings with a fold's share of memory and threads.

    One that goes on keeps its threads, so that its weights are the same to the bit.
    """
    own = cfg.model_copy(deep=True)
    if own.cache.memory == "auto":
        own.cache.memory = available_memory() // 2 // at_once
    if own.trainer.threads is None and part.last.exists():
        own.trainer.threads = part.read_config().trainer.get("threads")
    if own.trainer.threads is None:
        own.trainer.threads = max(1, torch.get_num_threads() // at_once)
    return own


def _start(fold: int, part: RunDir, trust: list[str], lines: Lines) -> Child:
    """Start the process of a fold that has begun; a thread hands its lines on."""
    command = [sys.executable, "-m", "medcnn.training.fold", str(part.path), json.dumps(trust)]
    child = subprocess.Popen(
        [*command, *sys.argv],
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        stdin=subprocess.PIPE,  # closed when this process ends, however it does
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,  # Ctrl-C is for this process, which then stops the others
    )

    threading.Thread(target=_hand_on, args=(fold, child, lines), daemon=True).start()
    return child


def _hand_on(fold: int, child: Child, lines: Lines) -> None:
    """Put a fold's lines into the queue; a last one that says what was wrong goes with the code."""
    held = ""
    for line in map(str.rstrip, child.stdout or ()):
        if held:
            lines.put((fold, held, None))
        held = line if line.startswith(OURS) else ""
        if not held:
            lines.put((fold, line, None))
    lines.put((fold, held, child.wait()))


def _next(lines: Lines) -> tuple[int, str, int | None]:
    """Wait for a line."""
    while True:
        raise_if_received()
        try:
            return lines.get(timeout=LOOK)
        except Empty:
            continue


def _error(fold: int, code: int, message: str) -> Exception:
    """Return the error of a fold that has ended badly, by its exit code and its last line."""
    if code == 2:
        return UserError(f"fold {fold}: {message}")
    if code == STOPPED:
        return InterruptedRunError(f"fold {fold}: {message}")
    if code == 130:
        return InterruptedRunError(f"fold {fold} was interrupted")
    if code < 0:
        return InterruptedRunError(f"the process of fold {fold} was ended by {signal_name(-code)}")
    return RuntimeError(f"fold {fold} failed with exit code {code}, see above")


def _stop(children: Collection[Child]) -> None:
    """Let processes stop as they do at Ctrl-C, and wait for them; kill them at the next Ctrl-C."""
    try:
        for child in children:
            if child.stdin is not None:
                child.stdin.close()
        for child in children:
            child.wait()
    except BaseException:
        for child in children:
            child.kill()
            child.wait()
        raise
