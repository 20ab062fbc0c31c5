"""Ray's cluster, as this process joins it."""

import os
import signal
import threading
from typing import Any

from medcnn.errors import UserError


def join_cluster(ray: Any, key: str, address: str | None = None, *, show: bool = False) -> bool:
    """Join a cluster, or begin one on this machine; return whether this process hadn't before.

    Args:
        ray: The package.
        key: Of the config, for messages.
        address: Of the cluster; None for ``RAY_ADDRESS``, or one that runs on this machine.
        show: Whether what its processes print is shown here.

    Raises:
        UserError: There is no such cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # which would be sent to Ray's makers
    if ray.is_initialized():
        return False
    handler = signal.getsignal(signal.SIGTERM)  # of which Ray makes another
    try:
        ray.init(address=address, log_to_driver=show, logging_level="ERROR")
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(f"{key}: {' '.join(str(error).split())[:200]}") from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)
    return True
