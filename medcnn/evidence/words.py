"""Figures as the words of a verdict."""

import numpy as np

from medcnn.evidence.summary import Record


def word(gain: Record, more: str, less: str, same: str) -> str:
    """Return the word for a difference: more or less where its interval leaves out 0."""
    if gain["low"] is not None and gain["low"] > 0:
        return more
    return less if gain["high"] is not None and gain["high"] < 0 else same


def percent(share: float) -> str:
    """Return a share in percent; a dash for NaN."""
    return "–" if np.isnan(share) else f"{100 * share:.0f} %"


def interval_of(record: Record) -> str:
    """Return a difference of shares, in points, with its interval where it has one."""
    if record["value"] is None:
        return "–"
    text = f"{100 * record['value']:.1f}"
    if record["low"] is None:
        return text
    return f"{text} [{100 * record['low']:.1f}, {100 * record['high']:.1f}]"
