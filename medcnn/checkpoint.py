"""The way back from a checkpoint to its classifier."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from medcnn import __version__
from medcnn.assemble import make_classifier
from medcnn.classifier import CARD_KEYS, Classifier
from medcnn.data.formats.values import MAX_VALUES
from medcnn.errors import UserError, check_checkpoint
from medcnn.nets.base import SMALL_IMAGE
from medcnn.nets.weights import check_finite


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """A checkpoint's tensors and plain values; nothing in the file is run.

    Raises:
        UserError: There is no such file, or it isn't a checkpoint of medcnn.
    """
    path = Path(path)
    if path.is_dir():
        hint = path / "checkpoints" / "best.ckpt"
        raise UserError(f"checkpoint={path} is a folder; a run's checkpoint is {hint}")
    check_checkpoint(path)
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever unpickling raises on a file that is something else
        raise UserError(f"{path} is not a checkpoint, or a damaged one") from error
    card = checkpoint.get("medcnn") if isinstance(checkpoint, dict) else None
    if not isinstance(card, dict) or "state_dict" not in checkpoint:
        raise UserError(f"{path} is not a checkpoint of medcnn")
    missing = [key for key in CARD_KEYS if key not in card]
    if missing:
        raise UserError(
            f"{path} lacks {', '.join(missing)}: it was written by medcnn "
            f"{card.get('version', 'of unknown version')}, this is {__version__}"
        )
    _check_size(path, card)
    return checkpoint


def _check_size(path: Path, card: dict[str, Any]) -> None:
    """Raise UserError for an input that no network had, and that would fill the memory."""
    size = [card["in_channels"], *card["input_size"]]
    if not all(type(edge) is int and edge > 0 for edge in size) or math.prod(size) > MAX_VALUES:
        text = " × ".join(map(str, size))
        raise UserError(f"{path} says that its network takes images of {text}, which can't be")


def _name_stem(card: dict[str, Any]) -> None:
    """Name the stem in a card from before there was a medium one, when it held ``auto``."""
    model = card["config"]["model"]
    if model.get("stem") == "auto":
        model["stem"] = "small" if max(card["input_size"]) <= SMALL_IMAGE else "imagenet"


def load(checkpoint: str | Path, *, trust: Iterable[str] = ()) -> Classifier:
    """The ready classifier in a checkpoint, on the CPU, in evaluation mode.

    Args:
        checkpoint: A ``.ckpt`` file of medcnn.
        trust: Your own classes that its config names, as ``package.Class``.

    Example:
        ``medcnn.load("runs/…/checkpoints/best.ckpt").classify(images)``

    Raises:
        UserError: Not a checkpoint, or one that names a class which is not trusted.
    """
    content = read_checkpoint(checkpoint)
    card = {key: value for key, value in content["medcnn"].items() if key != "version"}
    _name_stem(card)
    classifier = make_classifier(card, trust)
    try:
        classifier.load_state_dict(content["state_dict"])
    except RuntimeError as error:
        raise UserError(
            f"{checkpoint}: its weights don't fit the net that its config describes"
        ) from error
    check_finite(content["state_dict"], f"checkpoint={checkpoint}")
    return classifier.eval()
