"""``python -m small_jobs WHAT FOLDER``: stands for a command in the tests of engines."""

import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medcnn.jobs.engines.job import Job

TESTS = Path(__file__).resolve().parent


def main() -> None:
    """Do what is asked; each begin is a line of FOLDER/begun, with the threads."""
    _, what, folder = sys.argv
    if what.startswith("waits"):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    with (Path(folder) / "begun").open("a") as file:
        file.write(f"{os.environ.get('OMP_NUM_THREADS')}\n")
    first = begun(Path(folder)) == 1
    if what == "refused":
        print("medcnn: note that\nmedcnn: there is no such thing", file=sys.stderr)
        sys.exit(2)
    if what == "killed" or (what == "killed once" and first):
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "lost" or (what == "lost once" and first):  # with what has started it
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    if what == "waits" or (what == "waits once" and first):
        time.sleep(60)
    print("done")


def begun(folder: Path) -> int:
    """How often a job has begun in a folder."""
    path = folder / "begun"
    return len(path.read_text().splitlines()) if path.exists() else 0


def job(what: str, folder: Path, **options: Any) -> "Job":
    """A job in a folder of its own."""
    from medcnn.jobs.engines.job import Job  # not in the processes of the jobs

    own = folder / what.replace(" ", "-")
    own.mkdir(parents=True, exist_ok=True)
    given = {"log": folder / "logs" / f"{own.name}.log", "folder": TESTS}
    given["environment"] = {"PYTHONPATH": str(TESTS.parent)}
    return Job(own.name, "small_jobs", (what, str(own)), **given | options)


if __name__ == "__main__":
    main()
