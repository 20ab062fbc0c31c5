"""``python -m medcnn.jobs.engines.child <module> <argument …>``: a command of a job.

It stops as at SIGTERM once stdin is closed, as by the end of the process that has started it,
however that ends: no job goes on unseen while it is started again elsewhere.
"""

import os
import runpy
import signal
import sys
import threading
import time

GRACE = 60  # seconds for the command to stop
STOPPED = 130  # exit code of a command that was interrupted


def main() -> None:
    """Run the command as ``python -m`` does."""
    _, module, *arguments = sys.argv
    stdin = sys.stdin.fileno()
    threading.Thread(target=_stop_once_closed, args=(stdin,), daemon=True).start()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _stop_once_closed(stdin: int) -> None:
    """Wait until that is closed, and send SIGTERM to the thread of the command."""
    os.read(stdin, 1)
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(STOPPED)


if __name__ == "__main__":
    main()
