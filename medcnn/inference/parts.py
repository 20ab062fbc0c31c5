"""Work cut into parts, each of them kept once it is done, so that it goes on after any end."""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import file_digest
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pandas as pd

from medcnn._version import __version__
from medcnn.errors import UserError
from medcnn.jobs.atomic_files import read_json, write_json
from medcnn.jobs.claims import LOCK, alone_in
from medcnn.jobs.settings.commands import Command
from medcnn.jobs.table_files import join_tables, write_table

JOB = "job.json"
LIST = "images"  # the paths of the images, where they are files; see `PathList`
PARTS = 16  # that a process gets, where there are images for them, so that all end about together
APART = (  # settings that answers don't depend on, or whose files are looked at instead
    *("checkpoint", "ensemble", "image", "images", "output", "overwrite", "processes"),
    *("cache", "paths", "threads", "trust"),
)
Advance = Callable[[int], None]  # is told how many rows more are done


class Done(NamedTuple):
    """What came of a part.

    Attributes:
        table: A row for each of its rows that there is an answer on.
        failed: A line for each of the others.
    """

    table: pd.DataFrame
    failed: list[str]


class Work(Protocol):
    """Work on rows that don't depend on each other."""

    def do(self, first: int, last: int, advance: Advance) -> Done:
        """Do the rows first … last - 1."""


class Parts:
    """The parts of some work, in a folder beside its output.

    ``part-00012.csv`` (or .parquet) has the answers of part 12, and ``part-00012.json``, which
    comes last, says that it is done, and what failed. A part of which only half was written is done
    again.

    Args:
        folder: Where they are.
        total: Rows in all.
        rows: Rows of a part, but for the last one.
        ending: Of the tables: .csv or .parquet.
    """

    def __init__(self, folder: Path, total: int, rows: int, ending: str) -> None:
        self.folder, self.total, self.rows, self.ending = folder, total, rows, ending

    def plain(self) -> dict[str, Any]:
        """Return plain values, from which `opened_parts` makes the same for another process."""
        return {**vars(self), "folder": str(self.folder)}

    @property
    def numbers(self) -> range:
        """Of all parts."""
        return range(-(-self.total // self.rows))

    def span(self, number: int) -> tuple[int, int]:
        """Return the first row of a part, and the row that is no more in it."""
        return number * self.rows, min((number + 1) * self.rows, self.total)

    def _file(self, number: int, ending: str) -> Path:
        return self.folder / f"part-{number:05d}{ending}"

    def is_done(self, number: int) -> bool:
        """Return whether a part is done."""
        return self._file(number, ".json").exists()

    def waiting(self) -> list[int]:
        """Return the numbers of the parts that aren't done."""
        return [number for number in self.numbers if not self.is_done(number)]

    def done_rows(self) -> int:
        """Return how many rows are in parts that are done."""
        spans = [self.span(number) for number in self.numbers if self.is_done(number)]
        return sum(last - first for first, last in spans)

    def do(self, number: int, work: Work, advance: Advance) -> None:
        """Do a part, and keep it."""
        table, failed = work.do(*self.span(number), advance)
        if len(table):
            write_table(self._file(number, self.ending), table)
        write_json(self._file(number, ".json"), {"rows": len(table), "failed": failed})

    def facts(self, number: int) -> dict[str, Any]:
        """Return the ``rows`` of a finished part's table, and what ``failed``."""
        facts: dict[str, Any] = json.loads(self._file(number, ".json").read_text(encoding="utf-8"))
        return facts

    def failed(self) -> Iterator[str]:
        """Yield what finished parts say of rows that have no answer."""
        for number in self.numbers:
            if self.is_done(number):
                yield from self.facts(number)["failed"]

    def join(self, output: Path) -> int:
        """Write the tables of all parts, which are done, as one; return how many rows it is on.

        Without any there is no output.
        """
        counts = {number: self.facts(number) for number in self.numbers}
        files = [self._file(n, self.ending) for n, facts in counts.items() if facts["rows"]]
        if files:
            join_tables(files, output)
        return self.total - sum(len(facts["failed"]) for facts in counts.values())


def opened_parts(plain: Mapping[str, Any]) -> Parts:
    """Return the parts of `Parts.plain`."""
    return Parts(**{**plain, "folder": Path(plain["folder"])})


def parts_of(output: Path) -> Path:
    """Return the folder of the parts that an output is made of."""
    return output.with_name(f"{output.name}.parts")


def is_begun(output: Path, *, to_replace: bool = False) -> bool:
    """Return whether there are parts of an output, or of one that may be replaced by them."""
    job = read_json(parts_of(output) / JOB)
    return bool(job.get("replaces") if to_replace else job)


@contextmanager
def kept_parts(output: Path, overwrite: bool) -> Iterator[Path]:
    """Give the folder of an output's parts, to no one else meanwhile; it is gone with the last.

    It is removed when the block ends, and kept when the block fails after some part was done.

    Args:
        output: What they become.
        overwrite: Begin anew, whatever is done.

    Raises:
        UserError: Another process is at work on the same output.
    """
    folder = parts_of(output)
    with alone_in(folder):
        if overwrite:
            _clear(folder)
        try:
            yield folder
        except BaseException:
            if not any(folder.glob("part-*.json")):
                _clear(folder)
            raise
        _clear(folder)
    with suppress(OSError):
        folder.rmdir()


def job_of(cfg: Command, checkpoints: Iterable[Path], digest: str, total: int) -> dict[str, Any]:
    """Return all that answers depend on, by names that a message may use.

    Args:
        cfg: Settings of the command.
        checkpoints: Files of the classifier.
        digest: Of the list of the images.
        total: Number of images.
    """
    settings = {key: value for key, value in cfg.plain().items() if key not in APART}
    sums = []
    for path in checkpoints:
        with path.open("rb") as file:
            sums.append(file_digest(file, "sha256").hexdigest())
    known = {"checkpoint": sums, "images": [total, digest], "version of medcnn": __version__}
    return {**known, **settings}


def begin_parts(
    folder: Path, job: Mapping[str, Any], total: int, rows: int, ending: str, *, replaces: bool
) -> Parts:
    """Return the parts of a job: those that are there, if they are of the same job.

    Args:
        folder: Of `kept_parts`.
        job: All that answers depend on, by names that a message may use; plain values.
        total: Rows in all.
        rows: Rows of a part; of parts that are there it stays what it was.
        ending: Of the tables: .csv or .parquet.
        replaces: Whether an output that is there may be replaced at the end.

    Raises:
        UserError: Finished parts of another job are there.
    """
    known, wanted = read_json(folder / JOB), json.loads(json.dumps(job))
    other = [name for name in wanted if known.get("job", {}).get(name) != wanted[name]]
    if not other and isinstance(known.get("rows"), int):
        rows, replaces = known["rows"], replaces or bool(known["replaces"])
    elif any(folder.glob("part-*.json")):
        raise UserError(
            f"{folder} holds finished parts of other work (other {', '.join(other)}): give the "
            "command that began it, or overwrite=true to begin anew"
        )
    write_json(folder / JOB, {"job": wanted, "rows": rows, "replaces": replaces})
    return Parts(folder, total, rows, ending)


def _clear(folder: Path) -> None:
    """Remove all that is in a folder but the claim on it."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()
