"""``python -m medcnn.data``: what is said, drawn and written of a data set."""

import json
import os
import re
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image as Picture

from medcnn.check_data import look
from medcnn.data import overview
from medcnn.data.checks.dataset import DataSet
from medcnn.data.overview import count, describe, label_of, shown_rows
from medcnn.data.phantom.dataset import phantom
from medcnn.data.samples import Samples
from medcnn.errors import UserError
from medcnn.jobs.claims import alone_in
from medcnn.jobs.pseudonym_key import load_key, pseudonym

PERSONS = """image,label,patient,split,site,sex,age
0.png,a,p0,train,North,F,40
1.png,a,p0,train,North,F,40
2.png,b,p1,train,North,M,60
3.png,b,p2,train,South,M,71
4.png,,p3,train,South,F,
5.png,a,p4,val,North,F,55
6.png,b,p5,val,South,M,33
7.png,a,p6,test,South,F,90
8.png,b,p7,test,South,M,18
9.png,a,p8,test,South,M,47
"""
COUNTED = {  # train, val, test, all
    "images": [5, 2, 3, 10],
    "patients": [4, 2, 3, 9],
    "a": [2, 1, 2, 5],
    "b": [2, 1, 1, 4],
    "label unknown": [1, 0, 0, 1],
    "site North": [3, 1, 0, 4],
    "site South": [2, 1, 3, 6],
    "sex F": [3, 1, 1, 5],
    "sex M": [2, 1, 2, 5],
}
PHANTOM = {"patients": 36, "images_per_patient": 1, "size": 16}
PROGRESS = re.compile(r".*: \d+ s|\d+ of \d+ .*")  # which a busy machine prints, too
AFFINE = np.array([[0, 0, -1, 0], [0, -1, 0, 0], [2, 0, 0, 0], [0, 0, 0, 1.0]])  # of SPL axes


def save(path: Path, seed: int, *shape: int) -> None:
    values = np.random.default_rng(seed).integers(10, 200, shape).astype(np.uint8)
    Picture.fromarray(values).save(path)


def persons(folder: Path) -> None:
    """The table above, with its pictures."""
    (folder / "table.csv").write_text(PERSONS)
    for k in range(10):
        save(folder / f"{k}.png", k, 8, 10 if k == 3 else 8)


def files(folder: Path, *overrides: str) -> Path:
    """Looks at table.csv; gives what is written back."""
    given = ("dataset=csv", f"dataset.path='{folder / 'table.csv'}'", "dataset.size=8")
    places = (f"paths.data='{folder / 'data'}'", f"output='{folder / 'out'}'")
    look(jobs.compose("data", *given, *places, "n=1", *overrides), [])
    return folder / "out"


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """What is written and what is printed of the table above."""
    folder, printed = tmp_path_factory.mktemp("seen"), StringIO()
    persons(folder)
    with redirect_stdout(printed):
        return files(folder), told(printed.getvalue())


def said(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "data.json").read_text())
    return content


def told(text: str) -> list[str]:
    """The lines that are printed, but for those of `medcnn.progress`."""
    return [line for line in text.splitlines() if not PROGRESS.fullmatch(line)]


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "medcnn.data", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(jobs.ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )


# Files


def test_counts_are_those_of_the_table(seen: tuple[Path, list[str]]) -> None:
    out, printed = seen
    counts = pd.read_csv(out / "counts.csv", index_col=0)
    assert list(counts) == ["train", "val", "test", "all"]
    assert {name: row.tolist() for name, row in counts.iterrows()} == COUNTED
    assert list(counts.index) == list(COUNTED)
    assert printed[0] == "table: binary of a | b"
    assert any(line.split() == ["site", "North", "3", "1", "0", "4"] for line in printed)
    assert printed[-1].startswith(f"{out}: 0 problems in problems.csv")


def test_what_the_files_are(seen: tuple[Path, list[str]]) -> None:
    out, printed = seen
    assert said(out) == {
        "name": "table",
        "task": "binary",
        "network input": "1×8×8 (channels first)",
        "sizes in the files": "8×8 (9), 8×10 (1)",
        "channels": "1 (10)",
        "types": "uint8 (10)",
        "spacings, mm": "not said (10)",
        "modalities": "not said (10)",
        "values in the files": "10 … 199",
        "values that become 0 and 1": "0 and 255 (10)",
        "age": "18 … 90, median 47",
    }
    assert "age: 18 … 90, median 47" in printed


def test_the_samples_are_kept(seen: tuple[Path, list[str]]) -> None:
    table = pd.read_csv(seen[0] / "samples.csv", dtype=str, keep_default_na=False)
    given = pd.read_csv(StringIO(PERSONS), dtype=str, keep_default_na=False)
    assert table["row"].tolist() == [str(k) for k in range(10)]
    for column in ("image", "patient", "split", "site", "sex", "age"):
        assert table[column].tolist() == given[column].tolist()
    assert table["label"].tolist() == ["0", "0", "1", "1", "-1", "0", "1", "0", "1", "0"]


def test_every_bad_file_is_listed_with_its_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    persons(tmp_path)
    bad = {
        "empty.png": ("is an empty file", b""),
        "gone.png": ("is missing", None),
        "text.png": ("is not an image", b"hello"),
        "short.png": ("is damaged", (tmp_path / "2.png").read_bytes()[:70]),
    }
    with (tmp_path / "table.csv").open("a") as file:
        for k, (name, (_, content)) in enumerate(bad.items()):
            file.write(f"{name},a,q{k},train,North,F,30\n")
            if content is not None:
                (tmp_path / name).write_bytes(content)
    out = files(tmp_path)
    problems = pd.read_csv(out / "problems.csv", keep_default_na=False)
    assert problems["image"].tolist() == list(bad)
    assert set(problems["severity"]) == {"error"}
    for reason, (word, _) in zip(problems["reason"], bad.values(), strict=True):
        assert word in reason
    counts = pd.read_csv(out / "counts.csv", index_col=0)
    assert counts.loc["images", "all"] == 10
    assert f"{out}: 4 problems in problems.csv" in capsys.readouterr().out
    with pytest.raises(UserError, match="4 of 14 images can't be used"):
        files(tmp_path, "on_error=stop")


def test_a_leak_ends_it_when_all_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    persons(tmp_path)
    (tmp_path / "table.csv").write_text(PERSONS.replace("p8", "p0"))
    with pytest.raises(UserError, match="the splits leak: patient in two splits: 1"):
        files(tmp_path)
    out = tmp_path / "out"
    names = ("counts.csv", "data.json", "intensity.png", "problems.csv", "samples.csv")
    assert sorted(path.name for path in out.iterdir()) == [*names, "samples.png"]
    kinds = pd.read_csv(out / "problems.csv").groupby("kind")["image"].first()
    assert kinds["patient in two splits"] == "9.png"
    assert "audit: error: patient in two splits: 1, 9.png (test)" in capsys.readouterr().out


def test_pseudonyms_in_all_that_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    persons(tmp_path)
    (tmp_path / "Meyer.png").write_bytes(b"")
    text = PERSONS.replace("p8", "Quentin").replace("p7", "Quentin")
    (tmp_path / "table.csv").write_text(f"{text}Meyer.png,a,Quentin,test,North,F,30\n")
    out = files(tmp_path, "pseudonymise=true", f"paths.pseudonym_key='{tmp_path / 'key'}'")
    key = load_key(tmp_path / "key")
    problems = pd.read_csv(out / "problems.csv")
    assert pseudonym("Meyer.png", key) in problems["image"].tolist()
    table = pd.read_csv(out / "samples.csv")
    assert table["patient"].tolist()[-1] == pseudonym("Quentin", key, "patient")
    for path in [*out.iterdir(), *(tmp_path / "data").rglob("*.*")]:
        content = path.read_bytes()
        # the index keeps the endings of files, behind hashes
        assert not re.search(rb"Meyer|Quentin|(?<![0-9a-f])9\.png", content), path
    assert "Quentin" not in capsys.readouterr().out


def test_files_are_counted_once_not_once_a_slice(tmp_path: Path) -> None:
    import nibabel

    for k in range(6):
        values = np.random.default_rng(k).integers(0, 99, (3 + k % 2, 8, 8)).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(values, AFFINE), tmp_path / f"{k}.nii")
    rows = pd.DataFrame({"image": [f"{k}.nii" for k in range(6)], "label": [0, 1] * 3})
    rows.assign(patient=range(6)).to_csv(tmp_path / "table.csv", index=False)
    out = files(tmp_path, "dataset.slices=all")
    facts = said(out)
    assert facts["sizes in the files"] == "3×8×8 (3), 4×8×8 (3)"
    assert facts["spacings, mm"] == "2×1×1 (6)"
    assert facts["types"] == "int16 (6)"
    counts = pd.read_csv(out / "counts.csv", index_col=0)["all"]
    assert counts[["images", "patients", "studies", "0", "1"]].tolist() == [21, 6, 6, 9, 12]


def test_what_is_cut_off_is_said_and_drawn(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(PERSONS)
    for k in range(10):
        body = np.zeros((40, 40), np.uint8)
        body[10:30, 5:25] = 100 + k
        Picture.fromarray(body).save(tmp_path / f"{k}.png")
    out = files(tmp_path, "dataset.crop=body", "dataset.crop_margin=0")
    assert (out / "crops.png").stat().st_size > 0
    assert said(out)["cut to the body"] == ("10 of 10 files, to 25% of their pixels (median)")
    assert "cut to the body" not in said(files(tmp_path, "dataset.crop=none"))


def test_rare_values_are_summed_up() -> None:
    many = [*"aaabbcdefgh"]
    assert overview._most_common(many) == "a (3), b (2), c (1), d (1), e (1) and 3 others"
    assert overview._most_common("aab") == "a (2), b (1)"


def test_ages_that_nobody_wrote(tmp_path: Path) -> None:
    persons(tmp_path)
    rows = pd.read_csv(tmp_path / "table.csv")
    rows.assign(age="").to_csv(tmp_path / "table.csv", index=False)
    assert "age" not in said(files(tmp_path))


# Pictures


def greys(path: Path) -> dict[int, int]:
    """How many pixels of each grey a picture has."""
    picture = np.asarray(Picture.open(path).convert("RGB"))
    grey = picture[(picture == picture[..., :1]).all(-1)][:, 0]
    values, counts = np.unique(grey, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def test_samples_are_drawn_as_the_network_receives_them(tmp_path: Path) -> None:
    persons(tmp_path)
    for k in range(10):
        Picture.fromarray(np.full((8, 8), 60 + k, np.uint8)).save(tmp_path / f"{k}.png")
    still = ("augment=none", "dataset.intensity=[20,100]")
    drawn = greys(files(tmp_path, *still) / "samples.png")
    panel = 255 * (60 - 20) / 80  # of the first sample, which is drawn once and augmented thrice
    assert drawn[round(panel)] > 4 * 100 * 100
    alone = greys(files(tmp_path, *still, "augment._target_=null") / "samples.png")
    assert alone[round(panel)] == pytest.approx(drawn[round(panel)] / 4, rel=0.1)


def test_the_phantom_in_two_dimensions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [f"dataset.{key}={value}" for key, value in PHANTOM.items()]
    look(jobs.compose("data", *given, f"output='{tmp_path}'", "n=3"), [])
    own = phantom(**PHANTOM)  # type: ignore[arg-type]
    counts = pd.read_csv(tmp_path / "counts.csv", index_col=0)
    assert counts["all"].to_dict() == {
        "images": 36,
        "patients": 36,
        **dict.fromkeys(own.class_names, 12),
    }
    sizes = own.table["split"].value_counts()
    assert counts.loc["images"].to_dict() == {**sizes.to_dict(), "all": 36}
    facts = said(tmp_path)
    assert facts["network input"] == "1×16×16 (channels first)"
    assert facts["images with a lesion that is marked"] == "24"
    assert facts["values that become 0 and 1"] == "0 and 255 (36)"
    assert "sizes in the files" not in facts
    assert "phantom: multiclass of normal | nodule | effusion" in capsys.readouterr().out


def test_the_phantom_in_three_dimensions(tmp_path: Path) -> None:
    given = [f"dataset.{key}={value}" for key, value in PHANTOM.items()]
    volumes = ("dataset.spatial_dims=3", f"output='{tmp_path}'", "n=3")
    look(jobs.compose("data", *given, *volumes), [])
    facts = said(tmp_path)
    assert facts["network input"] == "1×16×16×16 (channels first)"
    own = phantom(spatial_dims=3, **PHANTOM)  # type: ignore[arg-type]
    assert own.masks is not None
    marked = int(own.masks[torch.arange(36)].flatten(1).any(1).sum())
    assert facts["images with a lesion that is marked"] == str(marked)
    counts = pd.read_csv(tmp_path / "counts.csv", index_col=0)
    assert counts.loc["images", "all"] == 36
    assert greys(tmp_path / "samples.png")[255] > 0
    assert greys(tmp_path / "intensity.png")[255] > 0


@pytest.mark.parametrize("n", ["0", "501", "some"])
def test_refuses_other_numbers_of_samples(tmp_path: Path, n: str) -> None:
    with pytest.raises(UserError, match=rf"n={n}: give a whole number, 1 … 500"):
        look(jobs.compose("data", f"n={n}", f"output='{tmp_path}'"), [])


# Other tasks


def several(**columns: Any) -> Samples:
    """Four samples of two labels, mass and edema."""
    table = pd.DataFrame({"image": range(4), "patient": [0, 0, 1, 2]})
    table["split"] = ["train", "train", "val", "test"]
    table["label:mass"], table["label:edema"] = [1, 0, 1, 1], [1, 0, -1, 0]
    images = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 1, 4, 4)
    return Samples("toy", table.assign(**columns), images, "multilabel", ("mass", "edema"))


def test_findings_are_counted_one_by_one() -> None:
    counts = count(several())
    assert counts.loc["mass"].tolist() == [1, 1, 1, 3]
    assert counts.loc["edema"].tolist() == [1, 0, 0, 1]
    assert counts.loc["edema unknown"].tolist() == [0, 1, 0, 1]
    assert "mass unknown" not in counts.index
    assert [label_of(several(), row) for row in range(4)] == ["mass, edema", "none", "mass", "mass"]


def test_official_test_images_have_a_column_where_there_are() -> None:
    counts = count(several(split=["train", "val", "test", "holdout"]))
    assert counts.loc["images"].to_dict() == {
        "train": 1,
        "val": 1,
        "test": 1,
        "holdout": 1,
        "all": 4,
    }
    assert "holdout" not in count(several())


def test_findings_that_nobody_looked_for_are_not_denied() -> None:
    samples = several(**{"label:mass": [0, 0, 0, -1], "label:edema": [0, 1, -1, -1]})
    named = [label_of(samples, row) for row in range(4)]
    assert named == ["none", "edema", "unknown", "unknown"]


def test_studies_are_counted_where_they_are_known() -> None:
    assert count(several(study=["s", "s", "t", "u"])).loc["studies"].tolist() == [1, 1, 1, 3]
    assert "studies" not in count(several()).index


def test_numbers_are_counted_where_they_are_known() -> None:
    samples = jobs.numbers([4, 4, 4], targets=2)
    counts = count(samples)
    assert counts.loc["height known"].tolist() == [3, 3, 3, 9]
    assert counts.loc["depth known"].tolist() == [3, 3, 3, 9]
    assert label_of(samples, 1) == "210, 199.5"
    assert label_of(samples, 3) == "unknown, unknown"
    assert describe(DataSet(samples))["images with a lesion that is marked"] == "12"


def test_a_class_may_be_called_unknown() -> None:
    table = pd.DataFrame({"image": range(3), "patient": range(3), "label": [1, 1, -1]})
    table["split"] = ["train", "val", "test"]
    images = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
    samples = Samples("toy", table, images, "binary", ("known", "unknown"))
    counts = count(samples)
    assert counts.loc["unknown"].tolist() == [1, 1, 0, 2]
    assert counts.loc["label unknown"].tolist() == [0, 0, 1, 1]
    assert label_of(samples, 0) == "unknown"
    known = count(Samples("toy", table.assign(label=0), images, "binary", ("known", "unknown")))
    assert known.loc["unknown"].tolist() == [0, 0, 0, 0]
    assert "label unknown" not in known.index


# Which samples, which values


def test_samples_are_taken_evenly_from_the_training() -> None:
    samples = jobs.toy([9, 3, 3])
    assert shown_rows(samples, 3).tolist() == [0, 4, 8]
    assert shown_rows(samples, 1).tolist() == [0]
    assert shown_rows(samples, 99).tolist() == list(range(9))
    assert shown_rows(jobs.toy([0, 3, 3]), 2).tolist() == [0, 5]


def test_the_histogram_takes_some_values_of_some_images(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = several()
    samples.intensity_range = (0.0, 4.0)
    np.testing.assert_array_equal(overview.intensities(samples, "train"), [0.0] * 16 + [0.25] * 16)
    assert overview.intensities(samples, "val").tolist() == [0.5] * 16
    monkeypatch.setattr(overview, "VALUES", 4)
    assert overview.intensities(samples, "train").tolist() == [0.0] * 4 + [0.25] * 4
    monkeypatch.setattr(overview, "MOST", 1)
    assert overview.intensities(samples, "train").tolist() == [0.0] * 4
    samples.table["split"] = "train"
    assert overview.intensities(samples, "test").tolist() == []


# The command


@pytest.mark.slow  # the next one is of the same command, in this process
def test_the_command_ends_with_zero(tmp_path: Path) -> None:
    persons(tmp_path)
    done = command(tmp_path, "dataset=csv", "dataset.path=table.csv", "dataset.size=8", "n=1")
    assert (done.returncode, done.stderr) == (0, "")
    (out,) = (tmp_path / "runs").iterdir()
    assert out.name.endswith("-csv-data")
    assert pd.read_csv(out / "counts.csv", index_col=0).loc["patients", "all"] == 9
    loading, first, *_ = told(done.stdout)
    assert (loading, first) == ("medcnn data: loading PyTorch", "table: binary of a | b")


def test_the_command_ends_with_two_and_one_line_at_a_leak(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    persons(tmp_path)
    (tmp_path / "table.csv").write_text(PERSONS.replace("p8", "p0"))
    given = ("dataset=csv", "dataset.path=table.csv", "dataset.size=8", "n=1")
    monkeypatch.chdir(tmp_path)
    code = jobs.module(monkeypatch, "medcnn.data", *given, "output=what is in it")
    error = capfd.readouterr().err
    assert code == 2
    assert error.count("\n") == 1
    assert error.startswith("medcnn: the splits leak: patient in two splits: 1, 9.png")
    assert (tmp_path / "what is in it" / "samples.png").exists()


def test_a_folder_is_for_one_look_at_a_time(tmp_path: Path) -> None:
    options = (*jobs.PHANTOM, f"output={tmp_path}")
    with alone_in(tmp_path), pytest.raises(UserError, match="in use by process"):
        look(jobs.compose("data", *options), [])
