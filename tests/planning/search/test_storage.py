import multiprocessing
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from medcnn.errors import UserError
from medcnn.planning.search.storage import JOURNAL, locked, open_study


def test_a_journal_whose_last_line_was_cut_off_can_be_read_and_written(tmp_path: Path) -> None:
    study = open_study(tmp_path, None, "x")
    study.tell(study.ask(), 1.0)
    with (tmp_path / JOURNAL).open("ab") as file:
        file.write(b'{"op_code":4,"study_')
    study = open_study(tmp_path, None, "x")
    study.tell(study.ask(), 2.0)
    assert [one.value for one in open_study(tmp_path, None, "x").trials] == [1.0, 2.0]


def test_a_database_by_its_url(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'search.db'}"
    study = open_study(tmp_path, url, "x")
    study.tell(study.ask(), 1.0)
    assert len(open_study(tmp_path, url, "x").trials) == 1
    assert not (tmp_path / JOURNAL).exists()


def test_a_storage_that_can_t_be_used(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"search\.storage: it can't be used: .*dialect") as refusal:
        open_study(tmp_path, "nosuch://anna:secret@host/x", "x")
    assert "secret" not in str(refusal.value)
    with pytest.raises(UserError, match=r"search\.storage: give a URL such as"):
        open_study(tmp_path, "search.db", "x")


def _hold(folder: Path, held: Event) -> None:
    with locked(folder):
        held.set()
        multiprocessing.Event().wait(60)


def test_a_killed_worker_leaves_no_lock(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    held = fork.Event()
    other = fork.Process(target=_hold, args=(tmp_path, held))
    other.start()
    assert held.wait(60)
    other.kill()
    with locked(tmp_path):
        pass
    other.join()
