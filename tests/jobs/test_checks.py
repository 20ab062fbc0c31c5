"""Keys and values of a config are looked at before anything starts."""

import jobs
import pytest

from medcnn.cam import METHODS
from medcnn.classifier.classifier import CALIBRATIONS
from medcnn.classifier.normalise import KINDS
from medcnn.errors import UserError
from medcnn.evidence.plan import GROUPS
from medcnn.jobs import checks
from medcnn.jobs.checks import CHOICES, LISTS, check_config, known_keys

ROOTS = ("train", "evaluate", "predict", "explain", "features", "data", "report")


def test_the_words_are_those_of_the_modules() -> None:
    assert checks.METHODS == METHODS
    assert LISTS["scores"] == GROUPS
    assert CHOICES["normalise"] == KINDS
    assert CHOICES["calibration"] == CALIBRATIONS


@pytest.mark.parametrize("root", ROOTS)
def test_the_defaults_pass(root: str) -> None:
    cfg = jobs.compose(root)
    check_config(cfg, root)
    assert set(cfg) - {"dataset"} <= set(known_keys(root))


def test_each_kind_of_value() -> None:
    cfg = jobs.compose("train", "trainer.devices=auto", "cache.memory=2 GB")
    check_config(cfg, "train")
    cfg = jobs.compose("explain", "methods=[cam,gradcam]", "scores=all", "limit=3", "scores=[]")
    check_config(cfg, "explain")


@pytest.mark.parametrize(
    ("root", "override", "message"),
    [
        ("train", "cam.method=gradcamm", "cam.method=gradcamm: choose one of cam, gradcam"),
        ("train", "cache.memory=lots", "cache.memory=lots: give a size such as"),
        ("train", "cache.disk=auto", "cache.disk=auto: give a size such as"),
        ("train", "trainer.gradient_clip_val=-1", "trainer.gradient_clip_val=-1: give a number ab"),
        ("train", "trainer.accelerator=ipu", "trainer.accelerator=ipu: choose one of auto"),
        ("train", "trainer.requeue=1", "trainer.requeue=1: choose one of true, false"),
        ("train", "trainer.deterministic=1", "trainer.deterministic=1: choose one of true"),
        ("train", "trainer.limit_val_batches=few", "trainer.limit_val_batches=few: give a share"),
        ("train", "transfer.head_lr=high", "transfer.head_lr=high: give a number"),
        ("train", "shuffle_labels=maybe", "shuffle_labels=maybe: choose one of true, false"),
        ("train", "folds=2.5", "folds=2.5: give a whole number"),
        ("evaluate", "tta=mirror", "tta=mirror: choose one of none, flips"),
        ("predict", "dense=1", "dense=1: choose one of true, false"),
        ("explain", "methods=[cam,magic]", "methods=magic: choose one of cam"),
        ("explain", "scores=beauty", "scores=beauty: choose one of all, localisation"),
        ("features", "channels=99", "channels=99: give a whole number, 1 … 32"),
        ("data", "n=0", "n=0: give a whole number, 1 … 500"),
        ("data", "on_error=go", "on_error=go: choose one of stop, skip"),
        ("data", "on_error=null", "on_error=None: choose one of stop, skip"),
        ("data", "strict=1", "strict=1: choose one of true, false"),
        ("data", "pseudonymise=maybe", "pseudonymise=maybe: choose one of true, false"),
        ("data", "near_duplicates=2", "near_duplicates=2: choose one of true, false"),
        ("data", "cache.folder=null", "cache.folder=None: give a path"),
    ],
)
def test_a_value_that_cannot_be(root: str, override: str, message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}".replace("[", r"\[")):
        check_config(jobs.compose(root, override), root)


@pytest.mark.parametrize(
    ("root", "override", "key"),
    [
        ("train", "+no_such_key=1", "no_such_key"),
        ("train", "+cam.metod=cam", r"cam.metod \(did you mean cam.method"),
        ("train", "+splits.shares.rest=1", "splits.shares.rest"),
        ("train", "+objective.loss=focal", "objective.loss"),
        ("predict", "+dataset.size=8", "dataset.size"),
        ("evaluate", "+dataset.side=8", "dataset.side"),
    ],
)
def test_a_key_that_there_is_not(root: str, override: str, key: str) -> None:
    with pytest.raises(UserError, match=f"^there is no key {key}"):
        check_config(jobs.compose(root, override), root)


def test_options_of_a_call_are_its_own_to_refuse() -> None:
    calls = ("+model.flavour=sweet", "+trainer.max_time=1", "+callbacks.mine._target_=a.B")
    check_config(jobs.compose("train", *calls), "train")
