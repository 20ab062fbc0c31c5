"""The maps of single files: pictures, arrays, and of volumes maps in the space of the patient."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from medcnn import cam
from medcnn.classifier.checkpoint import load
from medcnn.classifier.classifier import Classifier
from medcnn.data.batches import unit_intensity
from medcnn.data.columns.encoding import unsaid_line
from medcnn.data.image import Array, Crop, Image, ImageSpec, spec_of
from medcnn.data.image_files import each_image, stem
from medcnn.data.input_files import decode_as
from medcnn.data.inputs import TOO_LARGE, as_asked, prepared_input
from medcnn.data.path_list import PathList, write_paths
from medcnn.errors import UserError
from medcnn.evidence import ClassifierMaps, scale_of
from medcnn.evidence.file_pictures import draw_items, items_of_file
from medcnn.evidence.of_tiles import TILES, explain_tiles, note_of_tiles
from medcnn.evidence.own_grid import on_own_grid
from medcnn.evidence.plan import methods_of
from medcnn.evidence.study_gallery import study_of_file
from medcnn.inference.parts import (
    LIST,
    PARTS,
    Advance,
    Done,
    Parts,
    begin_parts,
    is_begun,
    job_of,
    kept_parts,
    opened_parts,
)
from medcnn.inference.several_processes import Task, do_all
from medcnn.jobs.atomic_files import check_folder, replacing
from medcnn.jobs.hardware import device_of_one, set_threads
from medcnn.jobs.settings.commands import Explain
from medcnn.jobs.table_files import as_text
from medcnn.jobs.terminal import say
from medcnn.report.maps.nifti import map_to_source, write_nifti
from medcnn.report.maps.study_sheet import study_sheet

WORKER = "medcnn.evidence.worker"
ROWS = 100  # files of a part, at most
ALONE = "each is a study by itself here; a table of studies without image= joins their images"
Rows = list[dict[str, Any]]


def explain_files(cfg: Explain, trust: Sequence[str] = ()) -> pd.DataFrame:
    """Write the maps of a file or a folder of them; return ``maps.csv``, a row an image and method.

    They lie in ``output``, in subfolders as the files do, under the names of the files; see
    `_of_file`. The map explains the decided class; of slices each its own. A file that can't be
    read, or of which the net gives NaN, is named, and the rest goes on.

    The files are explained in parts (`medcnn.inference.parts`), by several processes where these
    are asked for, and the same command goes on after it was ended.

    Raises:
        UserError: Anything that the user can put right; at the end, that some files failed.
    """
    work = FileMaps(cfg, trust)
    output, table = work.output, work.output / "maps.csv"
    check_folder(f"output={output}", output)
    paths = [Path(path) for path in each_image(str(cfg.image), volumes=work.volumes, key="image")]
    work.name(paths)
    if not (cfg.overwrite or is_begun(table)):
        _refuse_if_there(output, [f"{name}-{way}" for name in work.names for way in work.methods])
    again = "the same command without overwrite=true" if cfg.overwrite else "the same command"
    task = Task(WORKER, {"cfg": cfg.plain(), "trust": list(trust)}, cfg.processes, again)
    with kept_parts(table, cfg.overwrite) as folder:
        digest = write_paths(map(str, paths), folder / LIST)
        rows = max(1, min(ROWS, len(paths) // (PARTS * cfg.processes)))
        depends_on = work.depends_on(digest, len(paths))
        parts = begin_parts(folder, depends_on, len(paths), rows, ".csv", replaces=cfg.overwrite)
        do_all(parts, work, "files explained", task)
        done = parts.join(table)
    for note in work.notes:
        print(note)
    if done:
        print(f"{output}: maps of {done} of {len(paths)} images", flush=True)
    if done < len(paths):
        failed = len(paths) - done
        raise UserError(f"{failed} of {len(paths)} images could not be read or explained")
    return pd.read_csv(table)


class FileMaps:
    """The maps of files, of which it makes a part at a time.

    Args:
        cfg: See conf/explain.yaml.
        trust: Names that the checkpoint's config may hold beside medcnn's own.
        worker: Number of this process among several; None for the one that leads them, or that is
            alone.

    Raises:
        UserError: Settings that don't go together, or with this checkpoint.
    """

    def __init__(self, cfg: Explain, trust: Sequence[str], worker: int | None = None) -> None:
        self.cfg, self.output = cfg, Path(cfg.output or "maps")
        device = device_of_one(cfg.accelerator, cfg.processes, worker)
        classifier = load(cfg.checkpoint, trust=trust).to(device)
        self.maps = ClassifierMaps(classifier, stage=cfg.stage, smooth=cfg.smooth)
        self.methods, self.notes = methods_of(self.maps, cfg.methods)
        if codes := classifier.card.get("features"):
            self.notes = [*self.notes, f"note: {unsaid_line(codes)}"]
        self.spec = as_asked(spec_of(classifier.card), cfg.dataset)
        if self.spec.tiles is not None:
            self.methods, self.notes = [TILES], [note_of_tiles(self.spec)]
        self.volumes = self.spec.spatial_dims == 3 or self.spec.slices is not None
        self.notes += [ALONE] if self.maps.of_studies and not self.spec.several else []

    def name(self, paths: Sequence[Path]) -> None:
        """Take these as the files, and give each its name below the output."""
        self.paths, self.names = paths, output_names(paths)

    def do(self, first: int, last: int, advance: Advance) -> Done:
        """Write the maps of the files first … last - 1; those that can't be used are named."""
        rows, failed = Rows(), list[str]()
        for path, name in zip(self.paths[first:last], self.names[first:last], strict=True):
            out = self.output / name
            try:
                if self.spec.tiles is None:
                    rows += _of_file(self.maps, path, self.spec, self.methods, out, self.cfg)
                else:
                    size = _batch_size(self.maps.classifier, self.cfg)
                    rows += explain_tiles(self.maps.classifier, path, self.spec, out, size)
            except UserError as error:
                failed.append(f"{path} {error}")
                say(failed[-1])
            advance(1)
        for row in rows:
            row["picture"] = as_text(row["picture"].relative_to(self.output).as_posix())
            row["image"] = as_text(row["image"])
        return Done(pd.DataFrame(rows), failed)

    def depends_on(self, digest: str, total: int) -> dict[str, Any]:
        """Return all that maps depend on; `digest` is of the list of the files."""
        return job_of(self.cfg, [Path(self.cfg.checkpoint)], digest, total)


def begin_in_worker(job: dict[str, Any]) -> tuple[Parts, FileMaps]:
    """Return the parts and the work of a job, in one of several processes."""
    cfg = Explain.model_validate(job["cfg"])
    set_threads(None, job["of"])
    work, parts = FileMaps(cfg, job["trust"], job["worker"]), opened_parts(job["parts"])
    paths = PathList(parts.folder / LIST)
    work.name([Path(path) for path in paths.names(0, len(paths))])
    return parts, work


def _refuse_if_there(output: Path, names: Sequence[str]) -> None:
    """Raise UserError if a folder has maps by these names, or the table of others."""
    files = (f"{name}{ending}" for name in names for ending in (".npy", ".png"))
    for file in ("maps.csv", *files):
        if (output / file).exists():
            raise UserError(f"output={output}: {file} exists; overwrite=true replaces it")


def _of_file(
    maps: ClassifierMaps,
    path: Path,
    spec: ImageSpec,
    methods: Sequence[str],
    out: Path,
    cfg: Explain,
) -> Rows:
    """Write the maps of one file; raises UserError, without its path, if it can't be used.

    ``<name>-<method>.png`` has the image beside the map over it, ``.npy`` the raw map at the size
    of the network's input. Of a volume the picture is of the three planes through the maximum;
    ``<name>-<method>-slices.png`` shows slices (for a network of pictures each slice has its own,
    ``-slice_007.png``), and ``.nii.gz`` has the map on the grid of the file, to be opened over it
    in a viewer. Of a network of studies the picture is of all slices, which are one study, and the
    rows have the attention of each and the effect of leaving it out.
    """
    classifier, rows = maps.classifier, Rows()
    size = _batch_size(classifier, cfg)
    try:
        decoded = decode_as(path, spec)
        item = prepared_input(decoded, spec, classifier.card["in_channels"])
        for note in item.notes:
            say(f"{path} {note}")
        pair = item.pair or classifier.card["intensity_range"]
        ranges = torch.tensor([pair]).float().expand(len(item.stored), 2)
        images = unit_intensity(item.stored, ranges).to(classifier.device)
        for method in methods:
            base = out.with_name(f"{out.name}-{method}")
            if maps.of_studies:
                raw, own = _of_study(maps, images, method, path, base, cfg.scale)
                _write_raw(raw.numpy(), decoded, spec, item.crop, base)
                rows += own
                continue
            found = [maps.decisions(part, method) for part in images.split(size)]
            probs, decided, raw = (torch.cat(parts).cpu() for parts in zip(*found, strict=True))
            _write_raw(raw.numpy(), decoded, spec, item.crop, base)
            grids = [
                on_own_grid(decoded, spec, pair, map_.numpy(), crop=item.crop, number=k)
                for k, map_ in enumerate(raw)
            ]
            items = items_of_file(classifier, path.name, spec, probs, decided, grids)
            pictures = draw_items(items, base, scale_of(method, cfg.scale))
            for k, empty in enumerate(cam.is_empty(raw).tolist()):
                place: dict[str, Any] = {"slice": k} if spec.slices is not None else {}
                row = {"image": str(path), "method": method, **place}
                row |= _row(classifier, probs[k], int(decided[k]))
                rows.append(row | {"empty": empty, "picture": pictures[k]})
    except MemoryError:
        raise UserError(TOO_LARGE) from None
    return rows


def _batch_size(classifier: Classifier, cfg: Explain) -> int:
    return classifier.card["config"]["batch_size"] if cfg.batch_size is None else cfg.batch_size


def _of_study(
    maps: ClassifierMaps, images: Tensor, method: str, path: Path, base: Path, scale: Any
) -> tuple[Tensor, Rows]:
    """Draw the images (n, C, *spatial) of a file as one study; return raw maps, and a row each."""
    study, picture = study_of_file(maps, images, method, path.name), Path(f"{base}.png")
    title = f"{method} of the decided class"
    study_sheet([study.item], picture, title=title, scale=scale_of(method, scale))
    words = _row(maps.classifier, study.probs, study.decided) | {"picture": picture}
    rows = Rows()
    for k, own in enumerate(study.of_images):
        place: dict[str, Any] = {"slice": k} if len(images) > 1 else {}
        rows.append({"image": str(path), "method": method, **place} | own | words)
    return study.maps, rows


def _write_raw(raw: Array, decoded: Image, spec: ImageSpec, crop: Crop | None, base: Path) -> None:
    """Write raw maps (N, *spatial): all slices', or the one of an image, of a volume twice."""
    array = raw if spec.slices is not None else raw[0]
    with replacing(base.with_name(f"{base.name}.npy")) as path:
        np.save(path, array)
    if array.ndim == 3 and decoded.affine is not None:
        volume = map_to_source(array, decoded, spec, crop)
        write_nifti(volume, base.with_name(f"{base.name}.nii.gz"), affine=decoded.affine)


def _row(classifier: Classifier, probs: Tensor, label: int) -> dict[str, Any]:
    """Return the decision at the operating point, and the class that the map explains."""
    names, task = classifier.class_names, classifier.objective.task
    if task == "multilabel":
        called = [n for n, c in zip(names, classifier.decide(probs[None])[0], strict=True) if c]
        words = {"predicted": ";".join(called), "explained": names[label]}
        return words | {"probability": float(probs[label])}
    told_as = "value" if task == "regression" else "probability"
    return {"predicted": names[label], told_as: float(probs[label])}


def output_names(paths: Sequence[Path]) -> list[str]:
    """Return a name for each file, no two alike: its path below the folder that all are in.

    Without the endings, unless some file differs from another by its ending alone.

    >>> output_names([Path("in/a/x.png"), Path("in/b/x.png")])
    ['a/x', 'b/x']
    >>> output_names([Path("in/x.png"), Path("in/x.dcm")])
    ['x.png', 'x.dcm']
    """
    absolute = [path.absolute() for path in paths]
    top = os.path.commonpath([path.parent for path in absolute])
    places = [path.relative_to(top) for path in absolute]
    names = [place.with_name(stem(place)).as_posix() for place in places]
    distinct = len(set(names)) == len(names)
    return names if distinct else [place.as_posix() for place in places]
