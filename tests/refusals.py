"""Errors that a person at the keyboard reads."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from medcnn.errors import UserError

SECRET = "Doe^Jane"  # what no message may hold


@contextmanager
def refused(words: str) -> Iterator[None]:
    """An error of one line with these words, and without a patient's name."""
    with pytest.raises(UserError, match=words) as caught:
        yield
    assert "\n" not in str(caught.value)
    assert SECRET not in str(caught.value)
