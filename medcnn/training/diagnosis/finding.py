"""What a check of a training found."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Any


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Args:
        check: Its name, as in `medcnn.training.diagnosis.run`.
        passed: True or False; None where it can't tell, and `line` says why.
        line: What was seen, with its numbers.
        cause: What usually causes it and what to do; empty unless it failed.
        figures: Numbers and lists of them, for diagnosis.json and its page.
    """

    check: str
    passed: bool | None
    line: str
    cause: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """What was seen and what usually causes it, in one line."""
        return f"{self.line}: {self.cause}" if self.cause else self.line

    def plain(self) -> dict[str, Any]:
        """Return dicts, lists and values alone; numbers that JSON lacks are None."""
        content: dict[str, Any] = _finite(asdict(self))
        return content


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return value
