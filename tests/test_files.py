from pathlib import Path

import pytest

from medcnn.files import replacing


def fail_half_way(path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_text("half")
        raise OSError("disk full")


def test_the_old_file_stands_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "table.csv"
    with replacing(path) as temporary:
        assert temporary.suffix == ".csv"
        temporary.write_text("old")
        assert not path.exists()
    with pytest.raises(OSError, match="disk full"):
        fail_half_way(path)
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]
