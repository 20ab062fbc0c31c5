"""Reading single images from files, for prediction."""

import glob
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medcnn.errors import UserError

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
DICOM = (".dcm", ".dicom")
SUFFIXES = (*PICTURES, *DICOM, ".npy")
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R BT.601


def list_images(spec: str | Path) -> list[Path]:
    """Finds the images that a file, a folder or a glob pattern means.

    What exists under that very name wins over its meaning as a pattern. A folder is searched with
    all its subfolders for the suffixes in `SUFFIXES` and for DICOM files without a suffix; hidden
    files are left out. A pattern (``**`` goes into subfolders) gives every file it matches.

    Returns:
        Paths, sorted.

    Raises:
        UserError: There is nothing there.
    """
    path = Path(spec).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        found = [child for child in path.rglob("*") if _is_image(child)]
        wanted = f"holds no image ({', '.join(SUFFIXES)})"
    else:
        found = [Path(match) for match in glob.glob(str(path), recursive=True)]  # noqa: PTH207
        found = [match for match in found if match.is_file()]
        wanted = "is neither a file, nor a folder, nor a pattern that matches a file"
    if not found:
        raise UserError(f"images={spec} {wanted}")
    return sorted(found)


def read_image(path: str | Path) -> Tensor:
    """Reads one image.

    * PNG, JPEG, BMP, TIFF: turned as its EXIF tag says; a palette becomes RGB, transparency is
      dropped. Divided by the largest number its type can hold (8 bits: 255, 16 bits: 65535).
    * NPY: (H, W), (C, H, W) or (H, W, C) with C 1 or 3; scaled likewise.
    * DICOM, one frame: rescaled (slope, intercept), then scaled by its first VOI window (DICOM
      PS3.3 C.11.2.1.2; a sigmoid as linear), or where it has none, by the range that its stored
      bits can hold; a VOI lookup table is not applied. MONOCHROME1 is inverted, so high is bright.

    Floating-point images have to lie in 0 … 1.

    Args:
        path: File; without a known suffix it is looked at for the DICOM mark.

    Returns:
        (C, H, W) float32 in 0 … 1, C = 1 (grey) or 3 (red, green, blue).

    Raises:
        UserError: Missing, damaged, empty or not such an image.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if not path.is_file():
        raise UserError(f"{path} is not a file")
    try:
        if suffix in PICTURES:
            return _channels_first(_read_picture(path))
        if suffix == ".npy":
            return _channels_first(_to_unit(np.load(path, allow_pickle=False)))
        if suffix in DICOM or _has_dicom_mark(path):
            return _channels_first(_read_dicom(path))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except Exception as error:  # damaged files make the readers raise almost anything
        reason = " ".join(f"{error}".split())[:200] or type(error).__name__
        raise UserError(f"{path} can't be read as an image: {reason}") from error
    raise UserError(f"{path} is not a kind of image that medcnn reads ({', '.join(SUFFIXES)})")


def to_network(image: Tensor, in_channels: int, input_size: Sequence[int]) -> Tensor:
    """Gives an image the channels and the size that a network wants.

    Colour becomes grey by the luma of ITU-R BT.601, grey becomes colour by repeating. The size is
    changed by antialiased bilinear interpolation to the whole of `input_size`: the aspect ratio is
    not kept.

    Args:
        image: (C, H, W), C = 1 or 3.
        in_channels: 1 or 3.
        input_size: (H, W) of the network's input.

    Returns:
        (in_channels, *input_size).

    Raises:
        UserError: The network wants something else than grey or colour pictures.
    """
    if in_channels not in (1, 3) or len(input_size) != 2:
        raise UserError(
            f"the network takes {in_channels} channels of size {tuple(input_size)}: "
            "only grey or colour images of two dimensions can be read from files"
        )
    if in_channels == 1 and image.shape[0] == 3:
        image = torch.einsum("chw,c->hw", image, image.new_tensor(LUMA))[None]
    elif in_channels == 3 and image.shape[0] == 1:
        image = image.expand(3, -1, -1)
    if tuple(image.shape[1:]) != tuple(input_size):
        image = F.interpolate(image[None], list(input_size), mode="bilinear", antialias=True)[0]
    return image


def _is_image(path: Path) -> bool:
    if path.name.startswith(".") or not path.is_file():
        return False
    return path.suffix.lower() in SUFFIXES or (not path.suffix and _has_dicom_mark(path))


def _has_dicom_mark(path: Path) -> bool:
    """Whether the letters DICM follow the preamble of 128 bytes."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _channels_first(image: np.ndarray) -> Tensor:
    """(H, W), (H, W, C) or (C, H, W) to (C, H, W) float32."""
    if image.ndim == 2:
        image = image[None]
    elif image.ndim == 3 and image.shape[0] not in (1, 3) and image.shape[2] in (1, 3):
        image = np.moveaxis(image, 2, 0)
    if image.ndim != 3 or image.shape[0] not in (1, 3) or 0 in image.shape:
        raise UserError(f"shape {image.shape} is not that of one grey or colour image")
    return torch.from_numpy(np.array(image, dtype=np.float32, order="C"))


def _to_unit(image: np.ndarray) -> np.ndarray:
    """Divides by the largest number of the type; floats have to lie in 0 … 1 already."""
    if image.dtype == bool:
        return image.astype(np.float32)
    if image.dtype.kind == "u" and image.dtype.itemsize <= 2:
        return image / np.float32(np.iinfo(image.dtype).max)
    if image.dtype.kind != "f":
        raise UserError(f"values of type {image.dtype}: save it with 8 or 16 bits without sign")
    if not ((image >= 0) & (image <= 1)).all():
        raise UserError("floating-point values outside 0 … 1: scale them first")
    return image


def _read_picture(path: Path) -> np.ndarray:
    from monai.data import PILReader  # slow to import

    reader = PILReader(converter=_convert, reverse_indexing=False)
    image, _ = reader.get_data(reader.read(path))
    if image.dtype.kind == "i" and image.min() >= 0 and image.max() <= 65535:
        image = image.astype(np.uint16)  # how older versions of Pillow give 16 bits
    return _to_unit(image)


def _convert(image: Any) -> Any:
    """A PIL image, upright, in a mode that is grey or RGB."""
    from PIL import ImageOps

    if image.format == "TIFF" and image.n_frames > 1:
        raise UserError(f"holds {image.n_frames} pictures: save each in a file of its own")
    image = ImageOps.exif_transpose(image)
    if image.mode in ("1", "LA"):
        return image.convert("L")
    grey = image.mode in ("L", "F") or image.mode.startswith("I")
    return image if grey or image.mode == "RGB" else image.convert("RGB")


def _read_dicom(path: Path) -> np.ndarray:
    from monai.data import PydicomReader  # slow to import
    from pydicom.pixels import apply_color_lut

    reader = PydicomReader(swap_ij=False)
    dataset = reader.read(path)
    if int(dataset.get("NumberOfFrames") or 1) > 1 or "SegmentSequence" in dataset:
        raise UserError("holds several frames: only single images can be read")
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        return _to_unit(apply_color_lut(dataset.pixel_array, dataset))
    with warnings.catch_warnings():  # of a position in space that is missing, and not needed here
        warnings.filterwarnings("ignore", message="PydicomReader", category=UserWarning)
        image, _ = reader.get_data(dataset)
    window = _window(dataset)
    low, high = window or _bits_range(dataset)
    if window is None and dataset.BitsStored > 8 and np.ptp(image) < (high - low) / 16:
        raise UserError(
            f"has no VOI window, and its values {image.min():g} … {image.max():g} are nearly one "
            f"grey in the range of its {dataset.BitsStored} bits: add a window, or save it as PNG"
        )
    image = ((image - low) / (high - low)).clip(0, 1)
    return 1 - image if dataset.PhotometricInterpretation == "MONOCHROME1" else image


def _window(dataset: Any) -> tuple[float, float] | None:
    """The values, after rescaling, at the lower and upper end of the first VOI window."""
    center, width = (_first(dataset.get(key)) for key in ("WindowCenter", "WindowWidth"))
    if center is None or width is None or width <= 1:
        return None
    linear = dataset.get("VOILUTFunction", "LINEAR") == "LINEAR"
    return center - width / 2, center + width / 2 - (1 if linear else 0)


def _bits_range(dataset: Any) -> tuple[float, float]:
    """The lowest and highest value, after rescaling, that the stored bits can hold."""
    bits = int(dataset.BitsStored)
    lowest = -(2 ** (bits - 1)) if dataset.PixelRepresentation else 0
    slope = float(dataset.get("RescaleSlope", 1))
    intercept = float(dataset.get("RescaleIntercept", 0))
    low, high = sorted(slope * value + intercept for value in (lowest, lowest + 2**bits - 1))
    return low, high


def _first(value: Any) -> float | None:
    """A DICOM number, or the first of several; None where there is none."""
    if value is None or value == "":
        return None
    return float(value if isinstance(value, str | int | float) else value[0])
