"""``python -m medcnn.report``: the page and model card of a run, or the comparison of several."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from medcnn.errors import UserError, check_path
from medcnn.jobs import command_line as cli
from medcnn.jobs.atomic_files import check_folder, replacing
from medcnn.jobs.rundir import RunDir
from medcnn.jobs.settings.commands import Report
from medcnn.report.words import listed, plural


def report(cfg: Report, trust: list[str]) -> list[Path]:
    """Write the pages that conf/report.yaml describes.

    Args:
        cfg: See conf/report.yaml.
        trust: Unused: nothing of a run directory is called.

    Returns:
        The files.

    Raises:
        UserError: Anything that the user can put right.
    """
    output = None if cfg.output is None else Path(cfg.output)
    if output is not None and (output.suffix != ".html" or output.is_dir()):
        raise UserError(f"output={output}: give a file that ends in .html")
    runs, notes = found_runs(cfg.runs)
    if len(runs) == 1:
        check_folder(f"runs={runs[0]}", runs[0])
    if output is not None:
        check_folder(f"output={output}", output.parent)
    if len(runs) == 1:
        written = of_one(runs[0], output)
    else:
        from medcnn.report.comparison.page import write_comparison

        place = Path(cfg.runs[0]) if len(cfg.runs) == 1 else Path()  # of a sweep, its own folder
        out = output or place / "comparison.html"
        check_folder(f"runs={place}", out.parent)
        written = [write_comparison(runs, out, notes=notes)]
    if notes:
        print("\n".join(notes), file=sys.stderr)
    print("\n".join(map(str, written)), flush=True)
    return written


def of_one(run: Path, output: Path | None) -> list[Path]:
    """Write the page and the model card of a run, the page also to `output`."""
    from medcnn.report.run.model_card import write_model_card
    from medcnn.report.run.page import write_run_page

    page, card = write_run_page(run), write_model_card(run)
    if output is None or output.resolve() == page.resolve():
        return [page, card]
    with replacing(output) as path:
        shutil.copyfile(page, path)
    return [output, card]


def found_runs(given: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Find the run directories that paths mean, and return sentences on those left out.

    Args:
        given: Run directories, or folders whose sub-folders are runs; of these the finished ones.

    Raises:
        UserError: No path, no such folder, an unfinished run, or a folder without finished runs.
    """
    if not given:
        raise UserError("runs=[]: give a run directory, or several")
    for path in given:
        check_path("runs", path)
    if missing := [path for path in given if not Path(path).is_dir()]:
        none = "is no such folder" if len(missing) == 1 else "are no such folders"
        raise UserError(f"{listed(missing)}: there {none}; give the folder of a run")
    runs: list[Path] = []
    notes: list[str] = []
    for folder in map(Path, given):
        jobs = sorted(path.parent for path in folder.glob("*/status.json"))
        if (folder / "status.json").exists() or not jobs:
            _check_finished(folder)
            runs.append(folder)
            continue
        finished = [job for job in jobs if RunDir(job).finished]
        if len(finished) < 2:
            raise UserError(
                f"runs={folder}: the folder has {plural(len(finished), 'finished run')} of "
                f"{len(jobs)}; a comparison needs two"
            )
        if left := len(jobs) - len(finished):
            were = "isn't finished and was" if left == 1 else "aren't finished and were"
            notes.append(f"{left} of {len(jobs)} runs {were} left out.")
        runs += finished
    return runs, notes


def _check_finished(run: Path) -> None:
    state = RunDir(run).status.get("state")
    if state is None:
        raise UserError(f"{run} holds no run of medcnn: it has no status.json")
    if state != "finished":
        raise UserError(
            f"{run} holds an unfinished run ({state}): go on with "
            f"python -m medcnn.train resume={run}"
        )


if __name__ == "__main__":
    cli.main(report, "report")
