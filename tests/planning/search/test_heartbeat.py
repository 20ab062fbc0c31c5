import os
import time
from pathlib import Path

from medcnn.jobs.atomic_files import write_json
from medcnn.planning.search.heartbeat import FILE, Stamp, is_worked_on, last_sign


def test_a_worker_lives_as_long_as_its_stamp_is_renewed(tmp_path: Path) -> None:
    assert not is_worked_on(tmp_path / "none", 60)
    stamp = Stamp(tmp_path)
    stamp.take()
    assert is_worked_on(tmp_path, 0.001)  # by this process, which lives
    write_json(tmp_path / FILE, {"host": "elsewhere", "pid": 1, "token": stamp.token})
    old = time.time() - 100
    os.utime(tmp_path / FILE, (old, old))
    assert last_sign(tmp_path) == old
    assert not is_worked_on(tmp_path, 60)
    assert is_worked_on(tmp_path, 120)
    with stamp.beating(0.6):
        time.sleep(0.4)
    assert is_worked_on(tmp_path, 60)
    stamp.let_go()
    assert not is_worked_on(tmp_path, 60)
    assert last_sign(tmp_path) is None


def test_of_a_process_that_is_gone_a_third_of_the_time_is_enough(tmp_path: Path) -> None:
    import platform

    for host, pid, alive in ((platform.node(), 2**22 + 1, False), ("elsewhere", 1, True)):
        write_json(tmp_path / FILE, {"host": host, "pid": pid, "started": 0.0, "token": "x"})
        then = time.time() - 30
        os.utime(tmp_path / FILE, (then, then))
        assert is_worked_on(tmp_path, 60) is alive


def test_a_worker_notices_that_another_one_has_its_trial(tmp_path: Path) -> None:
    mine, other = Stamp(tmp_path), Stamp(tmp_path)
    mine.take()
    with mine.beating(0.3):
        other.take()
        time.sleep(0.3)
    assert mine.lost
    mine.let_go()
    assert other.held
