"""The key of the pseudonyms, and the pseudonym of one value."""

import hashlib
import hmac
import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

from medcnn.errors import UserError

DIGITS = 16  # of a pseudonym: of a million values two share one once in 40 million data sets


def load_key(path: Path) -> bytes:
    """Read the key of the pseudonyms; make one where there is none yet.

    The file holds 64 hexadecimal digits, and only its owner may read it: whoever has the key can
    find out whether a name that he guesses is behind a pseudonym. Processes that make it at the
    same time end with the same key.

    Returns:
        32 bytes.

    Raises:
        UserError: The file is damaged, others may read it, or it can't be made.
    """
    try:
        if not path.exists():
            _make_key(path)
        text, mode = path.read_text(encoding="ascii", errors="replace"), path.stat().st_mode
    except OSError as error:
        raise UserError(
            f"{path}: the key of the pseudonyms can't be read or made ({error.strerror}): "
            "save 64 hexadecimal digits there (python -c 'import secrets; "
            "print(secrets.token_hex(32))')"
        ) from error
    if os.name == "posix" and mode & 0o077:
        raise UserError(f"{path}: others may read this key of the pseudonyms: chmod 600 it")
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text.strip()):
        raise UserError(
            f"{path}: not a key of pseudonyms (64 hexadecimal digits): put back the right one, "
            "or delete it for a new one, which gives other pseudonyms"
        )
    return bytes.fromhex(text.strip())


def _make_key(path: Path) -> None:
    """Write a key whole under another name, and give it its own unless that is taken by now."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(f"{secrets.token_hex(32)}\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # another process was faster
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def pseudonym(value: object, key: bytes, kind: str = "image") -> str:
    """Return a value's pseudonym: its kind's first letter and 16 hexadecimal digits.

    The first 64 bits of HMAC-SHA256 (RFC 2104). The kind is hashed too, so that a patient and an
    image of the same name have nothing in common.

    Args:
        value: Compared by its text: 12 and "12" are one.
        key: Of `load_key`.
        kind: Such as "image" or "patient".

    >>> pseudonym("a.png", bytes(32))
    'i-e58d7f60a8307351'
    """
    digest = hmac.new(key, f"{kind}:{value}".encode(), hashlib.sha256).hexdigest()
    return f"{kind[0]}-{digest[:DIGITS]}"
