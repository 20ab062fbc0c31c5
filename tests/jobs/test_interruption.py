"""Signals that end a job."""

import os
import signal
import sys
import weakref
from pathlib import Path

import pytest
from slurm import scontrol

from medcnn.jobs.interruption import SIGNALS, interruptible, raise_if_received, requeue


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_interrupts_once(number: int) -> None:
    before = signal.getsignal(number)
    with interruptible():
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)  # while the job clears up
        with pytest.raises(KeyboardInterrupt):
            raise_if_received()  # had a library swallowed the first
    raise_if_received()
    assert signal.getsignal(number) is before


def test_ctrl_c_is_raised_again_where_nobody_heard_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Thing:
        pass

    printed: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unheard: printed.append(unheard.exc_type))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with interruptible():
            thing = Thing()
            reference = weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.SIGINT))
            del thing  # after what a callback raises, Python goes on
            assert reference() is None
            assert not printed
            thing = Thing()
            reference = weakref.ref(thing, lambda _: int("a fault"))
            del thing
            assert printed == [ValueError]
            with pytest.raises(KeyboardInterrupt):
                raise_if_received()
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)  # a second one is heard, too
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_what_was_ignored_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with interruptible():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def requeued(number: int) -> str | None:
    """What `requeue` says after a signal."""
    with interruptible():
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        return requeue()


def test_slurm_takes_a_job_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = scontrol(tmp_path, monkeypatch)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert requeued(signal.SIGUSR1) is None
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    assert requeued(signal.SIGTERM) is None  # of scancel: nobody wants it back
    assert not asked.exists()
    assert requeued(signal.SIGUSR1) == "SLURM job 17 is back in the queue"
    assert asked.read_text() == "requeue 17\n"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    requeued(signal.SIGUSR1)
    assert asked.read_text() == "requeue 12_3\n"
    scontrol(tmp_path, monkeypatch, code=1)
    assert "12_3 can't be put back into the queue" in str(requeued(signal.SIGUSR1))
