import re

import numpy as np

from medcnn.report import svg


def test_lines_without_what_changes_nothing() -> None:
    plot = svg.Plot((0, 10), (0, 10), "x", "y", size=(svg.LEFT + 14 + 100, 10 + 40 + 100))
    plot.line([0, 0, 0, 5, 5, 10], [0, 5, 10, 10, 10, 10], "a")
    assert plot.marks == ['<path class="a" d="M0 100L0 0L100 0"/>']
    plot.line([0, 1, np.nan, 2, 3], [0, 1, 1, 2, 5], "a")
    assert plot.marks[1] == '<path class="a" d="M0 100L10 90M20 80L30 50"/>'
    plot.line([0, 0, 0], [0, 10, 5], "a")  # there and back
    assert plot.marks[2] == '<path class="a" d="M0 100L0 0L0 50"/>'
    plot.line([np.nan], [np.nan], "a")
    assert plot.marks[3] == '<path class="a" d=""/>'
    plot.band([0, 1], [np.nan, np.nan], [1, 1])
    plot.dots([np.nan, 1], [1, 1])
    plot.whiskers([1, 2], [0, np.nan], [1, 1], "error")
    plot.bars([1, np.nan, 2], [0.5, 0.5, 0], 1)
    assert [mark.split()[0] for mark in plot.marks[4:]] == ["<circle", "<path", "<rect"]
    assert plot.marks[6] == '<rect class="bar" x="5.0" y="50.0" width="10.0" height="50.0"/>'


def test_numbers_of_an_axis_leave_room_for_its_name() -> None:
    drawn = svg.Plot((0, 1), (-0.79, -0.6), "x", "y").svg("")
    right = float(re.findall(r'x="(\d+)"[^>]*>−0\.75<', drawn)[0])
    name = float(re.findall(r'x="(\d+)"[^>]*>y<', drawn)[0])
    assert right - 5 * 6.6 > name + 12.5 / 2  # digits of 11.5 px, and half a line of 12.5 px


def test_spans_and_ticks() -> None:
    assert svg.span([np.nan, 2.0, 4.0], margin=0.5) == (1.0, 5.0)
    assert svg.span([np.nan]) == (0.0, 1.0)
    low, high = svg.span([3.0])
    assert low < 3 < high
    assert svg.ticks(64.1, 140.1, 4) == [80, 100, 120, 140]


def test_forest_marks_stay_within_the_scale() -> None:
    mark = svg.interval_mark({"value": 0.5, "low": -3.0, "high": 9.0}, (0.0, 1.0), 0.25)
    assert 'M0.0 15H160.0"' in mark
    assert 'cx="80.0"' in mark
    assert 'M40.0 0V30"' in mark
    assert "circle" not in svg.interval_mark({}, (0.0, 1.0), None)
