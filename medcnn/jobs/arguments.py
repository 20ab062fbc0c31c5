"""The words of a command line, before Hydra reads them."""

import os
import re
import sys
from pathlib import Path
from typing import Any, NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from medcnn.errors import UserError
from medcnn.jobs.instantiate import conf_dir
from medcnn.jobs.remote import check_secret, refuse_address

AS_TYPED = (  # keys of paths and other text, which Hydra is not to take apart
    "checkpoint", "random_labels", "image", "images", "output", "resume", "dataset.root",
    "dataset.path", "dataset.patient", "dataset.separator", "model.weights", "cache.folder",
    "paths.pseudonym_key", "paths.data", "paths.runs", "paths.run", "search.storage",
)  # fmt: skip
ADDRESSES = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^,'\"\]]*")  # in a word
RULES = ("evaluation.operating_point",)  # keys of words that may hold an equals sign
LISTS = ("ensemble", "runs", "seeds")  # keys of a path, or of several in brackets
SHORT = {  # what may be written without the group before it
    key: f"dataset.{key}" for key in ("spatial_dims", "frame", "slices", "allow_missing_geometry")
}


def full_key(argument: str) -> str:
    """Complete the key of an override that has a short form.

    >>> full_key("slices=every:2"), full_key("+seed=1")
    ('dataset.slices=every:2', '+seed=1')
    """
    key, equals, value = argument.partition("=")
    return f"{SHORT[key]}={value}" if equals and key in SHORT else argument


def quote_text(argument: str) -> str:
    """Quote the value of a key in `AS_TYPED`, so that Hydra reads it as it was typed.

    So are the paths of a key in `LISTS`, one by one; a list stands in brackets, its paths apart by
    commas, unless a folder has that very name. A rule is quoted where it holds an equals sign.

    >>> quote_text("checkpoint=runs/lr=0.1 [a], é.ckpt")
    "checkpoint='runs/lr=0.1 [a], é.ckpt'"
    >>> quote_text("runs=[my runs/a, lr=0.1]")
    "runs=['my runs/a','lr=0.1']"
    >>> quote_text("evaluation.operating_point=youden,sensitivity=0.95")
    "evaluation.operating_point=youden,'sensitivity=0.95'"
    >>> quote_text("seed=1")
    'seed=1'
    """
    key, equals, value = argument.partition("=")
    name = key.lstrip("+")
    if name in RULES:
        rules = [_quoted(rule) if "=" in rule else rule for rule in value.split(",")]
        return f"{key}{equals}{','.join(rules)}"
    if not equals or name not in (*AS_TYPED, *LISTS):
        return argument
    several = re.fullmatch(r"\[(.*)\]", value, flags=re.DOTALL) if name in LISTS else None
    if several is None or Path(value).is_dir():
        return f"{key}={_quoted(value)}"
    return f"{key}=[{','.join(_quoted(path.strip()) for path in several[1].split(','))}]"


def recipe_file(argument: str) -> str:
    """Name an experiment that is a file as Hydra finds it: by its place beside conf/experiment/.

    >>> recipe_file("experiment=shortcut")
    'experiment=shortcut'

    Raises:
        UserError: There is no such file.
    """
    key, _, value = argument.partition("=")
    text = value.strip("'\"")
    if key.lstrip("+") != "experiment" or not text.endswith((".yaml", ".yml")):
        return argument
    file = Path(text).expanduser()
    if not file.is_file():
        raise UserError(f"experiment={text}: there is no such file")
    place = os.path.relpath(file.resolve(), (conf_dir() / "experiment").resolve())
    return f"{key}={_quoted(place.removesuffix('.yaml'))}"


def _quoted(value: str) -> str:
    """Return a value in the quotes with which Hydra reads it as it was typed."""
    already = len(value) > 1 and value[0] in "'\"" and value[-1] == value[0]
    if value in ("", "null") or already:
        return value
    # Hydra drops one of two backslashes before a quote, and only there.
    escaped = re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + m[2].replace("'", "\\'"), value)
    return f"'{escaped}'"


def check_options(argv: list[str]) -> None:
    """Refuse options that Hydra doesn't know, and those that would replace medcnn's own configs.

    Raises:
        UserError: Such an option, or text that the locale can't name a file by.
    """
    for argument in argv:
        if not argument.isascii() and sys.getfilesystemencoding() != "utf-8":
            raise UserError(f"{argument}: this locale has ASCII alone; set PYTHONUTF8=1 before")

    def refuse(message: str) -> NoReturn:
        raise UserError(f"{message}; values are set with key=value, options come first: see --help")

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    options = parser.parse_args(argv)
    for name in ("config_path", "config_name", "experimental_rerun"):
        if getattr(options, name) is not None:
            raise UserError(
                f"--{name.replace('_', '-')} would replace medcnn's own configs; add yours with "
                "--config-dir"
            )
    commands = ("run", "multirun", "cfg", "info", "shell_completion")
    given = [name for name in commands if getattr(options, name)]
    if len(given) > 1:
        raise UserError(f"--{given[0]} and --{given[1]} don't go together")


def places_of_jobs(argv: list[str], config_name: str) -> list[str]:
    """Give each job of a sweep (``-m``) its own place to write to.

    ``paths.run=X`` names the folder of the sweep, with a run in it for each job; ``output=X``
    becomes one output a job, by its number. What has an interpolation in it, such as
    ``output=maps-${split}``, is taken to be of one job each, as it is.

    Args:
        argv: With text quoted, see `quote_text`.
        config_name: The root config.

    Raises:
        UserError: The jobs would write over each other's files, or it is a search.
    """
    if not get_args_parser().parse_args(argv).multirun:
        return argv
    if config_name == "search":
        raise UserError("-m: a search tries many settings by itself; see search.space")
    root = OmegaConf.to_container(OmegaConf.load(conf_dir() / f"{config_name}.yaml"))
    assert isinstance(root, dict)
    words = [word for word in argv if "=" in word and not word.startswith("-")]
    given = {one.key_or_group: one for one in OverridesParser.create().parse_overrides(words)}
    for word in words:  # which Hydra keeps
        for address in ADDRESSES.findall(word):
            check_secret(word.partition("=")[0].lstrip("+"), address)
    for key in ("paths.run", "paths.runs"):
        if key in given:
            refuse_address(key, given[key].value(), "-m writes to folders on a disk")
    if "output" in root:
        output: Any = given["output"].value() if "output" in given else root["output"]
        swept = {key for key, one in given.items() if one.is_sweep_override()}
        if output is None and swept <= {"split"}:  # which the command's own place names
            return argv
        if output is None:
            raise UserError(
                f"-m: the jobs of medcnn.{config_name} would write over each other's files; add "
                "output=maps, which becomes a folder with one for each job"
            )
        if "output" in given and "${" in output:
            return argv
        return _set(argv, given, f"output={_quoted(_numbered(Path(output)))}")
    if "paths.run" in given and "hydra.sweep.dir" not in given:
        parts = Path(str(given["paths.run"].value())).parts
        own = next((n for n, part in enumerate(parts) if "${" in part), len(parts))
        places = {"dir": parts[:own] or (".",), "subdir": parts[own:]}
        for name, place in places.items():
            if place:
                argv = _set(argv, given, f"hydra.sweep.{name}={_quoted(str(Path(*place)))}")
    return argv


def _set(argv: list[str], given: dict[str, Override], override: str) -> list[str]:
    """Put an override in the place of that of the same key, else beside the others.

    They have to stay together: what follows an option behind them isn't read.
    """
    there = {key: str(one.input_line) for key, one in given.items()}
    key = override.partition("=")[0]
    if key in there:
        return [override if word == there[key] else word for word in argv]
    place = argv.index(next(iter(there.values()))) if there else len(argv)
    return [*argv[:place], override, *argv[place:]]


def _numbered(output: Path) -> str:
    """Return an output with the job's number: of a file before its ending, of a folder below it."""
    number = "${hydra:job.num}"
    if "${" in output.name or not output.suffix:
        return f"{output}/{number}"
    return str(output.with_name(f"{output.stem}-{number}{output.suffix}"))
