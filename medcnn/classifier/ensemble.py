"""Several classifiers that answer as one."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medcnn.classifier.base import BaseClassifier
from medcnn.classifier.checkpoint import load as load_one
from medcnn.classifier.classifier import Card, Classifier, Columns, Study
from medcnn.data.image import ImageSpec
from medcnn.data.input_files import File
from medcnn.data.prepared.intensity import TRAINING
from medcnn.errors import UserError
from medcnn.jobs.atomic_files import write_json
from medcnn.jobs.copies import ENSEMBLE as FILE
from medcnn.jobs.copies import local_checkpoint
from medcnn.jobs.remote import is_address
from medcnn.jobs.rundir import RunDir

ALIKE = ("task", "class_names", "positive", "in_channels", "input_size", "studies")
Choices = dict[str, Any]


class Ensemble(BaseClassifier):
    """The mean of the members' probabilities (or of their predictions, in regression).

    With ``dataset.intensity=training_percentile`` each member has a range of its own for what
    becomes 0 and 1, which ``medcnn.predict`` knows and `classify` doesn't.

    Args:
        members: Classifiers of the same classes and the same kind of images.
        choices: What was chosen for them together, see `medcnn.inference.out_of_fold.choose`;
            None for nothing.

    Raises:
        UserError: They don't go together.
    """

    def __init__(self, members: Iterable[Classifier], choices: Choices | None = None) -> None:
        super().__init__()
        given = list(members)
        if not given:
            raise UserError("an ensemble needs a member")
        check_alike([member.card for member in given])
        self.members = nn.ModuleList(given)
        self.card, self.objective = given[0].card, given[0].objective
        self.choices = choices or {}

    @property
    def operating_point(self) -> dict[str, Any] | None:
        """That of the mean, whose probabilities aren't a member's; None if none was chosen."""
        return point_of(self.choices, self.calibration, self.mirrored)

    def calibrate(self, how: str) -> None:
        """Take the mean of calibrated probabilities from now on; see `Classifier.calibrate`."""
        for member in self.members:
            member.calibrate(how)  # type: ignore[operator]
        self.calibration = how

    def read(self, path: File | Sequence[File | None], mask: File | None = None) -> Tensor:
        """Return the images of a file as `classify` takes them; see `Classifier.read`.

        Raises:
            UserError: The file can't be used, or each member prepares it in a way of its own.
        """
        cards: Any = [member.card for member in self.members]
        of_training = (self.card["image_spec"] or {}).get("intensity") == TRAINING
        if of_training and len({str(card["intensity_range"]) for card in cards}) > 1:
            raise UserError(
                f"{path}: with dataset.intensity={TRAINING} each member prepares it in a way of "
                "its own; use python -m medcnn.predict"
            )
        return super().read(path, mask)

    @torch.inference_mode()
    def classify(self, images: Tensor | NDArray[Any], columns: Columns | None = None) -> Tensor:
        """Probabilities (N, K) of images (N, C, *spatial) in 0 … 1; see `Classifier.classify`."""
        found = [member.classify(images, columns) for member in self.members]  # type: ignore[operator]
        return torch.stack(found).mean(0)

    def classify_study(
        self,
        images: Study,
        views: Sequence[str | None] | None = None,
        columns: Columns | None = None,
    ) -> Tensor:
        """Return probabilities (K,) of one study; see `Classifier.classify_study`."""
        each = [member.classify_study(images, views, columns) for member in self.members]  # type: ignore[operator]
        return torch.stack(each).mean(0)


def check_alike(cards: Sequence[Card]) -> None:
    """Raise UserError unless classifiers with these cards take and tell the same.

    What each normalises its images by, and the range of intensities that follows from its own
    training images, may differ: each prepares its own.
    """
    for card in cards:
        for key in ALIKE:
            if card.get(key) != cards[0].get(key):
                raise UserError(f"the members of an ensemble differ in {key}")
        mine, first = (  # an old card says nothing of what came later
            asdict(ImageSpec(size=())) | (one["image_spec"] or {}) for one in (card, cards[0])
        )
        for key in sorted((mine.keys() | first.keys()) - {"allow_missing_geometry"}):
            if mine.get(key) != first.get(key):
                raise UserError(
                    "the members of an ensemble differ in how they prepare files: "
                    f"{key} is {first.get(key)} and {mine.get(key)}"
                )


def load(checkpoint: str | Path, *, trust: Iterable[str] = ()) -> Classifier | Ensemble:
    """Return the ready classifier in a checkpoint, on the CPU, in evaluation mode.

    Args:
        checkpoint: A ``.ckpt`` file of medcnn; or the run directory of a cross-validation (or the
            ensemble.json in it), whose members then answer as one. An address, such as
            ``s3://bucket/best.ckpt``, is copied to ``data/remote`` first.
        trust: Your own classes that its config names, as ``package.Class``.

    Example:
        ``medcnn.load("runs/…/checkpoints/best.ckpt").classify(images)``

    Raises:
        UserError: Not a checkpoint, or one that names a class which is not trusted.
    """
    if is_address(checkpoint):
        checkpoint = local_checkpoint(checkpoint, "checkpoint")
    path = Path(checkpoint)
    if not is_ensemble(path):
        return load_one(path, trust=trust)
    members = [load_one(member, trust=trust) for member in read_ensemble(path)]
    return Ensemble(members, read_choices(path)).eval()


def load_members(
    checkpoint: str | Path | None, ensemble: Sequence[str | Path], trust: Iterable[str] = ()
) -> tuple[list[Path], list[Classifier], Choices]:
    """Return the classifier in a checkpoint, or those of an ensemble, with their files.

    Args:
        checkpoint: A ``.ckpt`` file, or the run directory of a cross-validation; None for an
            ensemble.
        ensemble: In its place ``.ckpt`` files, run directories (whose best checkpoint is taken), or
            those of cross-validations (all of whose members are).
        trust: See `load`.

    Returns:
        The paths, the classifiers, and what was chosen for them together: empty but for one
        cross-validation.

    Raises:
        UserError: Both or neither, members that don't go together, or what `load` refuses.
    """
    if (checkpoint is None) == (not ensemble):
        raise UserError("give either checkpoint=FILE or ensemble=[RUN1,RUN2]")
    given = [Path(one) for one in ([checkpoint] if checkpoint is not None else ensemble)]
    paths: list[Path] = []
    for one in given:
        run = bool(ensemble) and one.is_dir() and not is_ensemble(one)
        paths += [RunDir(one).best] if run else members_of(one)
    trusted = list(trust)
    members = [load_one(path, trust=trusted) for path in paths]
    check_alike([member.card for member in members])
    alone = len(given) == 1 and len(members) > 1
    return paths, members, read_choices(given[0]) if alone else {}


def write_ensemble(
    folder: Path, checkpoints: Iterable[Path], choices: Choices | None = None
) -> None:
    """Write ensemble.json: the members' checkpoints, relative to its folder, and their choices."""
    members = [path.relative_to(folder).as_posix() for path in checkpoints]
    write_json(folder / FILE, {"members": members, "choices": choices or {}})


def point_of(
    choices: Choices, calibration: str = "none", mirrored: bool = False
) -> dict[str, Any] | None:
    """Return the operating point of an ensemble's choices; None if none was chosen.

    With mirrored looks it is that of the mean over them if the training chose one, else that of
    single looks.
    """
    kind = "mirrored" if mirrored and "mirrored" in choices else "operating_points"
    point: dict[str, Any] | None = choices.get(kind, {}).get(calibration)
    return point


def is_ensemble(path: Path) -> bool:
    """Return whether a path is the run directory of a cross-validation, or its ensemble.json."""
    return path.name == FILE or (path / FILE).is_file()


def members_of(path: Path) -> list[Path]:
    """Return the checkpoint itself; of a cross-validation that of each fold."""
    return read_ensemble(path) if is_ensemble(path) else [path]


def read_choices(path: Path) -> Choices:
    """Return the choices of an ensemble, from its file or its folder; empty if there are none."""
    path = path / FILE if path.is_dir() else path
    choices = json.loads(path.read_text(encoding="utf-8")).get("choices")
    return choices if isinstance(choices, dict) else {}


def read_ensemble(path: Path) -> list[Path]:
    """Return the checkpoints of an ensemble, from its file or its folder.

    Raises:
        UserError: The file isn't one of an ensemble.
    """
    path = path / FILE if path.is_dir() else path
    try:
        members = json.loads(path.read_text(encoding="utf-8"))["members"]
        return [path.parent / str(member) for member in members]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} can't be read as an ensemble") from error
