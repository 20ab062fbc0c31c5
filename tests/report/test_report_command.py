import subprocess
import sys
from pathlib import Path

import jobs
import pytest
from fixture_runs import write_json, write_run

from medcnn.errors import UserError
from medcnn.report.__main__ import found_runs, report


def run_command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    return jobs.command(monkeypatch, report, "report", *arguments)


def sweep(folder: Path, finished: int, failed: int = 0) -> Path:
    for k in range(finished):
        write_run(folder / f"{k}-run", seed=k)
    for k in range(failed):
        write_run(folder / f"failed-{k}")
        write_json(folder / f"failed-{k}" / "status.json", {"state": "failed"})
    (folder / "summary.csv").write_text("run\n")
    return folder


def test_one_run_gets_its_page_and_its_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "a run, [1] lr=0.1 é")
    assert run_command(monkeypatch, f"runs={run}") == 0
    assert capsys.readouterr().out.splitlines() == [
        str(run / "report.html"), str(run / "MODEL_CARD.md"),
    ]  # fmt: skip
    assert "<h1" in (run / "report.html").read_text()


def test_the_page_of_one_run_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = write_run(tmp_path / "run"), tmp_path / "out put" / "page.html"
    assert run_command(monkeypatch, f"runs=[{run}]", f"output={out}") == 0
    assert capsys.readouterr().out.splitlines()[0] == str(out)
    assert out.read_bytes() == (run / "report.html").read_bytes()
    assert run_command(monkeypatch, f"runs={run}", f"output={run}/report.html") == 0


def test_several_runs_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for k, name in enumerate(("a b", "lr=0.1")):
        write_run(tmp_path / name, seed=k)
    assert run_command(monkeypatch, "runs=[a b, lr=0.1]") == 0
    assert capsys.readouterr().out == "comparison.html\n"
    assert "Comparison of 2 runs" in (tmp_path / "comparison.html").read_text()
    assert run_command(monkeypatch, "runs=[a b,lr=0.1]", "output=x/y.html") == 0
    assert (tmp_path / "x" / "y.html").exists()


def test_a_sweep_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = sweep(tmp_path / "sweep", 3, failed=2)
    out = folder / "comparison.html"
    assert run_command(monkeypatch, f"runs={folder}") == 0
    printed = capsys.readouterr()
    assert printed.out == f"{out}\n"
    assert printed.err == "2 of 5 runs aren't finished and were left out.\n"
    assert "2 of 5 runs aren&#39;t finished and were left out." in out.read_text()


def test_which_runs_a_folder_holds(tmp_path: Path) -> None:
    folder = sweep(tmp_path / "sweep", 2)
    other = write_run(tmp_path / "other")
    write_run(other / "fold-0")  # of a cross-validation, which is a run itself
    given = [str(folder), str(other)]
    assert found_runs(given) == ([folder / "0-run", folder / "1-run", other], [])
    _, notes = found_runs([str(sweep(tmp_path / "third", 2, failed=1))])
    assert notes == ["1 of 3 runs isn't finished and was left out."]


def test_old_runs_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    runs = [write_run(tmp_path / name, seed=k) for k, name in enumerate("ab")]
    (runs[1] / "evaluation.json").unlink()
    for given in (f"runs={runs[1]}", f"runs=[{runs[0]},{runs[1]}]"):
        assert run_command(monkeypatch, given) == 2
        assert "evaluation.json is missing, as an older medcnn left it" in capfd.readouterr().err
    assert not (runs[1] / "report.html").exists()


def test_errors_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "a")
    write_run(tmp_path / "other", "multiclass")
    sweep(tmp_path / "failed", 0, failed=2)
    sweep(tmp_path / "alone", 1)
    (tmp_path / "empty").mkdir()
    (tmp_path / "folder.html").mkdir()
    write_json(write_run(tmp_path / "busy") / "status.json", {"state": "running"})
    for arguments, message in {
        "": "runs is missing",
        "runs=nothing": "nothing: there is no such folder; give the folder of a run",
        "runs=[alone,/nope]": "/nope: there is no such folder; give the folder of a run",
        "runs=[nothing,a,/nope]": "nothing and /nope: there are no such folders",
        "runs=[]": "runs=[]: give a run directory, or several",
        "runs=empty": "empty holds no run of medcnn",
        "runs=busy": "busy holds an unfinished run (running): go on with python -m medcnn.train "
        "resume=busy",
        "runs=failed": "runs=failed: the folder has 0 finished runs of 2; a comparison needs two",
        "runs=alone": "runs=alone: the folder has 1 finished run of 1; a comparison needs two",
        "runs=[a,a]": "each of them once",
        "runs=[a,other]": "other can't be compared with a: its task is multiclass, not binary",
        "runs=a output=page.pdf": "output=page.pdf: give a file that ends in .html",
        "runs=a output=folder.html": "give a file that ends in .html",
        "run=a": "there is no key run (did you mean runs?)",
    }.items():
        assert run_command(monkeypatch, *arguments.split()) == 2
        printed = capsys.readouterr()
        assert message in printed.err
        assert printed.err.count("\n") == 1
        assert printed.out == ""
    assert not (tmp_path / "comparison.html").exists()


def test_what_is_no_path() -> None:
    with pytest.raises(UserError, match="runs=: give a path"):
        found_runs([""])


def test_the_command_itself(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"run {k}", seed=k) for k in range(2)]
    done = subprocess.run(
        [sys.executable, "-m", "medcnn.report", f"runs=[{runs[0]},{runs[1]}]"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(jobs.ROOT), "PATH": ""},
    )  # fmt: skip
    printed = "medcnn report: loading PyTorch\ncomparison.html\n"
    assert (done.returncode, done.stdout) == (0, printed), done.stderr
    assert (tmp_path / "comparison.html").exists()
