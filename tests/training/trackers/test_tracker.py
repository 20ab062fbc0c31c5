"""When a tracker is told what, and that no training ends with its server."""

import json
import shutil
from pathlib import Path
from typing import Any

import jobs
import pytest

from medcnn.errors import InterruptedRunError, PrunedRunError, UserError
from medcnn.jobs import command_line as cli
from medcnn.jobs.rundir import RunDir
from medcnn.training.trackers import is_tracker, tracked, tracker
from medcnn.training.trackers.content import Point
from medcnn.training.trackers.tracker import Tracker


class Book(Tracker):
    """A tracker that writes down what it is told, while it is there."""

    key, package = "book", "json"
    told: list[tuple[str, Any]] = []  # noqa: RUF012
    there = True

    def __init__(self, save_dir: Any, model: bool = True, predictions: bool = False) -> None:
        super().__init__(save_dir, model=model, predictions=predictions)

    def write(self, kind: str, what: Any) -> None:
        """Write down."""
        if not Book.there:
            raise RuntimeError("gone to https://anna:secret@example.org") from ConnectionError(
                111, "Connection refused"
            )
        Book.told.append((kind, what))

    def _open(self, known: str | None, group: str | None, parent: str | None) -> tuple[str, str]:
        self.write("open", (known, group, parent))
        return known or f"run {len(Book.told)}", "here"

    def _send_settings(self, values: dict[str, str]) -> None:
        self.write("settings", values)

    def _send_curve(self, counted: str, points: list[Point]) -> None:
        self.write(counted, sorted({point.at for point in points}))

    def _send_figures(self, values: dict[str, float]) -> None:
        self.write("figures", values)

    def _send_files(self, paths: list[Path]) -> None:
        self.write("files", [path.name for path in paths])

    def _send_model(self, checkpoint: Path) -> None:
        self.write("model", checkpoint.name)

    def _close(self, state: str) -> None:
        self.write("close", state)

    def _place(self) -> str:
        return "the book"


@pytest.fixture
def told() -> list[tuple[str, Any]]:
    Book.told.clear()
    Book.there = True
    return Book.told


@pytest.fixture
def run(phantom_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(phantom_run, tmp_path / "run"))


def kinds(told: list[tuple[str, Any]]) -> list[str]:
    return [kind for kind, _ in told]


def test_each_thing_is_told_once(run: Path, told: list[tuple[str, Any]]) -> None:
    history = (run / "metrics.csv").read_text().splitlines(keepends=True)
    (run / "metrics.csv").write_text("".join(history[:3]))
    book = Book(run)
    book.begin()
    for _ in range(2):
        book.update()
    assert kinds(told) == ["open", "settings", "epoch", "step"]
    assert told[2] == ("epoch", [1, 2])
    (run / "metrics.csv").write_text("".join(history))
    again = Book(run)  # a run that goes on
    again.begin()
    again.finish()
    assert told[4] == ("open", ("run 1", None, None))
    assert told[5] == ("epoch", [3])
    assert kinds(told[6:]) == ["figures", "files", "model", "close"]
    assert told[-2:] == [("model", "best.ckpt"), ("close", "finished")]
    stored = json.loads((run / "tracker.json").read_text())["book"]
    assert (stored["id"], stored["metrics.csv"]) == ("run 1", 3)


def test_a_server_that_is_lost_is_said_once_and_told_at_the_end(
    run: Path,
    told: list[tuple[str, Any]],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    book = Book(run)
    book.begin()
    Book.there = False
    book.update()
    Book.there = True
    book.update()  # too early
    assert kinds(told) == ["open"]
    monkeypatch.setattr(tracker.time, "monotonic", lambda: book.again)
    Book.there = False
    book.update()
    assert caplog.messages == [
        "note: logger.book: the book: connection refused; the training goes on, and what is "
        "lacking there is sent later"
    ]
    Book.there = True
    book.finish()
    assert kinds(told) == [
        "open", "settings", "epoch", "step", "figures", "files", "model", "close",
    ]  # fmt: skip
    Book.there = False
    book.finish()
    assert caplog.messages[-1].endswith(f"it lacks the end of this run, which is whole in {run}")


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (KeyboardInterrupt(), "interrupted"),
        (InterruptedRunError("a full disk"), "interrupted"),
        (PrunedRunError("hopeless"), "pruned"),
        (UserError("NaN"), "failed"),
    ],
)
def test_how_a_run_ends(
    error: BaseException,
    state: str,
    run: Path,
    told: list[tuple[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cfg = jobs.compose("train", "logger=none")
    cfg.logger = {"book": {"_target_": "medcnn.training.trackers.Book"}}
    monkeypatch.setattr(
        "medcnn.training.trackers.begin_and_end.instantiate", lambda *_, save_dir: Book(save_dir)
    )
    with pytest.raises(type(error)), tracked(cfg, RunDir(run), []):
        raise error
    assert kinds(told)[0] == "open"
    assert told[-1] == ("close", state)


def test_an_interrupted_run_does_not_wait_for_a_server_that_is_gone(
    run: Path, told: list[tuple[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    book = Book(run)
    book.begin()
    Book.there = False
    book.update()
    Book.there = True
    book.end("interrupted")
    assert kinds(told) == ["open"]
    assert len(caplog.messages) == 1


def test_a_server_that_is_not_there_at_the_start(run: Path, told: list[tuple[str, Any]]) -> None:
    Book.there = False
    with pytest.raises(UserError, match=r"^logger\.book: the book: connection refused; mend that"):
        Book(run).begin()


def test_folds_know_their_cross_validation_and_jobs_their_sweep(
    tmp_path: Path, told: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("cv", "cv/fold-0", "search/trials/0001", "sweep/0-lenet"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("cv", "cv/fold-0", "search/trials/0001"):
        Book(tmp_path / name).begin()
    monkeypatch.setattr(cli, "in_sweep", lambda: True)
    Book(tmp_path / "sweep/0-lenet").begin()
    monkeypatch.undo()
    Book(tmp_path / "sweep/0-lenet").begin()  # gone on with by itself
    assert [what for _, what in told] == [
        (None, None, None), (None, None, "run 1"), (None, "search", None), (None, "sweep", None),
        ("run 4", "sweep", None),
    ]  # fmt: skip


def test_what_a_tracker_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"logger\.book\.model=1: choose one of true, false"):
        Book(tmp_path, model=1)  # type: ignore[arg-type]
    monkeypatch.setattr(Book, "package", "no_such_package")
    with pytest.raises(UserError, match=r'logger=book needs .* pip install "medcnn\[book\]"'):
        Book(tmp_path)


def test_an_error_is_told_in_a_line_without_a_password(tmp_path: Path) -> None:
    words = tracker._words(RuntimeError("POST http://anna:secret@host/api:\n 403 forbidden"))
    assert words == "POST http://host/api: 403 forbidden"
    assert tracker._words(RuntimeError()) == "RuntimeError"


def test_only_trackers_are_no_loggers_of_lightning() -> None:
    loggers = jobs.compose("train", "logger=mlflow").logger | jobs.compose("train").logger
    assert {name for name, node in loggers.items() if is_tracker(node)} == {"mlflow"}
