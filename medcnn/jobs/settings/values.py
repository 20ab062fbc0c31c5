"""The kinds of values that settings hold.

A check raises the UserError of a value without its key, which `medcnn.jobs.settings.read` puts
before it: ``=0: give a whole number, at least 1``.
"""

import re
from collections.abc import Callable, Sequence
from math import inf
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from medcnn.errors import UserError, check_path, check_whole_number
from medcnn.jobs.lacking import lacking

SECONDS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
LEAST_BUDGET = 180  # seconds of a planned training: below, what isn't training takes most of them
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def checked(check: Callable[..., object], **limits: Any) -> BeforeValidator:
    """Return what lets those values through that a check doesn't refuse."""

    def validate(value: Any) -> Any:
        check("", value, **limits)
        return value

    return BeforeValidator(validate)


def several(words: Sequence[str]) -> BeforeValidator:
    """Return what makes a list of one word or several; all stays as it is."""

    def validate(value: Any) -> Any:
        known = words if isinstance(value, list) else ("all", *words)
        for one in value if isinstance(value, list) else [value]:
            check_choice("", one, known=known)
        return value if value == "all" else _listed(value)

    return BeforeValidator(validate)


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def check_choice(key: str, value: Any, *, known: Sequence[Any]) -> None:
    """Raise UserError unless a value is one of those that are known."""
    if not any(value == word and type(value) is type(word) for word in known):  # True == 1
        words = ", ".join(str(word).lower() for word in known)
        raise UserError(f"{key}={value}: {lacking(value) or f'choose one of {words}'}")


def is_number(value: object) -> bool:
    """Return True of a finite number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < inf


def _number(way: str, fits: Callable[[float], bool]) -> BeforeValidator:
    """Return what lets finite numbers through that fit."""

    def check(key: str, value: Any) -> None:
        if not is_number(value) or not fits(value):
            raise UserError(f"{key}={value}: give {way}")

    return checked(check)


def parse_duration(key: str, value: Any) -> float:
    """Return the seconds of a time such as 90s, 10min, 2h or 1.5h.

    >>> parse_duration("budget", "10min")
    600.0

    Raises:
        UserError: Anything else; a number without a unit is none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]+)", str(value).strip().lower())
    if match is None or match[2] not in SECONDS:
        raise UserError(f"{key}={value}: give a time with its unit, such as 10min, 90s or 2h")
    return float(match[1]) * SECONDS[match[2]]


def _check_budget(key: str, value: Any) -> None:
    if value is not None and parse_duration(key, value) < LEAST_BUDGET:
        raise UserError(f"{key}={value}: a plan needs at least {LEAST_BUDGET // 60}min")


def _check_levels(key: str, value: Any) -> None:
    inside = isinstance(value, list) and all(isinstance(x, float) and 0 < x < 1 for x in value)
    if not inside or 0.5 not in value or value != sorted(set(value)):
        raise UserError(
            f"{key}={value}: give rising shares between 0 and 1, 0.5 among them: [0.05,0.5,0.95]"
        )


def parse_bytes(key: str, value: str | float) -> int:
    """Return a number of bytes such as 64MB or 50 GB, in powers of 1000.

    >>> parse_bytes("cache.memory", "64MB")
    64000000

    Raises:
        UserError: Anything else.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", str(value).strip(), re.IGNORECASE)
    if match is None:
        raise UserError(f"{key}={value}: give a size such as 500MB or 20GB")
    return int(float(match[1]) * UNITS[match[2].upper()])


Method = Literal[  # of medcnn.cam, whose import takes seconds
    "cam", "gradcam", "gradcampp", "hirescam", "xgradcam", "layercam", "scorecam", "ablationcam",
    "eigencam", "occlusion", "gradient", "smoothgrad", "integrated_gradients", "guided_backprop",
]  # fmt: skip
ScoreGroup = Literal[
    "localisation", "reliance", "faithfulness", "sanity", "stability", "shortcut", "views",
    "channels",
]  # fmt: skip
Accelerator = Literal["auto", "cpu", "gpu", "cuda"]
Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]
Aggregation = Literal["mean", "max", "noisy-or"]
Calibration = Literal["none", "temperature", "isotonic"]
AugmentedTest = Literal["none", "flips"]
Normalisation = Literal["zscore", "mean", "pixel_mean", "whiten", "image", "none"]
OnError = Literal["stop", "skip"]
Split = Literal["train", "val", "test", "holdout", "new"]
YesOrWarn = Annotated[bool | Literal["warn"], checked(check_choice, known=(True, False, "warn"))]
Place = Annotated[str, checked(check_path)]
Places = Annotated[list[str], BeforeValidator(_listed)]
Seed = Annotated[int, checked(check_whole_number, least=0, most=2**32 - 1)]
Folds = Annotated[int, checked(check_whole_number, least=2, most=100)]
AtLeast0 = Annotated[int, checked(check_whole_number, least=0)]
AtLeast1 = Annotated[int, checked(check_whole_number, least=1)]
NotNegative = Annotated[int | float, _number("a number, at least 0", lambda x: x >= 0)]
AboveZero = Annotated[int | float, _number("a number above 0", lambda x: x > 0)]
Clip = Annotated[int | float, _number("a number above 0, or null", lambda x: x > 0)]
Share = Annotated[int | float, _number("a share, above 0 and up to 1", lambda x: 0 < x <= 1)]
Below1 = Annotated[int | float, _number("a share, at least 0 and below 1", lambda x: 0 <= x < 1)]
Duration = Annotated[str, checked(parse_duration)]
Levels = Annotated[list[float], checked(_check_levels)]
Multiple = Annotated[int | float, _number("a number, at least 1, or null", lambda x: x >= 1)]
Prevalence = Annotated[float, _number("a share between 0 and 1, or null", lambda x: 0 < x < 1)]
Batches = Annotated[
    int | float,
    _number(
        "a share, above 0 and up to 1.0, or a number of batches, at least 1",
        lambda x: 0 < x <= 1 if isinstance(x, float) else x >= 1,
    ),
]
Memory = Annotated[
    str | int | float, checked(lambda key, value: value == "auto" or parse_bytes(key, value))
]
Budget = Annotated[Any, checked(_check_budget)]
Disk = Annotated[str | int | float, checked(parse_bytes)]
Node = dict[str, Any]  # a class or function, and its options: looked at where it is called
