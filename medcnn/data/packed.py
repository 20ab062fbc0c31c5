"""Images packed as the rows of arrays: a .npy file, or an .npz as MedMNIST's, read bit by bit."""

import math
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from medcnn.data.formats.array import npy_header
from medcnn.data.formats.values import check_kind, check_shape, to_stored, type_range
from medcnn.data.image import Array, Image, ImageSpec
from medcnn.data.image_files import given_path
from medcnn.data.inputs import Input
from medcnn.data.prepared.intensity import TRAINING
from medcnn.errors import UserError
from medcnn.jobs.atomic_files import replacing

COLOURS = (1, 3)  # lengths of an axis of channels
ENDING = "images"  # of the names of MedMNIST's arrays: train_images, val_images, test_images


class Source(NamedTuple):
    """One array of rows, in a .npy file of its own.

    Attributes:
        file: That file.
        name: Before the number of each row, as ``train/``; empty for the number alone.
    """

    file: Path
    name: str = ""


class Packed:
    """Rows of arrays in files, one array after the other, of which some are read at a time.

    Nothing is mapped into memory, where it would count.

    Args:
        sources: Arrays (N, H, W), (N, H, W, C) or (N, C, H, W), of volumes (N, D, H, W …); C is 1
            or 3.
        spatial_dims: Of an image: 2 or 3.

    Raises:
        UserError: An array of another shape or kind, or arrays that differ.
    """

    def __init__(self, sources: list[Source], spatial_dims: int) -> None:
        self.sources, self.dims = sources, spatial_dims
        headers = [_header(source.file) for source in sources]
        self._offsets = [offset for offset, _, _ in headers]
        self._counts = [shape[0] for _, shape, _ in headers]
        (_, shape, self.dtype), *others = headers
        self.row = shape[1:]
        for source, (_, other, dtype) in zip(sources[1:], others, strict=True):
            if (other[1:], dtype) != (self.row, self.dtype):
                whole = f"{source.name.rstrip('/')}_{ENDING}"
                raise UserError(f"images: the rows of {whole} differ from those before")
        self.channels_at = self._channels_at(sources[0].file)

    def __len__(self) -> int:
        return sum(self._counts)

    def _channels_at(self, file: Path) -> int | None:
        """Return the axis of a row that is of its channels; None without."""
        extra = len(self.row) - self.dims
        if extra == 0:
            return None
        if extra == 1 and self.row[-1] in COLOURS:
            return -1
        if extra == 1 and self.row[0] in COLOURS:
            return 0
        shape = " × ".join(map(str, self.row))
        raise UserError(f"{file}: its rows are {shape}, no images of {self.dims} dimensions")

    def _runs(self, first: int, last: int) -> Iterator[tuple[int, int, int]]:
        """Yield the number of each array that rows first … last - 1 touch, and rows of its own."""
        before = 0
        for number, count in enumerate(self._counts):
            start, end = max(first - before, 0), min(last - before, count)
            if start < end:
                yield number, start, end
            before += count

    def names(self, first: int, last: int) -> list[str]:
        """Return the names of the rows first … last - 1, as ``12`` or ``train/12``."""
        runs = self._runs(first, last)
        return [f"{self.sources[k].name}{row}" for k, a, b in runs for row in range(a, b)]

    def read(self, first: int, last: int) -> Array:
        """Return rows first … last - 1 as (n, C, *spatial), in the type of the file."""
        size, parts = math.prod(self.row), []
        for number, start, end in self._runs(first, last):
            file, count = self.sources[number].file, (end - start) * size
            offset = self._offsets[number] + start * size * self.dtype.itemsize
            values = np.fromfile(file, self.dtype, count, offset=offset)
            if len(values) < count:
                raise UserError(f"{file} is cut short: it holds fewer values than its header says")
            parts.append(values.reshape(-1, *self.row))
        values = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if self.channels_at is None:
            return values[:, None]
        return np.moveaxis(values, -1, 1) if self.channels_at == -1 else values

    def whole(self, first: int, last: int, spec: ImageSpec, channels: int) -> Input | None:
        """Return rows first … last - 1 as the slices of one input of a network, as they are.

        Args:
            first: Row.
            last: Row that is no more among them.
            spec: Of the training.
            channels: Of the network; grey rows are repeated.

        Returns:
            None for rows that have to be prepared as files are: of another size than the network's,
            of other types than 8 bits, or to be cropped.
        """
        at = self.channels_at
        spatial = self.row if at is None else self.row[:-1] if at == -1 else self.row[1:]
        own = 1 if at is None else self.row[at]
        plain = self.dtype == np.uint8 and spec.intensity in ("auto", "type", TRAINING)
        if not (plain and spatial == spec.size and own in (1, channels) and not spec.cut):
            return None
        stored = torch.from_numpy(np.ascontiguousarray(self.read(first, last)))
        stored = stored.expand(-1, channels, *stored.shape[2:])
        return Input(stored, None if spec.intensity == TRAINING else (0, 255))

    def images(self, first: int, last: int) -> list[Image]:
        """Return rows first … last - 1 as files hold them."""
        rows = self.read(first, last)
        return [Image(to_stored(one), value_range=type_range(one)) for one in rows]


def open_packed(path: str | Path, folder: Path, spatial_dims: int) -> Packed:
    """Open the rows of a file; those of an .npz are unpacked to a folder first.

    Args:
        path: A .npy file, or an .npz with arrays whose names end in ``images``, or with one array.
        folder: Where what is unpacked lies; what lies there already is taken.
        spatial_dims: Of an image: 2 or 3.

    Raises:
        UserError: No such file, or one without such arrays.
    """
    file = given_path(path, "images")
    if not _is_npz(file):
        return Packed([Source(file)], spatial_dims)
    with zipfile.ZipFile(file) as archive:
        members = _image_arrays(archive, file)
        sources = [Source(_unpacked(archive, one, folder), name) for one, name in members]
    return Packed(sources, spatial_dims)


def packed_digest(path: str | Path) -> str:
    """Return what tells one file of packed images from another: checksums, or size and time.

    Raises:
        UserError: No such file, or no .npy nor .npz.
    """
    file = given_path(path, "images")
    if not file.is_file():
        raise UserError(f"images={path}: packed=true takes a .npy or .npz file, which that isn't")
    if _is_npz(file):
        with zipfile.ZipFile(file) as archive:
            return " ".join(f"{one.filename}:{one.CRC:08x}" for one in archive.infolist())
    stat = file.stat()
    return f"{stat.st_size}:{stat.st_mtime_ns}"


def _is_npz(file: Path) -> bool:
    return file.is_file() and zipfile.is_zipfile(file)


def _image_arrays(archive: zipfile.ZipFile, file: Path) -> list[tuple[zipfile.ZipInfo, str]]:
    """Return the arrays of images in an .npz, each with what is put before its rows' numbers."""
    names = {one.filename.removesuffix(".npy"): one for one in archive.infolist()}
    found = [name for name in names if name.endswith(ENDING)] or list(names)
    if not found or (len(found) > 1 and not found[0].endswith(ENDING)):
        raise UserError(
            f"images={file} holds the arrays {', '.join(names) or '(none)'}: name one images"
        )
    if len(found) == 1:
        return [(names[found[0]], "")]
    return [(names[name], f"{name.removesuffix(ENDING).rstrip('_')}/") for name in found]


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> Path:
    """Return a file with an array of an .npz, named by its checksum."""
    path = folder / f"rows-{member.CRC:08x}.npy"
    if not path.exists():
        try:
            with replacing(path) as part, part.open("wb") as out, archive.open(member) as stream:
                shutil.copyfileobj(stream, out, 1 << 20)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise UserError(f"images={archive.filename} is damaged: {error}") from None
    return path


def _header(file: Path) -> tuple[int, tuple[int, ...], np.dtype[Any]]:
    """Return where the values of a .npy file begin, their shape and their type."""
    try:
        with file.open("rb") as stream:
            shape, fortran, dtype = npy_header(stream)
            offset = stream.tell()
        check_kind(dtype)
        if len(shape) < 2:
            raise UserError("packed=true takes one with images as its rows")
        check_shape((min(shape[0], 1), *shape[1:]), dtype.itemsize)
    except (ValueError, EOFError) as error:
        raise UserError(f"{file} is no array of images: {error}") from None
    if fortran:
        raise UserError(f"{file}: its first axis varies fastest; save numpy.ascontiguousarray(…)")
    return offset, shape, dtype
