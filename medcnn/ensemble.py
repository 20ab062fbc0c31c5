"""Several classifiers that answer as one."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from medcnn.checkpoint import load as load_one
from medcnn.classifier import Card, Classifier
from medcnn.errors import UserError
from medcnn.files import write_json
from medcnn.objective import Objective
from medcnn.rundir import RunDir

FILE = "ensemble.json"  # in the run directory of a cross-validation


class Ensemble(nn.Module):
    """The mean of the members' probabilities (or of their predictions, in regression).

    With ``dataset.intensity=training_percentile`` each member has a range of its own for what
    becomes 0 and 1, which ``medcnn.predict`` knows and `classify` doesn't.

    Args:
        members: Classifiers of the same classes and the same kind of images.

    Raises:
        UserError: They don't go together.
    """

    def __init__(self, members: Iterable[Classifier]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        if not len(self.members):
            raise UserError("an ensemble needs a member")
        cards: list[Card] = [member.card for member in self.members]  # type: ignore[misc]
        for key in ("task", "class_names", "in_channels", "input_size", "image_spec"):
            if any(card[key] != self.card[key] for card in cards):
                raise UserError(f"the members of an ensemble differ in {key}")

    @property
    def card(self) -> Card:
        """That of the first member."""
        card: Card = self.members[0].card  # type: ignore[assignment]
        return card

    @property
    def objective(self) -> Objective:
        """That of the first member; the others' has the same task."""
        objective: Objective = self.members[0].objective  # type: ignore[assignment]
        return objective

    @property
    def device(self) -> torch.device:
        """Where the members are."""
        return next(self.parameters()).device

    @torch.inference_mode()
    def classify(self, images: Tensor) -> Tensor:
        """Probabilities (N, K) of images (N, C, *spatial) in 0 … 1, in evaluation mode."""
        return torch.stack([member.classify(images) for member in self.members]).mean(0)  # type: ignore[operator]


def load(checkpoint: str | Path, *, trust: Iterable[str] = ()) -> Classifier | Ensemble:
    """The ready classifier in a checkpoint, on the CPU, in evaluation mode.

    Args:
        checkpoint: A ``.ckpt`` file of medcnn; or the run directory of a cross-validation (or the
            ensemble.json in it), whose members then answer as one.
        trust: Your own classes that its config names, as ``package.Class``.

    Example:
        ``medcnn.load("runs/…/checkpoints/best.ckpt").classify(images)``

    Raises:
        UserError: Not a checkpoint, or one that names a class which is not trusted.
    """
    path = Path(checkpoint)
    if path.name == FILE or (path / FILE).is_file():
        return Ensemble(load_one(member, trust=trust) for member in read_ensemble(path)).eval()
    return load_one(path, trust=trust)


def load_members(
    checkpoint: str | Path | None, ensemble: Sequence[str | Path], trust: Iterable[str] = ()
) -> tuple[list[Path], list[Classifier]]:
    """The classifier in a checkpoint, or those of an ensemble, with the paths of their checkpoints.

    Args:
        checkpoint: A ``.ckpt`` file; None for an ensemble.
        ensemble: In its place ``.ckpt`` files, run directories (whose best checkpoint is taken), or
            those of cross-validations (all of whose members are).
        trust: See `load`.

    Raises:
        UserError: Both or neither, or what `load` refuses.
    """
    if (checkpoint is None) == (not ensemble):
        raise UserError("give either checkpoint=FILE or ensemble=[RUN1,RUN2]")
    paths: list[Path] = []
    for one in map(Path, [checkpoint] if checkpoint is not None else ensemble):
        if ensemble and (one / FILE).is_file():
            paths += read_ensemble(one)
        else:
            paths.append(RunDir(one).best if ensemble and one.is_dir() else one)
    trusted = list(trust)
    return paths, [load_one(path, trust=trusted) for path in paths]


def write_ensemble(folder: Path, checkpoints: Iterable[Path]) -> None:
    """Write ensemble.json: the members' checkpoints, relative to the folder."""
    members = [path.relative_to(folder).as_posix() for path in checkpoints]
    write_json(folder / FILE, {"members": members})


def read_ensemble(path: Path) -> list[Path]:
    """The checkpoints of an ensemble, from its file or its folder.

    Raises:
        UserError: The file isn't one of an ensemble.
    """
    path = path / FILE if path.is_dir() else path
    try:
        members = json.loads(path.read_text(encoding="utf-8"))["members"]
        return [path.parent / str(member) for member in members]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} can't be read as an ensemble") from error
