"""``python -m medcnn``: the commands, a line each."""

import sys

from medcnn._version import __version__
from medcnn.jobs.lacking import lacking
from medcnn.jobs.terminal import say, terminal

COMMANDS = {
    "train": "train a classifier, test it, and draw the evidence for its decisions",
    "plan": "how a training would configure itself within a time budget, and why",
    "diagnose": "whether a training can work, before hours go into it",
    "search": "try many settings of a training, by one worker or several, and keep the best",
    "data": "what is in a data set, and every problem of it, before training",
    "evaluate": "test a checkpoint again, with other settings, or on other data",
    "predict": "classify new images with a checkpoint",
    "explain": "maps of the evidence for decisions, and scores of whether to believe them",
    "features": "the filters of a net, and what its layers make of an image",
    "report": "the page of a run, or one that compares several",
    "nets": "the networks, and their layers",
}


def main(arguments: list[str]) -> int:
    """Print the commands; gives the exit code back."""
    with terminal():
        if arguments and (word := arguments[0]) not in ("-h", "--help"):
            hint = "python -m medcnn lists the commands"
            if word in COMMANDS:
                hint = f"write python -m medcnn.{word}, with a dot"
            return say(lacking(word) or f"{word}: {hint}", 2)
        print(f"medcnn {__version__}\n")
        for name, line in COMMANDS.items():
            print(f"  python -m medcnn.{name:9} {line}")
        print("\nEach one says with --help what can be set.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
