"""Names in the cells of tables, written alike: of classes, patients, studies and sites."""

import re
import unicodedata
from collections.abc import Iterable

from medcnn.jobs.notes import visible

_UNSEEN = dict.fromkeys(map(ord, "\u200b\u2060\ufeff\u00ad"))  # spaces of no width, soft hyphen


def cleaned(text: str) -> str:
    r"""Return a text with composed accents (NFC), single spaces, and no sign that isn't seen.

    Signs without width are left out, control characters made visible.

    >>> cleaned("cafe\u0301 \u200b noir")
    'café noir'
    """
    if not text.isascii():
        text = unicodedata.normalize("NFC", text.translate(_UNSEEN))
    return visible(" ".join(text.split()))


def tidy(cell: str) -> str:
    """Return a name as it is compared: `cleaned`, and without the zeros of a whole number.

    100.0 is 100, which is how spreadsheets write it in a column with empty cells. What differs in
    capitals or leading zeros stays different.

    >>> tidy("100.0"), tidy("007")
    ('100', '007')
    """
    cell = cleaned(cell)
    match = re.fullmatch(r"(-?\d+)\.0+", cell)
    return match[1] if match else cell


def look_alikes(names: Iterable[str]) -> list[list[str]]:
    """Return the groups of different names that a person may take for one.

    They differ in capitals, leading zeros, or forms of the same letter (NFKC) only.

    >>> look_alikes(["P1", "p01", "P10"])
    [['P1', 'p01']]
    """
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        groups.setdefault(_folded(name), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _folded(name: str) -> str:
    plain = name if name.isascii() else unicodedata.normalize("NFKC", name)
    return re.sub(r"(?<!\d)0+(?=\d)", "", plain.casefold())
