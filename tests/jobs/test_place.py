"""The place of a process among those of a launcher."""

from typing import Any

import pytest

from medcnn.errors import UserError
from medcnn.jobs.place import find_place, forget_place

TORCHRUN = {
    "RANK": 3, "LOCAL_RANK": 1, "WORLD_SIZE": 4, "LOCAL_WORLD_SIZE": 2, "GROUP_RANK": 1,
    "MASTER_ADDR": "a", "MASTER_PORT": 1234, "TORCHELASTIC_USE_AGENT_STORE": "True",
}  # fmt: skip
BATCH = {"SLURM_JOB_ID": 17, "SLURM_NTASKS": 4, "SLURM_PROCID": 0, "SLURM_LOCALID": 0}
SRUN = BATCH | {
    "SLURM_STEP_ID": 2, "SLURM_STEP_NUM_TASKS": 4, "SLURM_STEP_NUM_NODES": 2, "SLURM_NODEID": 1,
    "SLURM_STEP_NODELIST": "gpu[07-08]", "SLURM_CPUS_PER_TASK": 8,
    "SLURM_PROCID": 3, "SLURM_LOCALID": 1,
}  # fmt: skip


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    found: dict[str, str] = {}
    monkeypatch.setattr("os.environ", found)
    return found


def put(env: dict[str, str], values: dict[str, Any]) -> None:
    env.update({name: str(value) for name, value in values.items()})


def test_torchrun_tells_the_place(env: dict[str, str]) -> None:
    put(env, TORCHRUN)
    place = find_place()
    assert place is not None
    assert place == (3, 4, 1, 2, 1, "a", 1234, True, None)
    assert place.nodes == 2
    put(env, {"OTHER": "kept"})
    forget_place()
    assert env.keys() - {"PYTEST_CURRENT_TEST"} == {"OTHER"}


def test_srun_tells_the_place(env: dict[str, str]) -> None:
    put(env, SRUN)
    place = find_place()
    assert place == (3, 4, 1, 2, 1, "gpu07", 15000 + 17 * 16 + 2, False, 8)


@pytest.mark.parametrize(
    "values",
    [
        {},
        BATCH,  # a script of sbatch, with more tasks than the one that it is
        BATCH | {"SLURM_STEP_ID": 0, "SLURM_STEP_NUM_TASKS": 1},
        BATCH | {"SLURM_STEP_ID": 0, "SLURM_PTY_PORT": 5},  # a shell
        TORCHRUN | {"WORLD_SIZE": 1},
    ],
)
def test_one_process_is_alone(env: dict[str, str], values: dict[str, Any]) -> None:
    put(env, values)
    assert find_place() is None


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"LOCAL_RANK": 1}, "LOCAL_RANK is set, but not RANK"),
        ({"SLURM_PROCID": 1}, "SLURM's variables of a task don't fit together"),
        (SRUN | {"SLURM_STEP_NUM_TASKS": 3}, "started 3 tasks on 2 nodes"),
        (SRUN | {"SLURM_LOCALID": 0}, "process 3 is number 0 of node 1"),  # --distribution=cyclic
    ],
)
def test_what_does_not_fit_is_refused(
    env: dict[str, str], values: dict[str, Any], says: str
) -> None:
    put(env, values)
    with pytest.raises(UserError, match=says):
        find_place()
