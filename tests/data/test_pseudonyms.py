import hashlib
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medcnn.data.pseudonyms import pseudonymise
from medcnn.errors import UserError
from medcnn.jobs import pseudonym_key
from medcnn.jobs.pseudonym_key import load_key, pseudonym

KEY, OTHER_KEY = bytes(range(32)), bytes(32)


def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "image": ["ward 3/Müller.dcm", "ward 3/Müller.dcm", "x/2.dcm"],
            "patient": ["Müller, 1950", "Müller, 1950", "12"],
            "study": ["s1", "s1", "s2"],
            "slice": [0, 1, 0],
            "view": ["CC", "MLO", "CC"],
            "mask": ["m/1.png", None, np.nan],
            "split": ["train", "train", "test"],
            "label:Mass": [0, 1, -1],
            "site": ["A", "A", "B"],
            "sex": ["F", "F", "M"],
            "age": [71.0, 71.0, np.nan],
            "box_top": [1.0, 2.0, np.nan],
            "remark": ["seen by Dr Y", "", ""],
            "birth date": ["1950-01-01", "1950-01-01", "1960-01-01"],
        },
        index=[5, 6, 9],
    )


def test_pseudonym_is_the_start_of_hmac_sha256() -> None:
    padded = KEY.ljust(64, b"\0")  # RFC 2104, section 2
    inner = hashlib.sha256(bytes(b ^ 0x36 for b in padded) + b"patient:12").digest()
    outer = hashlib.sha256(bytes(b ^ 0x5C for b in padded) + inner).hexdigest()
    assert pseudonym("12", KEY, "patient") == f"p-{outer[:16]}"
    assert pseudonym(12, KEY, "patient") == pseudonym("12", KEY, "patient")


def test_pseudonyms_depend_on_value_key_and_kind() -> None:
    names = {
        pseudonym("1", KEY, "patient")[2:],
        pseudonym("2", KEY, "patient")[2:],
        pseudonym("1", OTHER_KEY, "patient")[2:],
        pseudonym("1", KEY, "image")[2:],
    }
    assert len(names) == 4


def test_nothing_of_patient_and_paths_is_left() -> None:
    before = table()
    after = pseudonymise(before, KEY)
    text = after.to_csv()
    for secret in ("Müller", "1950", "ward", "dcm", "s1", "m/1", "Dr Y", "birth"):
        assert secret not in text
    assert list(after.columns) == [c for c in before if c not in ("remark", "birth date")]
    assert before.equals(table())  # untouched


def test_what_is_kept_stays_as_it_is() -> None:
    after = pseudonymise(table(), KEY)
    kept = ["slice", "view", "split", "label:Mass", "site", "sex", "age", "box_top"]
    pd.testing.assert_frame_equal(after[kept], table()[kept])
    assert list(after.index) == [5, 6, 9]


def test_equal_values_have_equal_pseudonyms_and_missing_ones_none() -> None:
    after = pseudonymise(table(), KEY)
    assert after["patient"].iloc[0] == after["patient"].iloc[1] != after["patient"].iloc[2]
    assert after["image"].nunique() == 2
    assert after["image"].iloc[2] == pseudonym("x/2.dcm", KEY)
    assert after["mask"].notna().tolist() == [True, False, False]
    pattern = {"patient": "p", "image": "i", "study": "s"}
    for column, letter in pattern.items():
        assert after[column].map(lambda v, x=letter: re.fullmatch(f"{x}-[0-9a-f]{{16}}", v)).all()


def test_the_same_key_gives_the_same_table_and_another_one_another() -> None:
    pd.testing.assert_frame_equal(pseudonymise(table(), KEY), pseudonymise(table(), KEY))
    other = pseudonymise(table(), OTHER_KEY)
    assert not set(other["patient"]) & set(pseudonymise(table(), KEY)["patient"])


def test_numbers_as_patients() -> None:
    numbers = pd.DataFrame({"patient": [12, 13], "image": ["a", "b"]})
    assert pseudonymise(numbers, KEY)["patient"].iloc[0] == pseudonym("12", KEY, "patient")


def test_two_values_with_one_pseudonym_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pseudonym_key, "DIGITS", 1)
    many = pd.DataFrame({"patient": [str(n) for n in range(40)]})
    with pytest.raises(UserError, match="'patient' have one pseudonym"):
        pseudonymise(many, KEY)


def test_a_key_is_made_once_and_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "pseudonyms.key"
    key = load_key(path)
    assert len(key) == 32
    assert load_key(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == key.hex() + "\n"
    assert list(path.parent.iterdir()) == [path]
    assert load_key(tmp_path / "other.key") != key


def test_processes_at_once_get_one_key(tmp_path: Path) -> None:
    for attempt in range(20):
        path = tmp_path / f"{attempt}.key"
        with ThreadPoolExecutor(8) as pool:
            keys = set(pool.map(lambda _, p=path: load_key(p), range(8)))
        assert keys == {load_key(path)}


def test_a_key_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "k"
    key = load_key(path)
    pseudonym_key._make_key(path)
    assert load_key(path) == key


@pytest.mark.parametrize("text", ["", "abc", "g" * 64, "0" * 63, "0" * 66, "\xff" * 64])
def test_a_damaged_key_is_refused_and_kept(tmp_path: Path, text: str) -> None:
    path = tmp_path / "k"
    path.write_text(text, encoding="latin-1")
    path.chmod(0o600)
    with pytest.raises(UserError, match="not a key"):
        load_key(path)
    assert path.read_text(encoding="latin-1") == text


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "k"
    load_key(path)
    path.chmod(0o644)
    with pytest.raises(UserError, match="chmod 600"):
        load_key(path)


def test_a_key_that_cannot_be_made_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="64 hexadecimal digits") as error:
        load_key(tmp_path / "file" / "k")
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="can't be read or made"):
        load_key(tmp_path)
