"""The truth and the decision on an image or a study, in words."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from medcnn.classifier.classifier import Classifier
from medcnn.objective import known


def caption(classifier: Classifier, label: Tensor, probs: Tensor, chosen: int) -> dict[str, Any]:
    """Return the words of a `GalleryItem` on the truth and the decision, at the operating point.

    The label is () or (K,); for the rest see `decision_words`.
    """
    names, task = classifier.class_names, classifier.objective.task
    words, probability = decision_words(classifier, probs, chosen)
    there, correct = known(label), None
    if task == "regression":
        true = f"{float(label[chosen]):.4g}" if there[chosen] else "unknown"
    else:
        true = _names(names, label)
        right = classifier.decide(probs[None])[0] == label
        correct = bool(right[there].all()) if there.any() else None
    return {"true": true, "predicted": words, "probability": probability, "correct": correct}


def decision_words(classifier: Classifier, probs: Tensor, chosen: int) -> tuple[str, float | None]:
    """Return the decision on an image in words, and its probability where it is of one class.

    Of several labels all that are called, each with its probability, the most probable first; and
    the one that the map explains where that isn't the first.

    Of probabilities (K,) on the CPU, and the class that the map explains; of a regression that is
    the target.
    """
    names, task = classifier.class_names, classifier.objective.task
    if task == "regression":
        return f"{float(probs[chosen]):.4g}", None
    decided = classifier.decide(probs[None])[0]
    if task != "multilabel":
        return names[int(decided)], float(probs[int(decided)])
    called = [k for k in probs.argsort(descending=True).tolist() if decided[k] == 1]
    words = ", ".join(f"{names[k]} {probs[k]:.2f}" for k in called) or "none"
    mapped = "" if called[:1] == [chosen] else f" (map: {names[chosen]} {probs[chosen]:.2f})"
    return words + mapped, None


def _names(names: Sequence[str], label: Tensor) -> str:
    """Return the class, or of several labels those that are there."""
    if label.ndim == 0:
        return names[int(label)] if known(label) else "unknown"
    found = [name for name, there in zip(names, label, strict=True) if there == 1]
    return ", ".join(found) or ("none" if known(label).all() else "unknown")
