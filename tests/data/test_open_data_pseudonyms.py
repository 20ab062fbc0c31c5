"""Pseudonyms in the place of patients and files, in samples, messages and whole runs."""

from pathlib import Path

import jobs
import pandas as pd
import pytest
import torch
from open_tables import KEPT, noise, opened, save

from medcnn.data.open_data import open_data
from medcnn.data.row_names import names_of_rows
from medcnn.errors import UserError
from medcnn.jobs.pseudonym_key import load_key, pseudonym

pytestmark = pytest.mark.no_cover  # twice as slow with coverage; other tests cover the lines


def personal(folder: Path, size: int = 8) -> tuple[str, ...]:
    """A table that names people in every column that can; gives what may be written nowhere."""
    rows = pd.DataFrame({"image": [f"Meyer-{k}/scan-Quentin-{k}.png" for k in range(12)]})
    for k, name in enumerate(rows["image"]):
        save(folder / name, noise(k, size, size))
    rows["mask"] = [f"Meyer-{k}/outline.png" for k in range(12)]
    for name in rows["mask"]:
        save(folder / name, noise(0, size, size))
    rows["label"] = ["a", "b"] * 6
    rows["patient"] = [f"Zacharias {k // 2}" for k in range(12)]
    rows["study"] = [f"Study of Xaver {k}" for k in range(12)]
    rows["notes"] = "lives in Yverdon"
    rows["split"] = KEPT
    rows.to_csv(folder / "table.csv", index=False)
    return ("Meyer", "Quentin", "Zacharias", "Xaver", "Yverdon", "outline")


def test_pseudonyms_take_the_place_of_names(tmp_path: Path) -> None:
    personal(tmp_path)
    data = opened(tmp_path, "pseudonymise=true")
    key = load_key(tmp_path / "key")
    found = data.samples.table
    assert "notes" not in found
    image = pseudonym("Meyer-3/scan-Quentin-3.png", key)
    assert found.loc[3, ["image", "label", "split"]].tolist() == [image, 1, "train"]
    assert names_of_rows(found, [3]) == [f"row 3 · {image}"]
    assert data.samples.originals is not None  # pictures are drawn of the files all the same
    assert data.samples.originals.read(3)[0].values.shape[0] == 1
    assert found["patient"].tolist() == [
        pseudonym(f"Zacharias {k // 2}", key, "patient") for k in range(12)
    ]
    again = opened(tmp_path, "pseudonymise=true").samples.table
    pd.testing.assert_frame_equal(found, again)
    (tmp_path / "key").unlink()
    other = opened(tmp_path, "pseudonymise=true").samples.table
    assert not set(other["patient"]) & set(found["patient"])


def test_studies_that_cant_be_are_told_by_pseudonyms(tmp_path: Path) -> None:
    names = personal(tmp_path)
    rows = pd.read_csv(tmp_path / "table.csv").assign(patient="Zacharias", study="Xaver")
    rows.to_csv(tmp_path / "table.csv", index=False)
    dataset = ("dataset=csv", f"dataset.path='{tmp_path / 'table.csv'}'", "dataset.size=8")
    places = (f"paths.data='{tmp_path / 'data'}'", f"paths.pseudonym_key='{tmp_path / 'key'}'")
    cfg = jobs.compose("train", *dataset, *places, "model.aggregate=mean", "pseudonymise=true")
    with pytest.raises(UserError, match="have different labels") as stop:
        open_data(cfg)
    assert pseudonym("Xaver", load_key(tmp_path / "key"), "study") in str(stop.value)
    assert not [name for name in names if name in str(stop.value)]


def test_pseudonyms_change_nothing_else(tmp_path: Path) -> None:
    personal(tmp_path)
    hidden = opened(tmp_path, "pseudonymise=true", "splits=patient", "dataset.columns.split=null")
    shown = opened(tmp_path, "splits=patient", "dataset.columns.split=null")
    assert hidden.samples.table["split"].tolist() == shown.samples.table["split"].tolist()
    rows = torch.arange(12)
    assert torch.equal(hidden.samples.images[rows], shown.samples.images[rows])


def test_files_that_stop_everything_are_listed_by_pseudonyms(tmp_path: Path) -> None:
    personal(tmp_path)
    (tmp_path / "Meyer-5/scan-Quentin-5.png").write_bytes(b"")
    with pytest.raises(UserError, match="1 of 12 images can't be used") as stop:
        opened(tmp_path, "pseudonymise=true", problems=tmp_path / "run" / "problems.csv")
    listed = pd.read_csv(tmp_path / "run" / "problems.csv")
    image = pseudonym("Meyer-5/scan-Quentin-5.png", load_key(tmp_path / "key"))
    assert listed["image"].tolist() == [image]
    assert "Meyer" not in str(stop.value)


def test_problems_and_leaks_are_told_by_pseudonyms(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = personal(tmp_path)
    (tmp_path / "Meyer-5/scan-Quentin-5.png").write_bytes(b"")
    rows = pd.read_csv(tmp_path / "table.csv")
    rows.loc[11, "patient"] = "Zacharias 0"
    rows.to_csv(tmp_path / "table.csv", index=False)
    given = ("pseudonymise=true", "on_error=skip")
    with pytest.raises(UserError, match="the splits leak") as stop:
        opened(tmp_path, *given, problems=tmp_path / "run" / "problems.csv")
    key = load_key(tmp_path / "key")
    listed = pd.read_csv(tmp_path / "run" / "problems.csv", keep_default_na=False)
    images = [pseudonym(f"Meyer-{k}/scan-Quentin-{k}.png", key) for k in (5, 11, 0)]
    assert listed.query("kind == 'unusable file'")["image"].tolist() == images[:1]
    leak = listed.query("kind == 'patient in two splits'")[["image", "other_image"]]
    assert leak.to_numpy().tolist() == [images[1:]]
    told = str(stop.value) + capsys.readouterr().out
    assert images[1] in told
    assert not [name for name in names if name in told]


def test_a_whole_run_names_nobody(tmp_path: Path) -> None:
    names = personal(tmp_path / "in", 28)
    dataset = (
        "dataset=csv",
        f"dataset.path='{tmp_path / 'in' / 'table.csv'}'",
        "dataset.size=28",
        f"paths.data='{tmp_path / 'out'}'",
        f"paths.pseudonym_key='{tmp_path / 'out' / 'key'}'",
    )
    options = ("model=lenet", "cam.n=2", "trainer.max_epochs=1", "pseudonymise=true")
    run = jobs.train(tmp_path / "out" / "run", *jobs.PLAIN, *dataset, *options)
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {"samples.csv", "predictions.csv", "best.ckpt", "index.sqlite", "config.yaml"} <= {
        path.name for path in written
    }
    for path in written:
        content = path.read_bytes()
        if path.suffix == ".html":  # a word of style sheets, which one of the files is named after
            content = content.replace(b"outline", b"")
        assert not [n for n in names if n.encode() in content or n in path.name], path
    spread = pd.read_csv(run / "predictions.csv")
    assert spread["image"].str.fullmatch("i-[0-9a-f]{16}").all()
    figures = jobs.evaluate(
        tmp_path / "out" / "again", f"checkpoint='{run / 'checkpoints' / 'best.ckpt'}'"
    )
    assert figures["test/auroc"] == jobs.metrics(run)["test/auroc"]
    for path in [*run.rglob("*"), *(tmp_path / "out" / "again").rglob("*")]:
        if path.is_file():  # where the data lie, too
            assert str(tmp_path / "in").encode() not in path.read_bytes(), path
    links = tmp_path / "out" / "key.paths"
    assert {file.read_text() for file in links.iterdir()} >= {str(tmp_path / "in" / "table.csv")}
    assert {file.stat().st_mode & 0o077 for file in [links, *links.iterdir()]} == {0}
