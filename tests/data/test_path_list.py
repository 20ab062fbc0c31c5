from pathlib import Path

from medcnn.data.path_list import PathList, write_paths


def test_any_part_of_a_list_can_be_read(tmp_path: Path) -> None:
    names = ["a b.png", "c\nd.png", "é/x.png", "\udcff.png", "last"]
    digest = write_paths(iter(names), tmp_path / "images")
    found = PathList(tmp_path / "images")
    assert len(found) == 5
    for first in range(5):
        for last in range(first, 6):
            assert found.names(first, min(last, 5)) == names[first:last]
    assert digest == write_paths(names, tmp_path / "other")
    assert digest != write_paths([*names[:3], "\udcff.pnglast"], tmp_path / "other")
