"""A classifier that is ready for files or packed rows, as a command's settings ask for it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from medcnn.classifier.classifier import Classifier
from medcnn.classifier.ensemble import Ensemble, load, load_members, members_of
from medcnn.data.columns.encoding import unsaid_line
from medcnn.data.image import ImageSpec, spec_of
from medcnn.data.image_files import each_image
from medcnn.data.inputs import as_asked
from medcnn.data.packed import Packed, open_packed, packed_digest
from medcnn.data.path_list import PathList, write_paths
from medcnn.errors import UserError
from medcnn.evaluation.few_images import isotonic_lines
from medcnn.inference.file_answers import (
    Answers,
    Tell,
    answers_table,
    classify,
    read_files,
    read_rows,
    together,
)
from medcnn.inference.mc_dropout import check_mc_dropout
from medcnn.inference.parts import LIST, Advance, Done, job_of
from medcnn.inference.tta import mirrored_axes_of
from medcnn.jobs.hardware import device_of_one
from medcnn.jobs.notes import note
from medcnn.jobs.settings.commands import Predict
from medcnn.jobs.terminal import say


class Predictor:
    """A classifier, and how it looks at images; it does parts of them.

    Args:
        cfg: See conf/predict.yaml.
        trust: Names that the checkpoint's config may hold beside medcnn's own.
        worker: Number of this process among several; None for the one that leads them, which
            leaves GPUs to them, or that is alone.

    Raises:
        UserError: Settings that don't go together, or with this checkpoint.
    """

    def __init__(self, cfg: Predict, trust: list[str], worker: int | None = None) -> None:
        self.cfg = cfg
        loaded, self.checkpoints = _loaded(cfg, trust)
        self.classifier = loaded.to(device_of_one(cfg.accelerator, cfg.processes, worker))
        members: Any = self.classifier.members  # which PyTorch types as modules
        card = self.classifier.card
        self.axes = mirrored_axes_of(cfg.tta or ("none" if cfg.dense else None), members)
        self.classifier.mirrored = bool(self.axes)
        check_mc_dropout(members, cfg.mc_dropout)
        self.batch_size = card["config"]["batch_size"] if cfg.batch_size is None else cfg.batch_size
        self.spec = as_asked(spec_of(card), cfg.dataset)
        if card.get("studies") is not None:
            _note_studies(cfg, self.spec, worker)
        _check_dense(cfg, self.axes, self.spec)
        _calibrate(self.classifier, cfg.calibration)
        if card.get("features") and worker is None:
            note(unsaid_line(card["features"]))
        self.source = cfg.images or ""  # which a table takes the place of, see `of_table`
        self.images: PathList | Packed | None = None
        self.maps: Any = None
        if cfg.dense:
            from medcnn.inference.score_maps import ScoreMaps  # and with it Matplotlib

            self.maps = ScoreMaps(self.classifier, self.spec, Path(cfg.output), cfg.size)

    def list_images(self, folder: Path) -> str:
        """Write the list of the images to a folder; return a digest of it."""
        if self.cfg.packed:
            return packed_digest(self.source)
        if self.source.lower().endswith(".npz"):
            raise UserError(f"images={self.source} holds arrays: packed=true takes their rows")
        volumes = self.spec.spatial_dims == 3 or self.spec.slices is not None
        return write_paths(each_image(self.source, volumes=volumes), folder / LIST)

    def open_images(self, folder: Path) -> PathList | Packed:
        """Open the images of `list_images`, and return them."""
        if self.cfg.packed:
            self.images = open_packed(self.source, folder, self.spec.spatial_dims)
        else:
            self.images = PathList(folder / LIST)
        return self.images

    def do(self, first: int, last: int, advance: Advance) -> Done:
        """Classify the images first … last - 1; those that can't be used are named on stderr."""
        failed: list[str] = []

        def tell(line: str) -> None:
            say(line)
            failed.append(line)

        if self.maps is not None:
            assert isinstance(self.images, PathList)
            return Done(self.maps.table(self.images, first, last, tell, advance), failed)
        found = []
        for start in range(first, last, self.batch_size):
            end = min(start + self.batch_size, last)
            if (answers := self._answers(start, end, tell)) is not None:
                found.append(answers)
            advance(end - start)
        if not found:
            return Done(pd.DataFrame(), failed)
        doubts = bool(self.cfg.mc_dropout)
        return Done(answers_table(self.classifier, together(found), doubts), failed)

    def _answers(self, first: int, last: int, tell: Tell) -> Answers | None:
        """Return the answers on a batch; None if none of it can be used."""
        spec, channels = self.spec, self.classifier.card["in_channels"]
        if isinstance(self.images, Packed):
            batch = read_rows(self.images, first, last, spec, channels, tell)
        else:
            assert self.images is not None
            batch = read_files(self.images.names(first, last), spec, channels, tell)
        passes = self.cfg.mc_dropout
        return classify(self.classifier, batch, self.batch_size, self.axes, passes, tell)

    def depends_on(self, digest: str, total: int) -> dict[str, Any]:
        """Return all that answers on so many images depend on; `digest` is of `list_images`."""
        job = job_of(self.cfg, self.checkpoints, digest, total)
        return {**job, "batch_size": self.batch_size}


def _loaded(cfg: Predict, trust: list[str]) -> tuple[Classifier | Ensemble, list[Path]]:
    """Return the classifier of ``checkpoint``, or the ensemble, and the files that it is in."""
    if cfg.checkpoint is not None and not cfg.ensemble:
        return load(cfg.checkpoint, trust=trust), members_of(Path(cfg.checkpoint))
    paths, members, choices = load_members(cfg.checkpoint, cfg.ensemble, trust)
    return Ensemble(members, choices).eval(), paths


def _note_studies(cfg: Predict, spec: ImageSpec, worker: int | None) -> None:
    """Say what a study is where only files are given; raise UserError for maps of scores."""
    if cfg.dense:
        raise UserError("dense=true maps single images; this network takes studies of several")
    if not spec.several and worker is None:
        note(
            "the network takes the images of a study together, and here each is a study by itself; "
            "a table says which belong together: dataset=csv dataset.path=table.csv"
        )


def _check_dense(cfg: Predict, axes: list[int], spec: ImageSpec) -> None:
    """Raise UserError for what can't go together with ``dense``, or without it."""
    if cfg.size is not None and not cfg.dense:
        raise UserError("size=… goes with dense=true: else images become those of the training")
    if cfg.dense and (cfg.calibration != "none" or axes or cfg.mc_dropout):
        raise UserError(
            "calibration=…, tta=… and mc_dropout=… go with whole images; "
            "dense=true maps plain scores"
        )
    if cfg.dense and spec.tiles is not None:
        raise UserError("dense=true maps whole images, and this network was trained on tiles")
    if cfg.dense and cfg.packed:
        raise UserError("packed=true goes without dense=true, which maps files")


def _calibrate(classifier: Classifier | Ensemble, how: str) -> None:
    """Take calibrated probabilities, and say what a reader of the decisions has to know."""
    classifier.calibrate(how)
    if how == "isotonic":
        members: Iterable[Any] = classifier.members
        for line in isotonic_lines([member.choices for member in members]):
            note(line)
    if classifier.operating_point is None and classifier.card["task"] in ("binary", "multilabel"):
        note("no operating point was chosen: decisions are made at 0.5")
