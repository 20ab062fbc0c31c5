"""Folders of images, a folder a class."""

from pathlib import Path
from typing import Any

from dicom_files import GREY, write

from medcnn.data.listing import Listing
from medcnn.data.sources.folder import folder


def made(top: Path, *names: str) -> Path:
    """A folder of empty files; DICOM files are real."""
    for index, name in enumerate(names):
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".dcm":
            dicom(path, index)
        else:
            path.touch()
    return top


def dicom(path: Path, height: int = 0) -> None:
    place = {"ImagePositionPatient": [0, 0, height], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
    write(path, GREY, PixelSpacing=[1, 1], SOPInstanceUID=f"1.2.{height}", **place)


def read(path: Path, **options: Any) -> Listing:
    return folder(path=path, **({"size": 8} | options))


def images(listing: Listing) -> dict[str, str]:
    """The class of each image."""
    table = listing.table
    return {
        str(image): listing.class_names[label]
        for image, label in zip(table["image"], table["label"], strict=True)
    }
