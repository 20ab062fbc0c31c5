import pytest

from medcnn.jobs.notes import fresh, note, once, shortened, visible


def test_a_note_is_said_once_in_a_block(caplog: pytest.LogCaptureFixture) -> None:
    with once():
        for text in ("a\x1b[2J", "b", "a\x1b[2J"):
            note(text)
        assert not fresh("b")
    note("b")
    assert fresh("b")
    assert caplog.messages == [r"note: a\x1b[2J", "note: b", "note: b"]


def test_what_a_terminal_would_obey_is_visible() -> None:
    assert visible("a\x9b\u202eb\u2066\udcff.png") == r"a\x9b\u202eb\u2066\udcff.png"
    kept = "Zoë\n李\u200d\t½"
    assert visible(kept) == kept


def test_many_names_are_shortened() -> None:
    assert shortened(["a"] * 8, ", ") == ", ".join("a" * 8)
    assert shortened(["a"] * 9, ", ").endswith("a, … (9 in all)")
