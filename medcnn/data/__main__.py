"""``python -m medcnn.data``: what medcnn sees in a data set, before anything is trained on it."""

from medcnn import cli
from medcnn.look import look

if __name__ == "__main__":
    cli.main(look, "data")
