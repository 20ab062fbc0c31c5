import base64
import io
import re
from pathlib import Path

import numpy as np
from PIL import Image

from medcnn.report.run import maps as run_maps


def test_outline_is_the_edge_of_the_mask() -> None:
    rng = np.random.default_rng(0)
    mask = rng.random((9, 7)) < 0.5
    total = 0.0
    for x, y, way, end in re.findall(r"M(\d+) (\d+)([HV])(\d+)", run_maps.outline(mask)):
        total += int(end) - int(x if way == "H" else y)
    padded = np.pad(mask, 1)
    edges = (padded[1:] != padded[:-1]).sum() + (padded[:, 1:] != padded[:, :-1]).sum()
    assert total == edges
    assert run_maps.outline(np.zeros((3, 3), bool)) == ""


def test_large_pictures_are_shrunk_and_colour_is_kept(tmp_path: Path) -> None:
    Image.new("RGB", (900, 450), (200, 30, 40)).save(tmp_path / "a.png")
    record = {"row": 1, "image": "a.png", "map": "a.png", "mask": None, "empty": True}
    (layers,) = run_maps.read_layers([record, {"image": "a.png"}], tmp_path, "sample")
    picture = Image.open(io.BytesIO(base64.b64decode(layers.panes[0].image.split(",")[1])))
    assert picture.size == (320, 160)
    assert picture.mode == "RGB"
    assert layers.panes[0].map == ""
    assert layers.label.endswith("The map is empty.")
    assert not layers.panes[0].small
    assert len(run_maps.read_layers([record] * 40, tmp_path, "sample")) == 24
    middle = np.zeros((9, 9), np.uint8)
    middle[4, 4] = 255
    Image.fromarray(middle).save(tmp_path / "m.png")
    record = {"row": 1, "image": "m.png", "map": "m.png", "mask": "m.png", "method": "new"}
    (layers,) = run_maps.read_layers([record], tmp_path, "sample")
    assert "new map over it, highest in the middle; 100 % of it on the lesion." in layers.label
    assert layers.panes[0].small
