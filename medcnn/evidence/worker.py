"""One of the processes that share the maps of files: ``python -m medcnn.evidence.worker``."""

from medcnn.evidence.of_files import begin_in_worker
from medcnn.inference.several_processes import serve_process

if __name__ == "__main__":
    serve_process(begin_in_worker)
