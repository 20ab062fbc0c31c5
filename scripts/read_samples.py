"""Read the sample images that installed Python packages ship, with medcnn and another decoder.

python scripts/read_samples.py                       those of this environment
python scripts/read_samples.py --csv samples.csv     as a table, too
python scripts/read_samples.py --folder /elsewhere   of packages that were installed elsewhere, too

A file is read by medcnn, and by decoders that medcnn doesn't use for it: DICOM by pydicom through
another plugin, and by SimpleITK; NIfTI by nibabel, NRRD by SimpleITK, TIFF by tifffile and OpenCV,
other pictures by OpenCV, arrays by NumPy. Values are compared, not how a volume lies: frames and
axes may come in another order. Padding is left out of account. Of files with several volumes or
colour pictures, the first (dataset.frame=0) is compared. Outcomes:

same        as one of them: to 6 digits, or of lossy compression up to 6 grey levels of 8 bits
different   not equal
alone       the others can't read it
refused     medcnn says why not
"""

import argparse
import itertools
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medcnn.data.formats import SUFFIXES, decode
from medcnn.data.formats.dicom_header import has_mark, silence
from medcnn.data.image import Array, Image
from medcnn.errors import UserError

LOSSY = ("4.50", "4.51", "4.81", "4.91", "4.203")  # DICOM's syntaxes that may be, by their ends
EXACT, LOSS = 1e-6, 6 / 255  # differences in parts of the largest value


def main() -> None:
    """Compare, print and perhaps write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--folder", type=Path, action="append", default=[])
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    roots = {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")}
    silence()
    warnings.simplefilter("ignore")
    rows = []
    for root in [*sorted(roots), *arguments.folder]:
        for path in samples(root):
            rows.append({"file": path.relative_to(root).as_posix(), **compared(path)})
            print(*rows[-1].values(), sep="  ", flush=True)
    table = pd.DataFrame(rows).drop_duplicates(["file", "kind"]).sort_values("file")
    print(f"\n{len(table)} files of {table['file'].str.split('/').str[0].nunique()} packages")
    print(table.groupby(["kind", "outcome"]).size().to_string())
    reasons = Counter(table.loc[table["outcome"] == "refused", "why"])
    print("\nRefused:")
    for why, count in reasons.most_common():
        print(f"{count:4}  {why}")
    if arguments.csv:
        table.to_csv(arguments.csv, index=False)


def samples(root: Path) -> Iterator[Path]:
    """Files that look like images, and DICOM files of any name."""
    for path in sorted(root.rglob("*")):
        if path.is_file() and not path.is_symlink() and path.stat().st_size:
            plain = path.suffix.lower() in ("", ".img") and has_mark(path)
            if path.name.lower().endswith(SUFFIXES) or plain:
                yield path


def compared(path: Path) -> dict[str, Any]:
    """What medcnn makes of a file, and how far another decoder's values are from that."""
    kind = kind_of(path)
    why, ours, frame = "", None, None
    try:
        ours = decode(path, allow_missing_geometry=True)
    except UserError as error:
        why = str(error)
        with suppress(UserError):
            if "dataset.frame" in why:
                ours, frame = decode(path, allow_missing_geometry=True, frame=0), 0
    outcome, difference, others = "refused" if ours is None else "alone", None, "can't read it"
    for reader in READERS[kind]:
        with suppress(Exception):  # decoders raise almost anything
            theirs, lossy = reader(path, ours)
            others = "read it"
            if ours is None:
                break
            theirs = first(theirs) if frame == 0 else theirs
            scale = float(np.nanmax(np.abs(ours.values))) or 1.0
            allowed = (LOSS if lossy else EXACT) * scale
            difference = distance(ours, theirs, allowed)
            outcome = "same" if difference <= allowed else "different"
            if outcome == "same":
                break
    return {
        "kind": kind,
        "outcome": outcome,
        "difference": difference,
        "others": others,
        "why": why,
    }


def first(values: Array) -> Array:
    """The first volume of (1, I, J, K, T), or the first picture of (3, pages, H, W)."""
    if values.ndim == 4 and len(values) == 3:
        return values[:, 0]
    return values[..., 0] if values.ndim == 5 else values


def kind_of(path: Path) -> str:
    """DICOM by its mark or name, the others by their endings."""
    name = path.name.lower()
    if has_mark(path) or name.endswith((".dcm", ".dicom", ".ima")):
        return "DICOM"
    endings = {".nii": "NIfTI", ".nii.gz": "NIfTI", ".nrrd": "NRRD", ".nhdr": "NRRD"}
    endings |= {".tif": "TIFF", ".tiff": "TIFF", ".npy": "NPY"}
    return next((kind for end, kind in endings.items() if name.endswith(end)), "picture")


def distance(ours: Image, theirs: Array, allowed: float) -> float:
    """Largest difference of values, in the first order of frames and axes where it is allowed."""
    values = ours.values.astype(np.float32)
    if theirs.dtype == np.uint8 and ours.values.dtype == np.uint16 and len(values) == 3:
        values = (ours.values >> 8).astype(np.float32)  # ITK keeps the upper 8 bits of palettes
    values, theirs = np.nan_to_num(values), np.nan_to_num(theirs.astype(np.float32))
    if ours.padding is not None and theirs.size == values.size:
        theirs = np.where(ours.padding, values, theirs.reshape(values.shape))
    best = np.inf
    for candidate in arrangements(theirs, values.ndim):
        if candidate.shape == values.shape:
            best = min(best, float(np.abs(candidate - values).max()))
            if best <= allowed:
                return best
    if values.ndim == 4 and theirs.size == values.size:  # frames in another order
        both = [one.reshape(values.shape[0], values.shape[1], -1) for one in (values, theirs)]
        ordered = [one[:, np.argsort(one.mean((0, 2)))] for one in both]
        best = min(best, float(np.abs(ordered[0] - ordered[1]).max()))
    return best


def arrangements(values: Array, axes: int) -> Iterator[Array]:
    """An array with its axes in all orders and directions, as (channels, …) of so many axes."""
    yield values
    squeezed = values.squeeze()
    spatial = squeezed if values.shape[0] == 3 and squeezed.ndim > 2 else squeezed[None]
    spatial = spatial.reshape(spatial.shape + (1,) * (axes - spatial.ndim))
    if spatial.ndim != axes:
        return
    for order in itertools.permutations(range(1, axes)):
        for steps in itertools.product((1, -1), repeat=axes - 1):
            directions = [slice(None, None, step) for step in steps]
            yield spatial.transpose(0, *order)[:, *directions]


def read_dicom(path: Path, ours: Image | None) -> tuple[Array, bool]:
    """(C, [frames,] rows, columns) as a display would have them before its window."""
    import pydicom
    from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut

    dataset = pydicom.dcmread(path, force=True)
    syntax = dataset.file_meta.get("TransferSyntaxUID", "")
    colour = dataset.get("PhotometricInterpretation", "")
    values = None
    plugins = ("pylibjpeg", "") if syntax.endswith(("4.57", "4.70")) else ("gdcm", "pillow", "")
    for plugin in plugins:
        try:
            options = {"decoding_plugin": plugin} if plugin and syntax.is_compressed else {}
            values = pydicom.pixels.pixel_array(dataset, **options)
            break
        except Exception:
            continue
    if values is None:
        raise ValueError
    if colour == "PALETTE COLOR":
        values = apply_color_lut(values, dataset)
    elif colour.startswith("MONO"):
        values = apply_modality_lut(values, dataset)
        if "WindowCenter" not in dataset and "VOILUTSequence" in dataset:
            values = apply_voi_lut(values, dataset)
        if colour == "MONOCHROME1" and ours is not None and ours.values.min() < values.min():
            values = -values.astype(float)  # how medcnn has white above black
    samples = 3 if colour == "PALETTE COLOR" or dataset.get("SamplesPerPixel", 1) == 3 else 1
    values = np.moveaxis(values, -1, 0) if samples == 3 else values[None]
    return values, str(syntax).endswith(LOSSY)


def read_with_simpleitk(path: Path, ours: Image | None) -> tuple[Array, bool]:
    """What ITK makes of a file."""
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    image = SimpleITK.ReadImage(str(path))
    values = SimpleITK.GetArrayFromImage(image)
    several = image.GetNumberOfComponentsPerPixel() > 1
    lossy = kind_of(path) == "DICOM" and image.HasMetaDataKey("0028|2110")
    return np.moveaxis(values, -1, 0) if several else values[None], lossy


def read_nifti(path: Path, ours: Image | None) -> tuple[Array, bool]:
    """Scaled values in the file's order."""
    import nibabel

    return np.asarray(nibabel.load(path).dataobj, np.float32)[None], False


def read_tiff(path: Path, ours: Image | None) -> tuple[Array, bool]:
    """Values by tifffile."""
    import tifffile

    single = ours is not None and ours.spatial_dims == 2
    values = tifffile.imread(path, key=0 if single else None)
    colour = values.ndim > 2 and values.shape[-1] in (3, 4)
    if single and values.ndim == 3 and not colour:  # colours in planes
        return values, False
    return np.moveaxis(values[..., :3], -1, 0) if colour else values[None], False


def read_picture(path: Path, ours: Image | None) -> tuple[Array, bool]:
    """Values by OpenCV; colour from 16 bits as its upper 8, as medcnn has it."""
    import cv2

    grey = ours is not None and len(ours.values) == 1
    flags = cv2.IMREAD_UNCHANGED if grey else cv2.IMREAD_COLOR
    values = cv2.imread(str(path), flags)
    assert values is not None
    values = values[..., 0] if grey and values.ndim == 3 else values
    values = values[None] if values.ndim == 2 else np.moveaxis(values[..., ::-1], -1, 0)
    return values, path.suffix.lower() in (".jpg", ".jpeg")


def read_array(path: Path, ours: Image | None) -> tuple[Array, bool]:
    """The array; real numbers only."""
    values = np.load(path, allow_pickle=False)
    if values.dtype.kind not in "buif" or values.ndim not in (2, 3, 4):
        raise ValueError
    values = values * 255.0 if values.dtype == bool else values
    return values[None] if values.ndim < 4 else values, False


READERS = {
    "DICOM": (read_dicom, read_with_simpleitk),
    "NIfTI": (read_nifti,),
    "NRRD": (read_with_simpleitk,),
    "TIFF": (read_tiff, read_picture),
    "picture": (read_picture,),
    "NPY": (read_array,),
}

if __name__ == "__main__":
    main()
