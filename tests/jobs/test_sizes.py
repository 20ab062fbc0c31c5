"""Sizes of a cache in words, such as 64MB."""

import pytest

from medcnn.errors import UserError
from medcnn.jobs.settings.values import parse_bytes


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("64MB", 64 * 10**6),
        ("50 GB", 50 * 10**9),
        ("1.5k", 1500),
        ("2T", 2 * 10**12),
        (" 7b ", 7),
        (123, 123),
    ],
)
def test_sizes_in_bytes(text: str | int, size: int) -> None:
    assert parse_bytes("cache.disk", text) == size


@pytest.mark.parametrize("text", ["", "GB", "-5GB", "5GiB", "5 5", "1e9", "auto", "None"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"^cache\.memory=.*: give a size such as"):
        parse_bytes("cache.memory", text)
