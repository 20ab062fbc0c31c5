"""Small DICOM files for tests."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 4096, (5, 7), dtype=np.uint16)  # high and wide differ: a transpose shows
COLOUR = RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8)
SMOOTH = np.add.outer(np.arange(16), np.arange(24)).astype(np.uint8) * 5


def header(pixels: np.ndarray, photometric: str = "MONOCHROME2", **tags: Any) -> Dataset:
    """A data set with pixels (H, W), (H, W, 3), or of several frames as NumberOfFrames says."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = MRImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"
    dataset.SOPClassUID = MRImageStorage
    dataset.SeriesInstanceUID = "1.2.4"
    dataset.PhotometricInterpretation = photometric
    colour = photometric[:3] in ("RGB", "YBR")
    dataset.SamplesPerPixel = 3 if colour else 1
    dataset.Rows, dataset.Columns = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
    if colour:
        dataset.PlanarConfiguration = 0
    bits = 8 * pixels.dtype.itemsize
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
    for tag, value in tags.items():
        setattr(dataset, tag, value)
    return dataset


def write(
    path: Path,
    pixels: np.ndarray,
    photometric: str = "MONOCHROME2",
    syntax: UID | None = None,
    **tags: Any,
) -> Path:
    """Save `header`, in any uncompressed or deflated syntax."""
    dataset = header(pixels, photometric, **tags)
    if syntax is not None:
        dataset.file_meta.TransferSyntaxUID = syntax
        if not syntax.is_little_endian:
            dataset.PixelData = pixels.astype(pixels.dtype.newbyteorder(">")).tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path


def item(**tags: Any) -> Dataset:
    """An item of a sequence."""
    dataset = Dataset()
    for tag, value in tags.items():
        setattr(dataset, tag, value)
    return dataset


def lut(count: int, first: int, depth: int, data: Any) -> Dataset:
    """A lookup table's item."""
    dataset = Dataset()
    dataset.add_new("LUTDescriptor", "SS" if first < 0 else "US", [count, first, depth])
    dataset.add_new("LUTData", "OW" if isinstance(data, bytes) else "US", data)
    return dataset


def compressed(path: Path, dataset: Dataset, syntax: UID, frames: list[bytes]) -> Path:
    """Save with these compressed frames."""
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate(frames)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path, enforce_file_format=True)
    return path


def jpeg(picture: np.ndarray, **options: int) -> bytes:
    stream = BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=95, **options)
    return stream.getvalue()
