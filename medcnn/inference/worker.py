"""One of the processes that share a prediction: ``python -m medcnn.inference.worker``."""

from medcnn.inference.of_files import begin_in_worker
from medcnn.inference.several_processes import serve_process

if __name__ == "__main__":
    serve_process(begin_in_worker)
