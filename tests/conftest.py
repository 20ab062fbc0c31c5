"""What the tests share."""

import os
import shutil
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

if "PYTEST_XDIST_WORKER" in os.environ:  # one of several processes: before torch counts the cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    """Make the fixtures of what is marked no_cover untraced, too: many train."""
    with _untraced(item):
        return (yield)


@pytest.hookimpl(wrapper=True, trylast=True)  # within that of pytest-cov
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Run what is marked no_cover untraced in pytest-xdist's processes too.

    There pytest-cov (7.1) stops one of two stacked tracers, and the other one halves the speed.
    """
    with _untraced(item):
        return (yield)


@contextmanager
def _untraced(item: pytest.Item) -> Iterator[None]:
    tracer = sys.gettrace() if item.get_closest_marker("no_cover") else None
    if tracer is None:
        yield
        return
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(tracer)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder of real images: $MEDCNN_DATA, else ../shared/data beside the checkout."""
    named = os.environ.get("MEDCNN_DATA")
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(named) if named else beside
    if not root.is_dir():
        pytest.skip(f"no real images: {'MEDCNN_DATA' if named else '../shared/data'} is no folder")
    return root


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder that is a file system of 12 MB; only root can have one."""
    folder = tmp_path / "small disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="session")
def phantom_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a small finished training on the phantom, with maps; not to change."""
    import jobs

    folder = tmp_path_factory.mktemp("shared") / "run"
    return jobs.train(
        folder, *jobs.QUICK, "cam.n=4", "trainer.max_epochs=3", "diagnosis.at_start=true"
    )


@pytest.fixture(scope="session")
def storage_line() -> Iterator[Any]:
    """The line to a real S3-compatible server in this process."""
    from moto.server import ThreadedMotoServer
    from storage import Line

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    line = Line(server.get_host_and_port()[1])
    line.start()
    yield line
    server.stop()


@pytest.fixture
def bucket(storage_line: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty bucket of that server, and the folder of the test to work in."""
    import fsspec
    from storage import PLACE, Bucket

    for name, value in {**PLACE, "AWS_ENDPOINT_URL": storage_line.address}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    storage_line.cut(0, 0)
    yield Bucket(f"bucket-{abs(hash(tmp_path)):x}"[:40], storage_line)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
