"""What is no DICOM image, what hides in one, and what must not get out."""

import logging
import struct
import sys
import traceback
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from dicom_files import GREY, SMOOTH, compressed, header, item, jpeg, write
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
)

from medcnn.data.formats import dicom_header
from medcnn.data.formats.dicom import decode_file
from medcnn.data.formats.dicom_header import is_dicom
from medcnn.errors import UserError


def test_is_dicom(tmp_path: Path) -> None:
    marked = tmp_path / "without suffix"
    marked.write_bytes(bytes(128) + b"DICM")
    assert is_dicom(marked)
    assert is_dicom(tmp_path / "a.DCM")
    assert is_dicom(tmp_path / "a.ima")
    assert is_dicom(tmp_path / "a.dicom")
    assert not is_dicom(tmp_path / "missing")
    (tmp_path / "a.txt").write_bytes(b"DICM")
    assert not is_dicom(tmp_path / "a.txt")


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, None])
def test_without_preamble(syntax: UID | None, tmp_path: Path) -> None:
    raw = write(tmp_path / "a.dcm", GREY, syntax=syntax).read_bytes()
    first = b"\0\x08\0\x16" if syntax == ExplicitVRBigEndian else b"\x08\0\x16\0"
    (tmp_path / "old.dcm").write_bytes(raw[raw.index(first) :])
    np.testing.assert_array_equal(decode_file(tmp_path / "old.dcm").values[0], GREY)


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    dataset = header(SMOOTH)
    dataset.compress(RLELossless)
    dataset.save_as(tmp_path / "rle.dcm", enforce_file_format=True)
    write(tmp_path / "deflated.dcm", SMOOTH, syntax=DeflatedExplicitVRLittleEndian)
    compressed(tmp_path / "jpeg.dcm", header(SMOOTH), JPEGBaseline8Bit, [jpeg(SMOOTH)])
    write(tmp_path / "plain.dcm", SMOOTH)
    for path in sorted(tmp_path.iterdir()):
        whole = path.read_bytes()
        for length in {*range(0, len(whole) - 20, 23), len(whole) - 20}:
            path.write_bytes(whole[:length])
            with pytest.raises(UserError):
                decode_file(path)


@pytest.mark.parametrize(
    ("tags", "why"),
    [
        ({"PixelData": GREY.tobytes()[:-2]}, "is cut off: 68 of 70 bytes"),
        ({"PixelData": GREY.tobytes() * 2}, "holds 140 bytes of pixel data .* says 70"),
        ({"NumberOfFrames": 2}, "is cut off: 70 of 140 bytes"),
        ({"Rows": 0}, "which no image has"),
        ({"SamplesPerPixel": 2}, "which no image has"),
        ({"SamplesPerPixel": 4}, "which no image has"),
        ({"Rows": 40000, "Columns": 40000}, "more than the 536870912 values allowed"),
        ({"NumberOfFrames": "1000000000000"}, "more than the 536870912 values allowed"),
        ({"PhotometricInterpretation": "HSV"}, "is unsupported: its colours"),
        ({"PhotometricInterpretation": "YBR_PARTIAL_422"}, "is unsupported: its colours"),
        ({"PhotometricInterpretation": "RGB"}, "1 values a pixel"),
        ({"BitsStored": 20}, "BitsStored 20 of BitsAllocated 16, which can't be"),
        ({"BitsAllocated": 12}, "is unsupported: BitsAllocated 12"),
        ({"PhotometricInterpretation": None}, "lacks PhotometricInterpretation"),
        ({"PixelRepresentation": None}, "lacks PixelRepresentation"),
        ({"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 9999}, "padding alone"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "broken colour palette"),
        ({"SegmentSequence": [item(SegmentNumber=1)]}, "is a segmentation"),
        ({"DoseGridScaling": 1}, "radiation doses"),
        ({"TotalPixelMatrixColumns": 100}, "tiles of a microscope slide"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "MOSAIC"]}, "mosaic of slices without"),
        ({"PixelSpacing": [1, float("inf")]}, "broken PixelSpacing"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_refused(tags: dict, why: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", GREY, **tags)
    with pytest.raises(UserError, match=why):
        decode_file(path)


def test_objects_without_pixels(tmp_path: Path) -> None:
    dataset = header(GREY)
    del dataset["PixelData"]
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    with pytest.raises(UserError, match=r"no pixel data \(it is a RT Structure Set object\)"):
        decode_file(tmp_path / "a.dcm")
    dataset.SOPClassUID = "1.2.3.4"
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    with pytest.raises(UserError, match="no pixel data, or ends"):
        decode_file(tmp_path / "a.dcm")


@pytest.mark.parametrize("content", [b"", b"hello, this is text", bytes(128) + b"DICM" + b"x" * 99])
def test_no_dicom_at_all(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(content)
    with pytest.raises(UserError):
        decode_file(tmp_path / "a.dcm")
    with pytest.raises(UserError, match="can't be read as DICOM"):
        decode_file(tmp_path / "missing.dcm")


def test_files_too_large_to_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_header, "MAX_FILE", 100)
    with pytest.raises(UserError, match="is larger than 100 bytes"):
        decode_file(write(tmp_path / "a.dcm", GREY))


@pytest.mark.parametrize("declared", [5, 40000])
def test_deflated_bomb_is_refused_before_it_fills_memory(
    declared: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.dcm", GREY, syntax=DeflatedExplicitVRLittleEndian, Rows=declared)
    raw = path.read_bytes()
    start = 144 + struct.unpack("<L", raw[140:144])[0]
    header_bytes = zlib.decompress(raw[start:], -15)
    packer = zlib.compressobj(9, wbits=-15)
    bomb = packer.compress(header_bytes) + packer.compress(bytes(2**26)) + packer.flush()
    path.write_bytes(raw[:start] + bomb)
    inflated = 0
    make = zlib.decompressobj

    class Counting:
        def __init__(self, bits: int) -> None:
            self.inner = make(bits)

        def decompress(self, data: bytes, most: int) -> bytes:
            nonlocal inflated
            result = self.inner.decompress(data, most)
            inflated += len(result)
            return result

        def __getattr__(self, name: str) -> object:
            return getattr(self.inner, name)

    monkeypatch.setattr(zlib, "decompressobj", Counting)
    with pytest.raises(
        UserError, match=r"decompression bomb|more than the 536870912 values allowed"
    ):
        decode_file(path)
    assert 0 < inflated <= dicom_header.MAX_HEADER + 2**20
    assert len(bomb) < 2**17


@pytest.mark.parametrize(
    ("tags", "spacing"),
    [
        ({"PixelSpacing": [0.5, 0.25]}, (0.5, 0.25)),
        ({"ImagerPixelSpacing": [0.5, 0.25]}, (0.5, 0.25)),
        ({"PixelSpacing": [1, 2], "ImagerPixelSpacing": [3, 4]}, (1, 2)),
        ({"PixelSpacing": [0, 0], "ImagerPixelSpacing": [3, 4]}, (3, 4)),
        ({"PixelSpacing": [0, 0]}, None),
        ({"PixelSpacing": ""}, None),
    ],
)
def test_spacing(tags: dict, spacing: tuple[float, float] | None, tmp_path: Path) -> None:
    image = decode_file(write(tmp_path / "a.dcm", GREY, **tags))
    assert image.spacing == spacing
    assert image.affine is None


@pytest.mark.filterwarnings("ignore:.*:UserWarning:pydicom")
def test_no_header_text_gets_out(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    name = "Doe^Jane"
    tags = {"PatientName": name, "StudyDate": name, "PatientID": name * 9, "Modality": "DOEJANE"}
    dataset = header(GREY, RescaleIntercept=1, **tags)
    dataset.add_new("RescaleSlope", "LO", name)
    dataset.add_new("SOPClassUID", "UI", name)
    broken = tmp_path / "broken.dcm"
    dataset.save_as(broken, enforce_file_format=True)
    raw = broken.read_bytes()
    at = raw.index(b"\x28\x00\x53\x10LO")
    broken.write_bytes(raw[: at + 4] + b"DS" + raw[at + 6 :])
    without = header(GREY, **tags)
    without.add_new("SOPClassUID", "UI", name)
    del without["PixelData"]
    without.save_as(tmp_path / "without.dcm", enforce_file_format=True)
    compressed(tmp_path / "jpeg.dcm", header(SMOOTH, **tags), JPEGBaseline8Bit, [jpeg(SMOOTH)])
    write(tmp_path / "damaged.dcm", GREY, BitsStored=20, **tags)
    said = ""
    with warnings.catch_warnings(record=True) as warned, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        for path in sorted(tmp_path.iterdir()):
            try:
                image = decode_file(path)
                assert path.name == "jpeg.dcm"
                assert image.modality is None
            except UserError:
                said += "".join(traceback.format_exception(*sys.exc_info()))
        print(*[str(one.message) for one in warned])
    assert "broken RescaleSlope" in said
    printed = "".join(capfd.readouterr())
    for text in (said, printed, caplog.text):
        assert "Doe" not in text
        assert "Jane" not in text
