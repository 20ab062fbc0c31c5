"""Time and memory of a training, from the facts of data and machine and what is chosen so far."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from math import ceil, prod
from typing import Any

from medcnn.jobs.settings.commands import Train
from medcnn.planning.auto.choices import changed
from medcnn.planning.auto.fingerprint import Fingerprint
from medcnn.planning.auto.machine import Machine, Work

# Measured on BreastMNIST and 2,044 slices of brain MRI, two busy cores: what a fold takes beside
# its epochs, and the whole at the end (ensemble, pooled figures, pages).
FOLD, END = 4.0, 6.0  # seconds
AUDIT = 0.0015  # seconds an image: duplicates are looked for
ERRORS = 12  # images with a map beside those of the gallery: the worst errors
PICTURE, PIXEL = 0.06, 1.2e-6  # seconds that a picture takes, and each pixel of its file
CHILD = 8.0  # seconds that a process of its own takes to begin
EPOCH = 0.1  # seconds between two epochs, without the weights
DISK = 3e8  # bytes a second at which weights are written; last.ckpt holds three times theirs
LOADING = 1.1  # times a measured step: a trainer's own work
SCORED = 3.0  # forward passes that the map of an image costs
USED = 0.7  # share of the free memory that a step may take, the rest is for all else
STATES = 5 * 4  # bytes a weight: itself, gradient, two moments of the optimiser, average


@dataclass
class Needs:
    """What the rules see: facts, time, and what is chosen so far.

    Args:
        data: Facts of the data.
        machine: Facts of the machine.
        budget: Seconds of all.
        left: Seconds from now on.
        cfg: With what is set by hand and what was chosen so far.
        work: From settings, changed by some values, to what the net does for an image.
        cpus: Cores that read files.
        kept: Keys that no rule changes: set by hand, or of rules that are left out.
        chosen: Values by their keys, groups by their names.
    """

    data: Fingerprint
    machine: Machine
    budget: float
    left: float
    cfg: Train
    work: Callable[[dict[str, Any]], Work]
    cpus: int = 1
    kept: Collection[str] = ()
    chosen: dict[str, Any] = field(default_factory=dict)

    def is_free(self, key: str) -> bool:
        """Return whether a rule may set a key."""
        return key not in self.kept

    @property
    def size(self) -> tuple[int, ...]:
        """Edges of the network's input, as chosen so far."""
        given: Any = self.cfg.dataset.get("size")
        side = tuple(given) if isinstance(given, list) else (given,) * self.data.dims
        return self.data.size or side

    @property
    def cut(self) -> float:
        """What is kept of a file's edges, as a share: below 1 where it is cut to the body."""
        body = self.data.body if self.cfg.dataset.get("crop") == "body" else None
        return 1.0 if body is None else float(body ** (1 / self.data.dims))

    @property
    def folds(self) -> int:
        """Trainings to do."""
        return self.cfg.folds if self.cfg.fold == "all" else 1

    def given(self, values: dict[str, Any]) -> "Needs":
        """Return the same with other values chosen."""
        return replace(self, cfg=changed(self.cfg, values))

    @property
    def at_once(self) -> int:
        """Trainings side by side."""
        return min(self.cfg.folds_at_once, self.folds)

    @property
    def rounds(self) -> int:
        """Trainings one after the other."""
        return ceil(self.folds / self.at_once)

    @property
    def looks(self) -> int:
        """Looks at each image that is tested."""
        return 1 if self.cfg.tta == "none" else 2 ** len(self.cfg.augment.get("flip") or [])

    @property
    def shares(self) -> tuple[float, float, float]:
        """Shares of the images that a training trains, validates and tests on, about."""
        given = self.cfg.splits.shares
        if self.cfg.fold is None:
            whole = given.train + given.val + (0 if self.data.official else given.test)
            return given.train / whole, given.val / whole, 1 - (given.train + given.val) / whole
        train = given.train / (given.train + given.val) * (1 - 1 / self.cfg.folds)
        return train, 1 - 1 / self.cfg.folds - train, 1 / self.cfg.folds

    @property
    def train_images(self) -> float:
        """Images of a pass."""
        return max(1.0, self.shares[0] * self.data.images)

    def files(self) -> float:
        """Return the seconds in which files are made into images, once."""
        return self.data.reading * (self.data.images + self.data.official) / self.cpus

    def fold(self, values: dict[str, Any]) -> float:
        """Return the seconds that a training takes beside its epochs."""
        f, image = self.data, self._testing(values)
        tested = f.images * sum(self.shares[1:]) + (f.official if self.folds == 1 else 0)
        opened = f.opening + AUDIT * (f.images + f.official)
        seen = opened + self.looks * tested * image
        return FOLD + seen + self.maps(self.cfg.cam.n, image)

    def _testing(self, values: dict[str, Any]) -> float:
        """Return the seconds that an image takes in the test of a training among others."""
        seconds = self.machine.testing(self.work(values))
        return seconds * self.machine.slower(self.at_once)

    def maps(self, shown: int, image: float) -> float:
        """Return the seconds that the maps of a training take."""
        if shown == 0:
            return 0.0
        pictures = shown + ERRORS
        pointed = self.shares[2] * self.data.images if self.data.lesion is not None else 0
        drawn = pictures * (PICTURE + PIXEL * prod(self.data.own[-2:]))
        return drawn + (pictures + pointed) * SCORED * image

    def end(self, values: dict[str, Any]) -> float:
        """Return the seconds that an ensemble takes after the last training."""
        if self.folds == 1:
            return 1.0
        f, image = self.data, self.machine.testing(self.work(values))
        unseen = f.images * sum(self.shares[1:])
        images = self.looks * self.folds * (unseen + f.official)
        return END + f.opening + images * image

    def beside(self, values: dict[str, Any]) -> float:
        """Return the seconds that all but the epochs takes."""
        child = CHILD if self.at_once > 1 else 0.0
        return self.files() + self.rounds * (self.fold(values) + child) + self.end(values)

    def epoch(self, values: dict[str, Any]) -> float:
        """Return the seconds of a pass over the training images and its validation."""
        work = self.work(values)
        train, val = (share * self.data.images for share in self.shares[:2])
        seconds = train * self.machine.training(work) * LOADING + val * self.machine.testing(work)
        seconds *= self.machine.slower(self.at_once)
        return seconds + EPOCH + 4 * 4 * work.parameters / DISK

    def passes(self, values: dict[str, Any]) -> float:
        """Return how many passes there is time for, in each of the trainings."""
        return (self.left - self.beside(values)) / (self.rounds * self.epoch(values))

    def room(self, values: dict[str, Any]) -> int | None:
        """Return how many images a step has memory for; None of a net that can't be counted."""
        work = self.work(values)
        if work.memory == 0:
            return None
        free = USED * self.machine.memory / self.at_once - STATES * work.parameters
        return max(0, int(free) // work.memory)

    def fits(self, values: dict[str, Any], images: int = 1) -> bool:
        """Return whether a step has memory for so many images."""
        room = self.room(values)
        return room is None or room >= images

    def seconds_for(self, passes: float) -> float:
        """Return the budget with which there would be time for so many passes."""
        spent = self.budget - self.left
        return spent + self.beside({}) + 1.2 * passes * self.rounds * self.epoch({})
