"""Plans of data that are made up, on a machine that is."""

from typing import Any

import jobs

from medcnn.planning.auto.budget import Budget
from medcnn.planning.auto.fingerprint import Fingerprint
from medcnn.planning.auto.machine import Machine
from medcnn.planning.auto.plan import Plan, apply

SLOW = Machine("cpu", 1, "32-true", 8 * 10**9, (), 5e-10, 4.3e-11)  # of one core
FACTS: dict[str, Any] = {
    "name": "made up",
    "kind": "US",
    "task": "binary",
    "outputs": 2,
    "images": 624,
    "patients": 624,
    "official": 156,
    "rarest": 168,
    "dims": 2,
    "channels": 1,
    "size": (28, 28),
    "own": (28, 28),
    "spacing": None,
    "extents": None,
    "body": None,
    "lesion": None,
    "intensities": (0.0, 255.0),
    "reading": 0.0,
    "opening": 0.1,
}


def planned(
    seconds: float,
    *overrides: str,
    by_hand: Any = (),
    machine: Machine = SLOW,
    **facts: Any,
) -> Plan[Any]:
    cfg = jobs.compose("train", "plan=auto", *overrides)
    budget = Budget(seconds, now=lambda: 0.0)
    there = {key: ("command line", choice) for key, choice in dict(by_hand).items()}
    return apply(cfg, there, Fingerprint(**FACTS | facts), machine, budget)
