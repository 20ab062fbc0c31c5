import errno
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jobs
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from medcnn.errors import UserError
from medcnn.jobs import command_line as cli
from medcnn.jobs.arguments import AS_TYPED, quote_text
from medcnn.jobs.settings.commands import Train

pytestmark = pytest.mark.no_cover  # twice as slow with coverage; other tests cover the lines

Result = tuple[int, str, list[str]]  # exit code, stdout, lines of stderr
Command = Callable[..., Result]
MADE = """
import sys
from medcnn.jobs import command_line as cli
def task(cfg, trust):
    {body}
cli.main(task, "train")
"""


class Recorder:
    """A task that does nothing but keep what it was called with."""

    def __init__(self, fail_for: str = "") -> None:
        self.configs: list[Train] = []
        self.trust: list[list[str]] = []
        self.fail_for = fail_for

    def __call__(self, cfg: Train, trust: list[str]) -> float:
        self.configs.append(cfg)
        self.trust.append(trust)
        if self.fail_for and cfg.model["name"] == self.fail_for:
            raise UserError(f"no {self.fail_for}\ntoday")
        return 0.5


@pytest.fixture
def task() -> Recorder:
    return Recorder()


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Command]:
    """Runs a task's command line in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(task: cli.Task, *arguments: str, root: str = "train") -> Result:
        code = jobs.command(monkeypatch, task, root, *arguments)
        assert not GlobalHydra.instance().is_initialized()
        out, err = capfd.readouterr()
        return code, out, err.splitlines()

    yield run
    HydraConfig.instance().cfg = None


def refused(result: Result, *words: str) -> None:
    """Assert exit code 2 and one line on stderr with these words."""
    code, _, lines = result
    assert code == 2
    assert len(lines) == 1, lines
    assert lines[0].startswith("medcnn: ")
    for word in words:
        assert word in lines[0], lines[0]


# What the user mistypes


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("dataset=breastmist", ("dataset=breastmist", "no such dataset", "breastmnist")),
        ("dataset=xyz", ("dataset=xyz", "there are adrenalmnist3d", "phantom")),
        ("model=resnet18", ("model=resnet18", "no such model", "mean resnet")),
        ("experiment=shortcuts", ("no such experiment", "mean shortcut")),
        ("bach_size=3", ("no key bach_size", "mean batch_size")),
        ("trainer.max_epoch=3", ("no key trainer.max_epoch", "trainer.max_epochs")),
        ("datset=phantom", ("no key datset", "mean dataset?")),
        ("max_epochs=3", ("no key max_epochs (did you mean trainer.max_epochs?)",)),
        ("dataset.label=x", ("no key dataset.label (did you mean dataset.columns.label?)",)),
        ("experimnt=shortcut", ("no key experimnt", "experiment")),
        ("zzzzqq=1", ("there is no key zzzzqq",)),
        ("+zzzzqq=1", ("there is no key zzzzqq",)),
        ("cam.method=gradcamm", ("cam.method=gradcamm: choose one of",)),
        ("objective.loss=focal", ("no key objective.loss (did you mean loss?)",)),
        ("loss=ldam", ("loss=ldam: there is no such loss yet (ldam)",)),
        ("augment=mosaic", ("augment=mosaic: there is no putting together of four training im",)),
        ("augment=mixup", ("augment=mixup: no such augment (did you mean regularise=mixup?)",)),
        ("trainer=slurm", ("trainer=slurm: no such trainer (did you mean engine=slurm?)",)),
        ("seed=[1", ("can't read 'seed=[1'", "quotes")),
        ("seed", ("can't read 'seed'", "key=value")),
        ("model=lenet,vgg", ("Ambiguous value for argument 'model=lenet,vgg'",)),
        ("seed=range(3)", ("requires --multirun",)),
        ("--dataset=phantom", ("unrecognized arguments: --dataset=phantom", "key=value")),
        ("--config-dir=nowhere", ("nowhere' not found",)),
        ("--cfg=everything", ("invalid choice: 'everything'",)),
        ("seed=${nowhere}", ("nowhere",)),
    ],
)
def test_one_line_for_a_mistake(
    command: Command, task: Recorder, argument: str, words: tuple[str, ...]
) -> None:
    refused(command(task, argument), *words)
    assert task.configs == [] or "nowhere" in argument


def test_nearest_keys_are_those_of_the_chosen_model(command: Command, task: Recorder) -> None:
    refused(command(task, "model=mlp", "model.hiden=[3]"), "model.hiden", "model.hidden")
    depth = "no key model.stochastic_depth here; model=resnet has it"
    refused(command(task, "model=vgg", "model.stochastic_depth=0.1"), depth)
    refused(command(task, "seed=2", root="evaluate"), "there is no key seed")
    assert "_medmnist" not in command(task, "dataset=medmnist")[2][0]


def test_options_after_a_key_are_explained(command: Command, task: Recorder) -> None:
    refused(command(task, "seed=1", "-m", "model=lenet"), "model=lenet", "options come first")
    refused(command(task, "-m", "--cfg", "job"), "--multirun and --cfg don't go together")


@pytest.mark.parametrize(("root", "key"), [("explain", "checkpoint"), ("features", "checkpoint")])
def test_a_missing_value_is_named(command: Command, root: str, key: str) -> None:
    refused(command(lambda cfg, trust: cfg[key], root=root), f"{key} is missing", f"add {key}=")


def test_a_group_that_is_taken_away(command: Command, task: Recorder) -> None:
    refused(command(task, "~callbacks"), "callbacks is missing: callbacks=none goes without")


@pytest.mark.parametrize(
    "content", ["seed: [1", "seed: ${", "- 1", "hydra: null", "hydra: [1]", "\x00"]
)
def test_a_config_file_that_is_none_is_refused(
    command: Command, task: Recorder, tmp_path: Path, content: str
) -> None:
    file = tmp_path / "mine" / "experiment" / "broken.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(f"# @package _global_\n{content}\n")
    refused(command(task, f"--config-dir={tmp_path / 'mine'}", "experiment=broken"))
    assert task.configs == []


def test_a_damaged_config_file_is_named(command: Command, task: Recorder, tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "broken.yaml").write_text("seed: [1\nbatch_size: 2\n")
    result = command(task, f"--config-dir={tmp_path}", "experiment=broken")
    refused(result, "can't be read", "broken.yaml", "line 2")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("/nothing", "there is no config nothing"),
        ("override /model: vggg", "model=vggg: no such model (did you mean vgg?)"),
        ("override /modl: vgg", "In 'experiment/mine': Could not override 'modl'"),
    ],
)
def test_a_defaults_list_that_leads_nowhere(
    command: Command, task: Recorder, tmp_path: Path, entry: str, words: str
) -> None:
    (tmp_path / "experiment").mkdir()
    text = f"# @package _global_\ndefaults:\n  - {entry}\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(text)
    refused(command(task, f"--config-dir={tmp_path}", "experiment=mine"), words)


# What a command line can say


def test_a_task_gets_its_config_and_what_the_command_line_trusts(
    command: Command, task: Recorder, tmp_path: Path
) -> None:
    for trust in ("trust=[a.B,c.D]", "+trust=[a.B,c.D]"):
        assert command(task, "seed=3", trust, "model=lenet") == (0, "", [])
    assert command(task, "trust=a.B")[0] == 0
    assert command(task, "trust=null")[0] == 0
    assert command(task, "trust=[a.B]", "trust=[c.D]")[0] == 0
    assert task.trust == [["a.B", "c.D"], ["a.B", "c.D"], ["a.B"], [], ["a.B", "c.D"]]
    assert task.configs[0].seed == 3
    assert task.configs[0].model["name"] == "lenet"
    assert list(tmp_path.iterdir()) == []  # Hydra leaves nothing of its own


def test_help_lists_groups_choices_and_commands(command: Command, task: Recorder) -> None:
    code, text, errors = command(task, "--help")
    assert (code, errors, task.configs) == (0, [], [])
    lines = text.splitlines()
    assert (
        "model: alexnet, densenet, googlenet, lenet, linear, mlp, monai, resnet, timm, vgg, zfnet"
        in lines
    )
    listed = {line.partition(":")[0] for line in lines}
    groups = "dataset model objective augment optimizer scheduler trainer callbacks logger"
    assert listed.issuperset([*groups.split(), "experiment", "debug", "paths"])
    assert "breastmnist" in text
    assert "_medmnist" not in text
    commands = [line for line in lines if line.startswith("  python ")]
    assert len(commands) == 14
    assert sum("medcnn.train" in line for line in commands) == 5
    hand_made = [line for line in lines if "mnist" not in line and not line.startswith("loss:")]
    assert max(map(len, hand_made)) <= 100


@pytest.mark.parametrize("root", ["evaluate", "predict", "explain", "features"])
def test_help_of_the_other_commands(command: Command, task: Recorder, root: str) -> None:
    code, text, errors = command(task, "--help", root=root)
    assert (code, errors) == (0, [])
    assert f"python -m medcnn.{root} checkpoint=" in text
    assert "_medmnist" not in text


def test_cfg_shows_the_config_and_runs_nothing(command: Command, task: Recorder) -> None:
    code, text, errors = command(task, "--cfg", "job", "model=vgg")
    assert (code, errors, task.configs) == (0, [], [])
    assert OmegaConf.create(text).model.name == "vgg"


NASTY = [
    "runs/lr=0.1/best.ckpt",
    "with space/best [a], (b) {c}.ckpt",
    "déjà/vu é ü 肺.ckpt",
    'it\'s "quoted".ckpt',
    "'half quoted.ckpt",
    "a,b,c.ckpt",
    "back\\slash.ckpt",
    "ends with\\",
    "back\\'slash and quote\\\\'.ckpt",
    "#1: 50 % & more; $x ~y @z.ckpt",
    " leading and trailing ",
    "null.ckpt",
    "true",
    "1.50",
]


@pytest.mark.parametrize("path", NASTY[:5])
def test_paths_need_no_quotes(command: Command, task: Recorder, path: str) -> None:
    arguments = (f"checkpoint={path}", f"++paths.run={path}", f"paths.data={path}")
    assert command(task, *arguments, root="evaluate")[0] == 0
    cfg = task.configs[0]
    assert [cfg.checkpoint, cfg.paths.run, cfg.paths.data] == [path] * 3


def test_any_path_is_read_as_it_was_typed() -> None:
    parser, draw = OverridesParser.create(), random.Random(0)
    letters = "\\\\''\"\" =,[](){}$:#%é肺ab./-~"
    paths = ["x" + "".join(draw.choices(letters, k=draw.randint(1, 12))) for _ in range(500)]
    for path in NASTY + paths:
        if "${" in path:
            continue  # an interpolation, as in paths.run=${paths.runs}/mine
        key = draw.choice(AS_TYPED)
        assert parser.parse_override(quote_text(f"{key}={path}")).value() == path


@pytest.mark.parametrize(
    "argument", ["checkpoint='a b'", 'checkpoint="a b"', "checkpoint='a','b'", "output=null"]
)
def test_what_is_quoted_or_null_stays(argument: str) -> None:
    assert quote_text(argument) == argument
    assert quote_text("seed=1") == "seed=1"
    for key in ("evaluation.operating_point", "seed"):
        assert quote_text(f"{key}=0.3,1") == f"{key}=0.3,1"  # of a sweep
    assert quote_text("--help") == "--help"
    assert quote_text("checkpoint=") == "checkpoint="


# Sweeps and ends


def test_a_failed_job_of_a_sweep_is_recorded_and_the_rest_goes_on(
    command: Command, tmp_path: Path
) -> None:
    task = Recorder(fail_for="vgg")
    code, _, lines = command(task, "-m", "model=lenet,vgg,resnet", "paths.runs=my runs")
    assert code == 2
    assert [cfg.model["name"] for cfg in task.configs] == ["lenet", "vgg", "resnet"]
    assert lines[0] == "medcnn: no vgg today"
    assert lines[1] == "medcnn: 1 job(s) of the sweep failed; see its summary.csv"
    assert len(lines) == 2
    (sweep,) = (tmp_path / "my runs").iterdir()
    folders = sorted(path.name for path in sweep.iterdir() if path.is_dir())
    assert folders == ["0-phantom-lenet", "1-phantom-vgg", "2-phantom-resnet"]


def test_a_missing_key_in_one_job_does_not_end_the_sweep(command: Command, task: Recorder) -> None:
    code, _, lines = command(task, "-m", "seed=2,3", "+dataset.nothing=???")
    assert (code, task.configs) == (2, [])
    assert "dataset.nothing is missing" in lines[0]
    assert "2 job(s)" in lines[2]


def test_a_whole_sweep_ends_with_zero(command: Command, task: Recorder) -> None:
    assert command(task, "-m", "seed=1,2", "model=glob([len*,ml*])")[0] == 0
    jobs_run = [(cfg.seed, cfg.model["name"]) for cfg in task.configs]
    assert jobs_run == [(1, "lenet"), (1, "mlp"), (2, "lenet"), (2, "mlp")]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("model=lenet,resnt", "model=resnt: no such model (did you mean resnet"),
        ("batch_size=8,0", "batch_size=0: give a whole number, at least 1"),
        ("seed=1,2 +no_such_key=1", "there is no key no_such_key"),
    ],
)
def test_what_cannot_be_ends_a_sweep_before_its_first_job(
    command: Command, task: Recorder, arguments: str, words: str
) -> None:
    refused(command(task, "-m", *arguments.split()), words)
    assert task.configs == []


def test_each_job_of_a_sweep_has_its_place(command: Command, tmp_path: Path) -> None:
    seen: list[Any] = []

    def task(cfg: Any, trust: list[str]) -> None:
        where = cfg.output if hasattr(cfg, "output") else cli.sweep_run_dir()
        seen.append(str(where).removeprefix(f"{tmp_path}/"))

    def places(*arguments: str, root: str = "train") -> list[str]:
        seen.clear()
        many = () if "-m" in arguments else ("-m",)
        result = command(task, *many, *arguments, root=root)
        assert result[0] == 0, result
        return seen

    models = "model=lenet,vgg"
    assert places(models, "paths.run=X, [a]") == [
        "X, [a]/0-phantom-lenet",
        "X, [a]/1-phantom-vgg",
    ]
    assert places(models, "paths.run=my/${model.name}") == ["my/lenet", "my/vgg"]
    assert places(models, "paths.run=my/${model.name}", "-m") == ["my/lenet", "my/vgg"]
    predict = ("checkpoint=c", "images=i", "tta=none,flips")
    assert places(*predict, "output=a b.csv", root="predict") == ["a b-0.csv", "a b-1.csv"]
    assert places(*predict, root="predict") == ["predictions-0.csv", "predictions-1.csv"]
    assert places(*predict, "-m", root="predict") == ["predictions-0.csv", "predictions-1.csv"]
    assert places(*predict, "output=${tta}.csv", root="predict") == ["none.csv", "flips.csv"]
    explain = ("checkpoint=c", "methods=cam,gradcam")
    assert places(*explain, "output=maps", root="explain") == ["maps/0", "maps/1"]
    first, second = places("augment=none,light", root="data")
    assert (Path(first).name, Path(second).name) == ("0", "1")
    refused(command(task, "-m", *explain, root="explain"), "add output=maps")
    splits = ("checkpoint=c", "split=val,test")  # its own place has the split in its name
    assert places(*splits, root="explain") == ["None", "None"]


def test_the_record_of_a_sweep_goes_where_it_would_tell_where_the_data_lie(
    command: Command, task: Recorder, tmp_path: Path
) -> None:
    for name, hidden in (("open", False), ("hidden", True)):
        arguments = ("model=lenet,vgg", f"paths.run={name}", f"pseudonymise={hidden}")
        assert command(task, "-m", *arguments)[0] == 0
        assert (tmp_path / name / "multirun.yaml").exists() is not hidden


def test_the_folder_of_a_job_is_known_only_in_a_sweep(command: Command, tmp_path: Path) -> None:
    seen: list[Any] = []

    def task(cfg: Any, trust: list[str]) -> None:
        seen.append((cli.in_sweep(), cli.sweep_run_dir(), cli.task_overrides()))

    assert command(task, "seed=4")[0] == 0
    assert command(task, "-m", "seed=4", f"hydra.sweep.dir={tmp_path}/s", "trust=[a.B]")[0] == 0
    folder = str(tmp_path / "s" / "0-phantom-resnet")
    assert seen == [(False, None, ["seed=4"]), (True, folder, ["seed=4", "trust=[a.B]"])]
    assert cli.task_overrides() == []
    assert not cli.in_sweep()
    assert cli.sweep_run_dir() is None


def test_interrupted(command: Command) -> None:
    def task(cfg: Any, trust: list[str]) -> None:
        raise KeyboardInterrupt(*messages)

    messages = ["go on with: resume=x"]
    assert command(task) == (130, "", ["medcnn: go on with: resume=x"])
    messages = []
    assert command(task, "-m", "seed=1,2") == (130, "", ["medcnn: interrupted"])


def test_a_signal_interrupts(command: Command) -> None:
    def task(cfg: Any, trust: list[str]) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    assert command(task) == (130, "", ["medcnn: interrupted"])


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_what_the_system_refuses_is_one_line(command: Command, number: int) -> None:
    def task(cfg: Any, trust: list[str]) -> None:
        raise OSError(number, os.strerror(number), "out.csv")

    code, _, lines = command(task)
    assert code == 2
    assert len(lines) == 1
    assert lines[0].startswith("medcnn: out.csv: ")


def test_a_fault_of_the_program_keeps_its_traceback(command: Command) -> None:
    def task(cfg: Any, trust: list[str]) -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        command(task)


@pytest.mark.parametrize(
    ("body", "arguments", "code", "lines"),
    [
        ("sys.exit(0)", ["model=resnt"], 2, 1),
        ("raise RuntimeError('a bug')", [], 1, None),
        ("import os, signal; os.kill(os.getpid(), signal.SIGINT)", [], 130, 1),
        ("return 0.5", [], 0, 0),
    ],
)
def test_exit_codes_of_a_process(
    tmp_path: Path, body: str, arguments: list[str], code: int, lines: int | None
) -> None:
    script = [sys.executable, "-c", MADE.format(body=body), *arguments]
    done = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stderr
    begun = "medcnn train: loading PyTorch\n"  # before the task, which may load it
    assert done.stdout == ("" if arguments else begun)
    printed = done.stderr.splitlines()
    if lines is None:
        assert "Traceback" in done.stderr
        assert printed[-1] == "RuntimeError: a bug"
    else:
        assert len(printed) == lines


def test_the_module_is_the_command(tmp_path: Path) -> None:
    call = [sys.executable, "-m", "medcnn.train", "dataset=breastmnst"]
    environment = {**os.environ, "PYTHONPATH": str(jobs.ROOT)}
    done = subprocess.run(
        call, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2
    assert done.stderr.startswith(
        "medcnn: dataset=breastmnst: no such dataset (did you mean breast"
    )
    assert done.stderr.count("\n") == 1


def test_quoting_of_lists_of_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert quote_text("runs=['a',\"b\"]") == "runs=['a',\"b\"]"
    assert quote_text("ensemble=[lr=0.1, my run]") == "ensemble=['lr=0.1','my run']"
    assert quote_text("seeds=[]") == "seeds=[]"
    (tmp_path / "[a,b]").mkdir()
    assert quote_text("runs=[a,b]") == "runs='[a,b]'"
