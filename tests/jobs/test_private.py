"""Where the data lie is told by no file of a run with pseudonymise=true."""

from pathlib import Path
from typing import Any

import jobs
import pytest

from medcnn.errors import UserError
from medcnn.jobs.arguments import quote_text
from medcnn.jobs.copies import copy_folder
from medcnn.jobs.private import hide_paths, revealed, with_pseudonyms


def composed(tmp_path: Path) -> Any:
    return jobs.compose(
        "train",
        "dataset=csv",
        "dataset.path=/ward/Meyer/table.csv",
        "dataset.root=films",
        "dataset.name=brain.v2",
        "paths.data=/ward/data",
        f"paths.pseudonym_key='{tmp_path / 'key'}'",
    )


def test_paths_are_hidden_and_found_again(tmp_path: Path) -> None:
    cfg = composed(tmp_path)
    before = cfg.model_copy(deep=True)
    hide_paths(cfg, cfg.paths.pseudonym_key)
    text = cfg.yaml()
    assert not [word for word in ("ward", "Meyer", "films") if word in text]
    assert cfg.dataset["_target_"] == "medcnn.data.sources.table.csv"
    assert cfg.dataset["name"] == "brain.v2"
    assert cfg.dataset["columns"] == before.dataset["columns"]
    assert revealed(cfg) == before
    stands = cfg.dataset["path"]
    assert with_pseudonyms("dataset.path='/ward/Meyer/table.csv'") == f"dataset.path={stands}"
    assert with_pseudonyms("/ward/Meyer/table.csv is missing") == f"{stands} is missing"
    assert with_pseudonyms("dataset.root=films") == f"dataset.root={cfg.dataset['root']}"
    assert with_pseudonyms("films are dark") == "films are dark"
    hide_paths(cfg, None)
    assert with_pseudonyms("/ward/Meyer/table.csv") == "/ward/Meyer/table.csv"


def test_a_path_with_an_apostrophe(tmp_path: Path) -> None:
    cfg = composed(tmp_path)
    cfg.dataset["path"] = path = "/ward/anna's films/table.csv"
    hide_paths(cfg, cfg.paths.pseudonym_key)
    stands = cfg.dataset["path"]
    assert with_pseudonyms(quote_text(f"dataset.path={path}")) == f"dataset.path={stands}"
    hide_paths(cfg, None)


def test_addresses(tmp_path: Path) -> None:
    cfg = composed(tmp_path)
    cfg.dataset |= {"path": "s3://ward/meyer/table.csv", "root": "s3://ward/films"}
    before = cfg.model_copy(deep=True)
    hide_paths(cfg, cfg.paths.pseudonym_key)
    table, films = cfg.dataset["path"], cfg.dataset["root"]
    assert revealed(cfg) == before
    assert with_pseudonyms("s3://ward/meyer can't be read") == f"{table} can't be read"
    assert with_pseudonyms("s3://ward/films/1.png") == f"{films}/1.png"
    assert with_pseudonyms("ward/meyer/table.csv: cut") == f"{table}: cut"
    assert with_pseudonyms(f"{copy_folder('s3://ward/films')}/1.png") == f"{films}/1.png"
    assert with_pseudonyms(f"{copy_folder('s3://ward/meyer')}/a.png") == f"{table}/a.png"
    assert with_pseudonyms("paths.run=s3://ward/runs") == "paths.run=s3://ward/runs"
    hide_paths(cfg, None)


def test_without_the_folder_beside_the_key(tmp_path: Path) -> None:
    cfg = composed(tmp_path)
    hide_paths(cfg, cfg.paths.pseudonym_key)
    (tmp_path / "key.paths").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"path=d-\w+: the path was hidden .*key.paths doesn't"):
        revealed(cfg)
    hide_paths(cfg, None)
