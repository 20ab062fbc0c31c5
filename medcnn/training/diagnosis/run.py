"""All checks of a training, in the order in which one's fault explains another's."""

import time
from collections.abc import Callable, Iterable, Iterator

from medcnn.training.diagnosis import labels as of_labels
from medcnn.training.diagnosis import start
from medcnn.training.diagnosis.evaluation_mode import evaluation_mode
from medcnn.training.diagnosis.finding import Finding
from medcnn.training.diagnosis.frozen import frozen_parts
from medcnn.training.diagnosis.gradients import finite_differences
from medcnn.training.diagnosis.inputs import augmentation, inputs, validation_images
from medcnn.training.diagnosis.largest_batch import largest_batch
from medcnn.training.diagnosis.overfit import overfit
from medcnn.training.diagnosis.parts import Parts, preserved
from medcnn.training.diagnosis.rate_test import rate_test
from medcnn.training.diagnosis.signal import signal

Check = Callable[[Parts], Finding | list[Finding]]
CHECKS: dict[str, Check] = {
    "inputs": inputs,
    "labels": of_labels.labels,
    "class weights": of_labels.class_weights,
    "augmentation": augmentation,
    "validation images": validation_images,
    "logits": start.logits_are_free,
    "loss at the start": start.loss_at_start,
    "frozen parts": frozen_parts,
    "signal": signal,
    "finite differences": finite_differences,
    "evaluation mode": evaluation_mode,
    "overfitting": overfit,
    "shuffled labels": of_labels.shuffled,
}
SUGGESTIONS: dict[str, Check] = {"learning-rate range": rate_test, "largest batch": largest_batch}
AT_START = ("inputs", "labels", "class weights", "loss at the start", "frozen parts")


def findings(
    parts: Parts, names: Iterable[str] = tuple(CHECKS), seconds: float = float("inf")
) -> Iterator[Finding]:
    """Yield what each check finds; all that they change is put back after each.

    A check that can't be done, as on a net that does something unforeseen, says why.

    Args:
        parts: Of the training.
        names: Of the checks.
        seconds: After which no further check begins.
    """
    end = time.perf_counter() + seconds
    for name in names:
        if time.perf_counter() > end:
            yield Finding(name, None, f"left out, as the checks before took {seconds:g} s")
            continue
        with preserved(parts.module):
            found = _done(name, parts)
        yield from found


def _done(name: str, parts: Parts) -> list[Finding]:
    try:
        found = (CHECKS | SUGGESTIONS)[name](parts)
    except Exception as error:  # of a net or data set that isn't ours
        text = " ".join(str(error).split())
        return [Finding(name, None, f"can't be checked: {type(error).__name__}: {text}")]
    return found if isinstance(found, list) else [found]
