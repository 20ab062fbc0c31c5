"""Predictions in parts: of packed rows and files, by one process or several, killed or not."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pandas as pd
import psutil
import pytest
from in_parts import in_this_process, stop_after
from PIL import Image

from medcnn.errors import UserError
from medcnn.inference import of_files

PROBS = ["prob:normal", "prob:nodule", "prob:effusion"]


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    """Images like those that the phantom's run was trained on, in size."""
    return np.random.default_rng(0).integers(0, 255, (90, 28, 28), np.uint8)


@pytest.fixture(scope="module")
def packed(rows: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("packed") / "rows.npy"
    np.save(file, rows)
    return file


@pytest.fixture(scope="module")
def pictures(rows: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as PNG files; the one after the sixth is damaged."""
    folder = tmp_path_factory.mktemp("pictures")
    for k, pixels in enumerate(rows):
        Image.fromarray(pixels).save(folder / f"{k:03d}.png")
    (folder / "006a.png").write_bytes((folder / "006.png").read_bytes()[:60])
    return folder


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of a batch of 16."""
    for name in ("ROWS_PACKED", "ROWS_OF_FILES", "ROWS_OF_MAPS"):
        monkeypatch.setattr(of_files, name, 16)


def predict(run: Path, images: Path, output: Path, *options: str) -> pd.DataFrame:
    jobs.predict(jobs.best(run), f"images='{images}'", f"output='{output}'", *options)
    return pd.read_csv(output) if output.suffix == ".csv" else pd.read_parquet(output)


def test_packed_rows_get_what_the_same_files_get(
    phantom_run: Path, packed: Path, pictures: Path, tmp_path: Path, small: None
) -> None:
    found = predict(phantom_run, packed, tmp_path / "a.parquet", "packed=true")
    assert found["image"].tolist() == [str(k) for k in range(90)]
    with pytest.raises(UserError, match="1 of 91 images could not be read"):
        predict(phantom_run, pictures, tmp_path / "b.csv")
    told = pd.read_csv(tmp_path / "b.csv")
    np.testing.assert_allclose(found[PROBS], told[PROBS], atol=1e-6)
    assert found["decision"].tolist() == told["decision"].tolist()


def test_rows_of_another_size_or_kind_are_prepared_as_files_are(
    phantom_run: Path, rows: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    large = rows[:4].repeat(2, 1).repeat(2, 2) / np.float32(255)
    large[2, 5, 5] = np.nan
    np.save(tmp_path / "a.npy", large)
    with pytest.raises(UserError, match="1 of 4 images could not be read"):
        predict(phantom_run, tmp_path / "a.npy", tmp_path / "a.csv", "packed=true")
    assert "row 2 holds NaN or infinite values" in capsys.readouterr().err
    found = pd.read_csv(tmp_path / "a.csv")
    assert found["image"].tolist() == [0, 1, 3]
    for k in (0, 1, 3):
        np.save(tmp_path / "one.npy", large[k])
        one = predict(phantom_run, tmp_path / "one.npy", tmp_path / "b.csv", "overwrite=true")
        np.testing.assert_allclose(one[PROBS].iloc[0], found.set_index("image")[PROBS].loc[k],
                                   atol=1e-6)  # fmt: skip


def test_an_answer_does_not_depend_on_its_part(
    phantom_run: Path, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict(phantom_run, packed, tmp_path / "whole.csv", "packed=true", "mc_dropout=0")
    for name in ("ROWS_PACKED", "ROWS_OF_FILES"):
        monkeypatch.setattr(of_files, name, 16)
    predict(phantom_run, packed, tmp_path / "parts.csv", "packed=true")
    in_this_process(monkeypatch, of_files.begin_in_worker)
    predict(phantom_run, packed, tmp_path / "shared.csv", "packed=true", "processes=2")
    whole = (tmp_path / "whole.csv").read_bytes()
    assert (tmp_path / "parts.csv").read_bytes() == whole
    assert (tmp_path / "shared.csv").read_bytes() == whole
    assert len(list(tmp_path.iterdir())) == 3


def test_an_interrupted_prediction_goes_on_and_remembers_what_failed(
    phantom_run: Path,
    pictures: Path,
    tmp_path: Path,
    small: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from medcnn.predict import predict as job

    (tmp_path / "out.csv").write_text("of before")
    given = (
        f"checkpoint={phantom_run / 'checkpoints' / 'best.ckpt'}", f"images={pictures}",
        f"output={tmp_path / 'out.csv'}", "accelerator=cpu",
    )  # fmt: skip
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        assert jobs.command(monkeypatch, job, "predict", *given, "overwrite=true") == 130
    first = capsys.readouterr().err.splitlines()
    assert first[-1] == (
        "medcnn: interrupted after 32 of 91 images classified; the same command without "
        "overwrite=true goes on"
    )
    assert (tmp_path / "out.csv").read_text() == "of before"
    assert jobs.command(monkeypatch, job, "predict", *given) == 2
    said = capsys.readouterr()
    assert said.err.splitlines()[0] == first[0]  # the damaged file
    assert said.err.splitlines()[1:] == ["medcnn: 1 of 91 images could not be read or classified"]
    assert "32 of 91 images classified before" in said.out.splitlines()
    names = [Path(name).stem for name in pd.read_csv(tmp_path / "out.csv")["image"]]
    assert names == [f"{k:03d}" for k in range(90)]
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def test_going_on_with_something_else_is_refused(
    phantom_run: Path, packed: Path, pictures: Path, tmp_path: Path, small: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    output = tmp_path / "out.csv"
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            predict(phantom_run, packed, output, "packed=true")
    for options, other in {
        ("batch_size=7",): "other batch_size",
        ("tta=none", "mc_dropout=0"): "other tta",
    }.items():
        with pytest.raises(UserError, match=other):
            predict(phantom_run, packed, output, "packed=true", *options)
    with pytest.raises(UserError, match="other images, packed"):
        predict(phantom_run, pictures, output)
    weights = jobs.checkpoint(phantom_run)
    next(iter(weights["state_dict"].values())).add_(1e-3)
    import torch

    (tmp_path / "checkpoints").mkdir()
    torch.save(weights, tmp_path / "checkpoints" / "best.ckpt")
    with pytest.raises(UserError, match=r"\(other checkpoint\)"):
        predict(tmp_path, packed, output, "packed=true")
    assert len(predict(phantom_run, packed, output, "packed=true")) == 90


def test_maps_of_scores_go_on_and_are_shared(
    tmp_path: Path, pictures: Path, small: None, monkeypatch: pytest.MonkeyPatch, phantom_run: Path
) -> None:
    (tmp_path / "in").mkdir()
    for k in range(20):
        (tmp_path / "in" / f"{k:02d}.png").write_bytes((pictures / f"{k:03d}.png").read_bytes())
    whole = predict(phantom_run, tmp_path / "in", tmp_path / "whole.csv", "dense=true")
    output = tmp_path / "out.csv"
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(KeyboardInterrupt, match=r"after 16 of 20 files mapped; the same"):
            predict(phantom_run, tmp_path / "in", output, "dense=true")
    in_this_process(monkeypatch, of_files.begin_in_worker)
    found = predict(phantom_run, tmp_path / "in", output, "dense=true", "processes=2")
    same = [name for name in whole if name != "map"]
    pd.testing.assert_frame_equal(found[same], whole[same])
    assert len(list((tmp_path / "out_maps").iterdir())) == 40
    with pytest.raises(UserError, match="packed=true goes without dense=true"):
        predict(phantom_run, tmp_path / "in", tmp_path / "b.csv", "dense=true", "packed=true")


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_name_that_is_no_text(
    phantom_run: Path, pictures: Path, tmp_path: Path, ending: str
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a\udcff.png").write_bytes((pictures / "000.png").read_bytes())
    found = predict(phantom_run, tmp_path / "in", tmp_path / f"out.{ending}")
    assert found["image"].tolist() == [str(tmp_path / "in" / r"a\udcff.png")]


def test_arrays_that_were_not_called_packed(phantom_run: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 28, 28), np.uint8))
    with pytest.raises(UserError, match=r"a\.npz holds arrays: packed=true takes their rows"):
        predict(phantom_run, tmp_path / "a.npz", tmp_path / "b.csv")
    assert len(predict(phantom_run, tmp_path / "a.npz", tmp_path / "b.csv", "packed=true")) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "b.csv"]


@pytest.mark.slow
def test_killed_it_goes_on_and_a_killed_worker_is_stood_in_for(
    phantom_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With real processes: the first command is killed, of the second one of its workers."""
    count = 30_000
    images = np.random.default_rng(1).integers(0, 255, (count, 28, 28), np.uint8)
    np.save(tmp_path / "rows.npy", images)
    given = (jobs.best(phantom_run), f"images='{tmp_path / 'rows.npy'}'", "packed=true")
    output = tmp_path / "out.parquet"
    command = [sys.executable, "-m", "medcnn.predict", "accelerator=cpu", *given]
    first = subprocess.Popen([*command, f"output='{output}'", "processes=2"])
    parts = tmp_path / "out.parquet.parts"
    until(lambda: any(parts.glob("part-*.json")), first)
    workers = psutil.Process(first.pid).children(recursive=True)
    first.kill()
    first.wait()
    psutil.wait_procs(workers, timeout=20)
    assert not any(worker.is_running() for worker in workers)
    done = len(list(parts.glob("part-*.json")))
    assert 0 < done < 30

    second = subprocess.Popen(
        [*command, f"output='{output}'", "processes=2"], stdout=subprocess.DEVNULL
    )
    until(lambda: len(list(parts.glob("part-*.json"))) > done, second)
    os.kill(psutil.Process(second.pid).children()[0].pid, signal.SIGKILL)
    assert second.wait() == 0
    assert "was ended by SIGKILL; the others do its part" in capfd.readouterr().err
    found = pd.read_parquet(output)
    assert found["image"].tolist() == [str(k) for k in range(count)]
    jobs.predict(*given, f"output='{tmp_path / 'alone.parquet'}'")
    alone = pd.read_parquet(tmp_path / "alone.parquet")
    np.testing.assert_allclose(found[PROBS], alone[PROBS], atol=1e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "alone.parquet", "out.parquet", "rows.npy",
    ]  # fmt: skip


def until(there: Callable[[], bool], process: subprocess.Popen[Any]) -> None:
    """Wait for something that a process is to do."""
    end = time.monotonic() + 300
    while not there():
        assert process.poll() is None, "it ended before"
        assert time.monotonic() < end
        time.sleep(0.002)
