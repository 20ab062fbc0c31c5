"""The place of a process among those that torchrun or srun has started, by its environment."""

import os
from collections.abc import Mapping
from typing import NamedTuple

from medcnn.errors import UserError

OF_TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK")
OF_BOTH = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK")
STEP = ("SLURM_STEP_ID", "SLURM_STEPID")  # names of one number; only srun sets them


class Place(NamedTuple):
    """The place of a process among those that a launcher has started."""

    rank: int
    world: int
    local_rank: int
    local_world: int
    node: int
    host: str
    port: int
    kept: bool = False  # whether the launcher keeps the store
    cores: int | None = None  # that each process has for itself; None: all share the machine's

    @property
    def nodes(self) -> int:
        """Number of machines."""
        return self.world // self.local_world


def find_place() -> Place | None:
    """Return the place that the environment gives this process; None if it was started alone.

    Raises:
        UserError: It is one of several, and the environment doesn't say enough.
    """
    env = os.environ
    if all(name in env for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR")):
        return _of_torchrun(env)
    if "LOCAL_RANK" in env:
        raise UserError(
            "LOCAL_RANK is set, but not RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, as torchrun "
            "sets them; unset it, or start with torchrun"
        )
    # In a batch script and in a shell that srun opened there is one process, of whatever job.
    step = any(name in env for name in STEP) and "SLURM_PTY_PORT" not in env
    if step or env.get("SLURM_PROCID", "0") != "0":
        return _of_srun(env)
    return None


def _of_torchrun(env: Mapping[str, str]) -> Place | None:
    world = int(env["WORLD_SIZE"])
    if world == 1:
        return None
    local = int(env.get("LOCAL_WORLD_SIZE", world))
    return _checked(
        Place(
            rank=int(env["RANK"]),
            world=world,
            local_rank=int(env["LOCAL_RANK"]),
            local_world=local,
            node=int(env.get("GROUP_RANK", int(env["RANK"]) // local)),
            host=env["MASTER_ADDR"],
            port=int(env.get("MASTER_PORT", 29500)),
            kept=env.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
        )
    )


def _of_srun(env: Mapping[str, str]) -> Place | None:
    from pytorch_lightning.plugins.environments import SLURMEnvironment

    try:
        world = int(env.get("SLURM_STEP_NUM_TASKS") or env["SLURM_NTASKS"])
        if world == 1:
            return None
        nodes = int(env.get("SLURM_STEP_NUM_NODES") or env.get("SLURM_NNODES") or 1)
        rank, local_rank = int(env["SLURM_PROCID"]), int(env["SLURM_LOCALID"])
        step = next((int(env[name]) for name in STEP if name in env), 0)
        port = 15000 + (int(env.get("SLURM_JOB_ID", 0)) * 16 + step) % 10000
        listed = env.get("SLURM_STEP_NODELIST") or env.get("SLURM_NODELIST") or "127.0.0.1"
        host = env.get("MASTER_ADDR") or SLURMEnvironment.resolve_root_node_address(listed)
        node = int(env.get("SLURM_NODEID", 0))
        port = int(env.get("MASTER_PORT", port))
        cores = int(env.get("SLURM_CPUS_PER_TASK", 0)) or None
    except (KeyError, ValueError) as error:
        raise UserError(
            f"SLURM's variables of a task don't fit together ({error}): start with srun, or with "
            "one task (--ntasks=1)"
        ) from error
    if world % nodes:
        raise UserError(
            f"srun has started {world} tasks on {nodes} nodes; each node needs as many "
            "(--ntasks-per-node)"
        )
    local = world // nodes
    return _checked(Place(rank, world, local_rank, local, node, host, port, cores=cores))


def _checked(place: Place) -> Place:
    """Return a place; raise UserError unless every node has as many processes, in order."""
    if place.rank != place.node * place.local_world + place.local_rank:
        raise UserError(
            f"process {place.rank} is number {place.local_rank} of node {place.node}: each node "
            f"needs as many processes, numbered node by node (srun --distribution=block)"
        )
    return place


def forget_place() -> None:
    """Take out of the environment what a launcher has set: what this process starts is ours."""
    for name in list(os.environ):
        if name in (*OF_TORCHRUN, *OF_BOTH) or name.startswith(("TORCHELASTIC_", "SLURM_STEP")):
            del os.environ[name]
