"""A config from a stranger does not run the stranger's program.

Each attack is a folder of config files and the command line of someone who uses it. What it would
do is to leave a mark: a file beside the folder.
"""

import logging
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jobs
import pytest
import torch
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from medcnn.evaluate import evaluate
from medcnn.jobs import hydra_guard as guard
from medcnn.train import train

pytestmark = pytest.mark.no_cover  # twice as slow with coverage; other tests cover the lines

Result = tuple[int, list[str]]
RUN = "torch.utils.collect_env.run"  # runs a shell command
CALLBACK = f"{{_target_: {RUN}, command: touch MARK}}"
EVIL = f"callbacks: {{evil: {CALLBACK}}}"
HANDLER = f'{{"()": {RUN}, command: touch MARK}}'
LOGGING = f"{{version: 1, root: {{handlers: [evil]}}, handlers: {{evil: {HANDLER}}}}}"
GLOBAL = "# @package _global_\n"
EXPERIMENT = "experiment/evil.yaml"
BY_EXPERIMENT = ("experiment=evil",)

# Files that reach `hydra`; the command line is BY_EXPERIMENT where none is given.
ATTACKS: dict[str, tuple[Any, ...]] = {
    "a hydra node": ({EXPERIMENT: f"{GLOBAL}hydra: {{{EVIL}}}"},),
    "package hydra": ({EXPERIMENT: f"# @package hydra\n{EVIL}"},),
    "package hydra.callbacks": ({EXPERIMENT: f"# @package hydra.callbacks\nevil: {CALLBACK}"},),
    "a sub-config's package": (
        {
            EXPERIMENT: f"{GLOBAL}defaults:\n  - /extra@hydra.callbacks: bad",
            "extra/bad.yaml": f"evil: {CALLBACK}",
        },
    ),
    "defaults that override a group": (
        {
            EXPERIMENT: f"{GLOBAL}defaults:\n  - override /hydra/callbacks: evil",
            "hydra/callbacks/evil.yaml": f"# @package hydra.callbacks\nevil: {CALLBACK}",
        },
    ),
    "defaults that add a group": (
        {
            EXPERIMENT: f"{GLOBAL}defaults:\n  - /hydra/callbacks@hydra.callbacks: evil",
            "hydra/callbacks/evil.yaml": f"evil: {CALLBACK}",
        },
    ),
    "a launcher": (
        {
            EXPERIMENT: f"{GLOBAL}defaults:\n  - override /hydra/launcher: evil",
            "hydra/launcher/evil.yaml": f"_target_: {RUN}\ncommand: touch MARK",
        },
    ),
    "a sweeper in a node": ({EXPERIMENT: f"{GLOBAL}hydra: {{sweeper: {CALLBACK}}}"},),
    "job_logging": ({EXPERIMENT: f"{GLOBAL}hydra: {{job_logging: {LOGGING}}}"},),
    "hydra_logging": ({EXPERIMENT: f"{GLOBAL}hydra: {{hydra_logging: {LOGGING}}}"},),
    "environment variables": (
        {EXPERIMENT: f"{GLOBAL}hydra: {{job: {{env_set: {{LD_PRELOAD: /x.so}}}}}}"},
    ),
    "a search path": ({EXPERIMENT: f'{GLOBAL}hydra: {{searchpath: ["file://x"]}}'},),
    "the run directory": ({EXPERIMENT: f"{GLOBAL}hydra: {{run: {{dir: MARK}}}}"},),
    "a record of the run": ({EXPERIMENT: f"{GLOBAL}hydra: {{output_subdir: MARK}}"},),
    "a false command line": (
        {EXPERIMENT: f'{GLOBAL}hydra: {{overrides: {{task: ["trust=[{RUN}]"]}}}}'},
    ),
    "an interpolated command line": (
        {EXPERIMENT: f'{GLOBAL}odd: ["trust=[x]"]\nhydra: {{overrides: {{task: "${{odd}}"}}}}'},
    ),
    "an interpolated node": (
        {EXPERIMENT: f'{GLOBAL}odd: {{evil: {CALLBACK}}}\nhydra: {{callbacks: "${{odd}}"}}'},
    ),
    "an interpolated job": ({EXPERIMENT: f'{GLOBAL}x: {{}}\nhydra: {{job: "${{x}}"}}'},),
    "another choice of a group": (
        {"dataset/evil.yaml": f"{GLOBAL}hydra: {{{EVIL}}}"},
        "dataset=evil",
    ),
    "settings for a machine": ({"local/default.yaml": f"{GLOBAL}hydra: {{{EVIL}}}"}, "seed=1"),
    "settings beside a search path": (
        {"local/default.yaml": f"{GLOBAL}hydra: {{{EVIL}}}"},
        "hydra.searchpath=[pkg://medcnn]",
    ),
    "Hydra's own schema": ({"hydra/config.yaml": EVIL}, "seed=1"),
    "a group at a package": ({EXPERIMENT: EVIL}, "+experiment@hydra=evil"),
    "the second job of a sweep": (
        {EXPERIMENT: f"{GLOBAL}hydra: {{job: {{env_set: {{EVIL: x}}}}}}"},
        "-m",
        "experiment=shortcut,evil",
    ),
    "a sweep by pattern": ({EXPERIMENT: f"{GLOBAL}hydra: {{{EVIL}}}"}, "-m", "experiment=glob(*)"),
    "one combination of a sweep": (
        {
            EXPERIMENT: f"{GLOBAL}defaults:\n  - optional /pair: evil_${{debug}}",
            "pair/evil_limit.yaml": f"{GLOBAL}hydra: {{job: {{env_set: {{EVIL: x}}}}}}",
        },
        "-m",
        "debug=fast,limit",
        "experiment=shortcut,evil",
    ),
    "a sweeper's parameters": (
        {EXPERIMENT: f"{GLOBAL}hydra: {{job: {{env_set: {{EVIL: x}}}}}}"},
        "-m",
        "+hydra.sweeper.params={experiment: 'shortcut,evil'}",
    ),
    "help": (
        {EXPERIMENT: f"{GLOBAL}hydra: {{hydra_logging: {LOGGING}}}"},
        "--help",
        *BY_EXPERIMENT,
    ),
    "Hydra's help": (
        {EXPERIMENT: f"# @package hydra.hydra_logging\n{LOGGING}"},
        "--hydra-help",
        "+experiment=evil",
    ),
    "cfg": ({EXPERIMENT: f"{GLOBAL}hydra: {{{EVIL}}}"}, "--cfg", "all", *BY_EXPERIMENT),
    "info": ({EXPERIMENT: f"{GLOBAL}hydra: {{{EVIL}}}"}, "--info", "config", *BY_EXPERIMENT),
    "another root": ({"evil.yaml": f"defaults: [train]\nhydra: {{{EVIL}}}"}, "--config-name=evil"),
    "another root, short": ({"evil.yaml": f"defaults: [train]\nhydra: {{{EVIL}}}"}, "-cn", "evil"),
    "other configs": ({"train.yaml": f"hydra: {{{EVIL}}}"}, "--config-path=MINE"),
    "other configs, shortened": ({"train.yaml": f"hydra: {{{EVIL}}}"}, "--config-p", "MINE"),
    "a pickled run": ({"config.pickle": "x"}, "--experimental-rerun=MINE/config.pickle"),
    "a pickled run, shortened": ({"config.pickle": "x"}, "--exp", "MINE/config.pickle"),
}
HARMLESS: dict[str, tuple[Any, ...]] = {
    "an experiment": ({EXPERIMENT: f"{GLOBAL}seed: 7"}, "experiment=evil"),
    "a machine's settings": ({"local/default.yaml": f"{GLOBAL}seed: 7"},),
    "settings of Hydra on the command line": (
        {"local/default.yaml": f"{GLOBAL}seed: 7"},
        "hydra.run.dir=elsewhere",
        "hydra.job.name=mine",
        "+hydra.job.env_set.OWN=1",
        "hydra/job_logging=disabled",
        "hydra.searchpath=[pkg://medcnn]",
    ),
}


class Task:
    """Does nothing but count its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, list[str]]] = []

    def __call__(self, cfg: Any, trust: list[str]) -> float:
        self.calls.append((cfg, trust))
        return 0.5


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "mark"


@pytest.fixture
def use(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path, mark: Path
) -> Iterator[Callable[..., Result]]:
    """Writes config files to a folder and runs a task with it as --config-dir."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LD_PRELOAD", "")
    mine = tmp_path / "mine = [a], é"
    mine.mkdir()
    log = logging.getLogger()
    before = log.level, log.handlers[:]

    def run(task: Any, files: dict[str, str], *arguments: str, root: str = "train") -> Result:
        for name, text in files.items():
            (mine / name).parent.mkdir(parents=True, exist_ok=True)
            (mine / name).write_text(text.replace("MARK", str(mark)))
        arguments = tuple(argument.replace("MINE", str(mine)) for argument in arguments)
        code = jobs.command(monkeypatch, task, root, f"--config-dir={mine}", *arguments)
        return code, capfd.readouterr().err.splitlines()

    yield run
    log.setLevel(before[0])
    log.handlers[:] = before[1]
    for logger in logging.root.manager.loggerDict.values():  # which job_logging=disabled disables
        if isinstance(logger, logging.Logger):
            logger.disabled = False
    HydraConfig.instance().cfg = None


@pytest.mark.parametrize("name", ATTACKS)
def test_no_file_reaches_hydra(use: Callable[..., Result], mark: Path, name: str) -> None:
    files, *arguments = ATTACKS[name]
    task = Task()
    code, lines = use(task, files, *(arguments or BY_EXPERIMENT))
    assert task.calls == []
    assert not mark.exists()
    assert (code, len(lines)) == (2, 1), lines
    assert re.search("hydra|would replace medcnn's own|raised while composing", lines[0]), lines


@pytest.mark.filterwarnings("ignore:Callback tuple")
@pytest.mark.parametrize(
    "name", ["a hydra node", "a sub-config's package", "settings for a machine"]
)
def test_without_the_guard_the_attacks_succeed(
    use: Callable[..., Result], mark: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(guard, "GuardedLoader", ConfigLoaderImpl)
    files, *arguments = ATTACKS[name]
    use(Task(), files, *(arguments or BY_EXPERIMENT))
    assert mark.exists()


@pytest.mark.parametrize("name", HARMLESS)
def test_files_may_set_the_rest(use: Callable[..., Result], name: str) -> None:
    files, *arguments = HARMLESS[name]
    task = Task()
    code, lines = use(task, files, *arguments)
    assert (code, lines) == (0, []), lines
    ((cfg, trust),) = task.calls
    assert (cfg.seed, trust) == (7, [])


@pytest.mark.parametrize("root", ["evaluate", "explain"])
def test_the_other_commands_are_guarded(use: Callable[..., Result], mark: Path, root: str) -> None:
    task = Task()
    files = {"dataset/evil.yaml": f"{GLOBAL}hydra: {{{EVIL}}}"}
    code, lines = use(task, files, "dataset=evil", root=root)
    assert (code, len(lines), task.calls, mark.exists()) == (2, 1, [], False)
    assert "sets hydra.callbacks" in lines[0]


# Targets


STRANGER = """
from pathlib import Path

Path({imported!r}).touch()


def touch(path, **options):
    Path(path).touch()
"""


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module of someone else on the path; the file is there once it was imported."""
    imported = tmp_path / "imported"
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "stranger.py").write_text(STRANGER.format(imported=str(imported)))
    monkeypatch.syspath_prepend(folder)
    return imported


TARGETS = {
    "os.system": "command: touch MARK",
    RUN: "command: touch MARK",
    "stranger.touch": "path: MARK",
    "subprocess.Popen": "args: [touch, MARK]",
    "builtins.exec": "object: open('MARK','w')",
    "medcnn.data.phantom.dataset.os.system": "command: touch MARK",
}


@pytest.mark.parametrize("target", TARGETS)
def test_a_foreign_target_is_not_called(
    use: Callable[..., Result], mark: Path, stranger: Path, target: str
) -> None:
    files = {"dataset/evil.yaml": f"_target_: {target}\n{TARGETS[target]}\nname: x\nepochs: 1"}
    code, lines = use(train, files, "dataset=evil")
    assert (code, len(lines)) == (2, 1), lines
    assert f"dataset._target_={target} is not one of medcnn's own" in lines[0]
    assert f"add trust=[{target}]" in lines[0]
    assert not mark.exists()
    assert not stranger.exists()


@pytest.mark.parametrize(
    "group", ["model", "optimizer", "scheduler", "augment", "callbacks", "logger"]
)
def test_no_group_calls_a_foreign_target(
    use: Callable[..., Result], mark: Path, stranger: Path, group: str
) -> None:
    text = "_target_: stranger.touch\npath: MARK\n"
    if group in ("callbacks", "logger"):
        text = "evil: {_target_: stranger.touch, path: MARK}"
    small = [setting for setting in jobs.PHANTOM + jobs.PLAIN if not setting.startswith("logger=")]
    code, lines = use(train, {f"{group}/evil.yaml": text}, *small, f"{group}=evil")
    assert code == 2
    assert "trust=[stranger.touch]" in lines[-1], lines
    assert not mark.exists()
    assert not stranger.exists()


@pytest.mark.parametrize(
    "text",
    [
        "dataset: {_target_: '${paths.data}', command: touch MARK}\npaths: {data: os.system}",
        "dataset: {_target_: '${oc.decode:os.system}', command: touch MARK}",
        "dataset: {_target_: [os.system], command: touch MARK}",
        "dataset: {_target_: {_target_: os.system}, command: touch MARK}",
        "dataset: {size: {_target_: os.system, command: touch MARK}}",
        "dataset: {size: [[{_target_: os.system, command: touch MARK}]]}",
        "dataset: {_target_: 'medcnn.data.phantom.dataset.phantom\\n'}",
        "dataset: {_target_: os.system, command: touch MARK}\ntrust: [os.system]",
        "dataset: {_target_: os.system, command: touch MARK}\ntrust: os.system",
    ],
)
def test_a_target_in_disguise(use: Callable[..., Result], mark: Path, text: str) -> None:
    code, lines = use(train, {EXPERIMENT: GLOBAL + text}, *BY_EXPERIMENT, "paths.run=run")
    assert (code, len(lines)) == (2, 1), lines
    assert "_target_" in lines[0] or "trust=" in lines[0]
    assert not mark.exists()


@pytest.mark.parametrize("file", [EXPERIMENT, "local/default.yaml", "dataset/evil.yaml"])
def test_trust_in_a_file_is_refused(use: Callable[..., Result], file: str) -> None:
    task = Task()
    choice = {EXPERIMENT: "experiment=evil", "dataset/evil.yaml": "dataset=evil"}
    code, lines = use(task, {file: f"{GLOBAL}trust: [os.system]"}, choice.get(file, "seed=1"))
    assert (code, task.calls) == (2, [])
    assert lines == [
        "medcnn: trust= is taken from the command line only, but a config file sets it"
    ]


def test_what_is_trusted_is_called(use: Callable[..., Result], mark: Path, stranger: Path) -> None:
    files = {"dataset/mine.yaml": "_target_: stranger.touch\npath: MARK\nname: x\nepochs: 1"}
    code, lines = use(train, files, "dataset=mine", "trust=[stranger.touch]")
    assert (code, len(lines)) == (2, 1)
    assert "medcnn.data.listing.Listing, but returned NoneType" in lines[0]
    assert mark.exists()
    assert stranger.exists()


@pytest.mark.parametrize("setting", ["overwrite: true", "resume: run"])
def test_what_replaces_a_run_is_taken_from_the_command_line(
    use: Callable[..., Result], setting: str
) -> None:
    task = Task()
    key, _, value = setting.partition(": ")
    code, lines = use(
        task, {EXPERIMENT: f"{GLOBAL}{setting}\npaths: {{run: mine}}"}, *BY_EXPERIMENT
    )
    assert (code, len(lines), task.calls) == (2, 1, [])
    assert f"{key}= is taken from the command line only" in lines[0]
    assert use(task, {}, *BY_EXPERIMENT, f"{key}={value}")[0] == 0


SECRETS = {
    "plain": "aggregate: ${oc.env:SECRET}",
    "with a default": "paths: {data: '${oc.env:SECRET,x}'}",
    "inside a text": "paths: {data: 'x-${oc.env:SECRET}'}",
    "by a name put together": "paths: {runs: env, data: '${oc.${paths.runs}:SECRET}'}",
    "decoded": "paths: {runs: '\\${oc.env:SECRET}', data: '${oc.decode:${paths.runs}}'}",
    "put together": "paths: {runs: '$', run: '{oc.env:SECRET}', data: '${.runs}${.run}'}",
}


@pytest.mark.parametrize("kind", SECRETS)
def test_no_file_reads_the_environment(
    use: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    seen: list[str] = []

    def task(cfg: Any, trust: list[str]) -> None:
        seen.append(str(cfg.paths.data))

    code, lines = use(task, {EXPERIMENT: GLOBAL + SECRETS[kind]}, *BY_EXPERIMENT)
    assert (code, len(lines), seen) == (2, 1, []), seen
    assert "${oc.env:SECRET}: a config file may not read the environment" in lines[0]


def test_the_command_line_names_what_is_read(
    use: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLACE", "there")
    seen: list[str] = []

    def task(cfg: Any, trust: list[str]) -> None:
        seen.append(str(cfg.paths.data))

    assert use(task, {}, "paths.data=${oc.env:PLACE}/x")[0] == 0
    assert use(task, {}, "paths.data=${oc.env:NOT_SET,else}")[0] == 0
    assert seen == ["there/x", "else"]


# Checkpoints


@pytest.mark.parametrize("group", ["model", "dataset"])
def test_a_checkpoint_calls_no_foreign_target(
    use: Callable[..., Result], mark: Path, stranger: Path, phantom_run: Path, group: str
) -> None:
    content = jobs.checkpoint(phantom_run)
    content["medcnn"]["config"][group] = {"_target_": "stranger.touch", "path": str(mark)}
    content["medcnn"]["config"]["trust"] = ["stranger.touch"]
    torch.save(content, mark.with_name("a.ckpt"))
    code, lines = use(evaluate, {}, "checkpoint=a.ckpt", root="evaluate")
    assert (code, len(lines)) == (2, 1), lines
    assert f"{group}._target_=stranger.touch" in lines[0]
    assert "trust=[stranger.touch]" in lines[0]
    assert not mark.exists()
    assert not stranger.exists()


class Pickled:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


def test_a_checkpoint_is_not_a_program(use: Callable[..., Result], mark: Path) -> None:
    torch.save({"medcnn": Pickled(f"touch {mark}"), "state_dict": {}}, mark.with_name("a.ckpt"))
    code, lines = use(evaluate, {}, "checkpoint=a.ckpt", root="evaluate")
    assert (code, len(lines)) == (2, 1)
    assert "a.ckpt is not a checkpoint" in lines[0]
    assert not mark.exists()


def test_no_checkpoint_and_no_run_directory_reads_the_environment(
    use: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, mark: Path, phantom_run: Path
) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    refused = "${oc.env:SECRET}: a config file may not read the environment"
    content = jobs.checkpoint(phantom_run)
    content["medcnn"]["config"]["dataset"]["seed"] = "${oc.env:SECRET}"
    torch.save(content, mark.with_name("a.ckpt"))
    code, lines = use(evaluate, {}, "checkpoint=a.ckpt", root="evaluate")
    assert (code, len(lines)) == (2, 1)
    assert refused in lines[0]
    run = mark.with_name("run")
    run.mkdir()
    cfg = OmegaConf.load(phantom_run / "config.yaml")
    cfg.dataset.seed = "${oc.env:SECRET}"
    OmegaConf.save(cfg, run / "config.yaml")
    (run / "status.json").write_text('{"state": "interrupted"}')
    code, lines = use(train, {}, f"resume={run}")
    assert (code, len(lines)) == (2, 1)
    assert refused in lines[0]
    assert not [
        file for file in run.rglob("*") if file.is_file() and b"hunter2" in file.read_bytes()
    ]
