"""What the tests share."""

import os
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # one of several processes: before torch counts the cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder of real images: $MEDCNN_DATA, else ../shared/data beside the checkout."""
    named = os.environ.get("MEDCNN_DATA")
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(named) if named else beside
    if not root.is_dir():
        pytest.skip(f"no real images: {'MEDCNN_DATA' if named else '../shared/data'} is no folder")
    return root


@pytest.fixture(scope="session")
def phantom_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a small finished training on the phantom, with maps; not to change."""
    import jobs

    folder = tmp_path_factory.mktemp("shared") / "run"
    return jobs.train(folder, *jobs.QUICK, "cam.n=4", "trainer.max_epochs=3")
