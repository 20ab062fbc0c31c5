"""One of the processes that share a test: ``python -m medcnn.inference.split_worker``."""

from medcnn.inference.several_processes import serve_process
from medcnn.inference.split_parts import begin_in_worker

if __name__ == "__main__":
    serve_process(begin_in_worker)
