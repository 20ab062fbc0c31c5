"""The way back from a checkpoint to its classifier."""

import io
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from medcnn._version import __version__
from medcnn.classifier.build import make_classifier
from medcnn.classifier.classifier import CARD_KEYS, Classifier
from medcnn.data.formats.values import MAX_VALUES
from medcnn.errors import UserError
from medcnn.jobs.atomic_files import replacing
from medcnn.nets.base import SMALL_IMAGE
from medcnn.nets.pretrained.weights import check_finite
from medcnn.nets.variants import resolve

LARGE_STEM = {"alexnet": 63, "zfnet": 47}  # px that their imagenet stems took; others 32


class WholeFiles(TorchCheckpointIO):
    """Lightning's writer of checkpoints: each is whole, or the one before it stands."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Save a checkpoint in place of the one before it."""
        save(checkpoint, Path(path))


def save(checkpoint: dict[str, Any], path: Path) -> None:
    """Write a checkpoint file, which takes its place once the disk has all of it."""
    buffer = io.BytesIO()  # on a full disk torch.save itself raises no OSError
    torch.save(checkpoint, buffer)
    with replacing(path) as new:
        new.write_bytes(buffer.getbuffer())


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Return a checkpoint's tensors and plain values; nothing in the file is run.

    Raises:
        UserError: There is no such file, or it isn't a checkpoint of medcnn.
    """
    path = Path(path)
    try:
        if path.is_dir():
            hint = path / "checkpoints" / "best.ckpt"
            raise UserError(f"checkpoint={path} is a folder; a run's checkpoint is {hint}")
        with path.open("rb") as file:
            checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"checkpoint={path}: there is no such file") from error
    except PermissionError as error:
        raise UserError(f"checkpoint={path}: permission denied") from error
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
    model, size = card["config"]["model"], card["input_size"]
    if model.get("_target_") != "medcnn.nets.build" or model.get("stem") != "auto":
        return
    least = LARGE_STEM.get(resolve(model["name"])[0], 32)
    small = max(size) <= SMALL_IMAGE or min(size) < least
    model["stem"] = "small" if small and not model.get("pretrained") else "imagenet"


def load(checkpoint: str | Path, *, trust: Iterable[str] = ()) -> Classifier:
    """Return the classifier in a ``.ckpt`` file; see `medcnn.load`, which opens ensembles, too."""
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
