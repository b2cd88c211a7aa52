"""The command line: a table from word to function. No logic lives here."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from cyclopts import App
from cyclopts.exceptions import CycloptsError

from inceptory.errors import EXIT_BUG, EXIT_INTERRUPTED, Doubt, InceptoryError, UsageError, one_line
from inceptory.system import flags
from inceptory.system.clock import whole_process
from inceptory.system.files import of_the_system
from inceptory.system.outputs import is_stdout
from inceptory.system.streams import forgive, is_first, tell
from inceptory.version import __version__

COMMANDS = {
    "models": ("inceptory.nets.show:models", "List every network."),
    "show": ("inceptory.nets.show:show", "Show one network stage by stage, or draw it."),
    "check": ("inceptory.run.check:check", "Look a data set over before training."),
    "train": ("inceptory.learn.verbs:train", "Train a network on your own pictures."),
    "evaluate": ("inceptory.run.evaluate:evaluate", "Measure a checkpoint on labelled pictures."),
    "compare": ("inceptory.report.compare:compare", "Set finished runs beside one another."),
    "predict": ("inceptory.run.predict:predict", "Name what is in pictures."),
    "bench": ("inceptory.run.bench:bench", "Time networks on this machine."),
    "explain": ("inceptory.run.explain:explain", "Show where in pictures their labels come from."),
    "features": ("inceptory.features.features:extract_features", "Describe pictures by what a network sees in them."),
    "cache": ("inceptory.features.listing:cache", "Show or empty what is kept of features."),
    "weights": ("inceptory.weights.published.listing:weights", "List every published weight file."),
    "verify": ("inceptory.weights.verify:verify", "Say what a weight file of any package is."),
    "convert": ("inceptory.weights.convert:convert", "Write a network as another package's weight file."),
    "export": ("inceptory.run.export:export", "Write a network for other engines, with proof."),
    "reproduce": (
        "inceptory.run.reproduction.reproduce:reproduce",
        "Train the tutorials' CIFAR-10 networks, and compare them.",
    ),
    "demo": ("inceptory.run.demo:demo", "Train, evaluate and predict on handwritten digits."),
}

HELP = "The home of the Inception family of image classifiers."
EXAMPLES = """For example:

    inceptory show inception_v3

    inceptory train photos/ --model inception_v3 --out runs/photos

    inceptory predict runs/photos cat.jpg
"""


def application(command: str = "") -> App:
    """The commands, each imported only when it is called or asked for its own help."""
    # `_run` answers an interrupt, by its line and exit code 75.
    style: dict[str, Any] = {
        "suppress_keyboard_interrupt": False,
        "help_format": "plaintext",
        "help_formatter": flags.Page(),
    }
    app = App(name="inceptory", help=HELP, help_epilogue=EXAMPLES, version=__version__, **style)
    for word, (target, line) in COMMANDS.items():
        own = {} if word == command else {"help": line}
        app.command(target, name=word, help_epilogue="", **own)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; every fault ends as one line on standard error and its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if arguments is None:
        forgive()
    with warnings.catch_warnings(), whole_process() if arguments is None else nullcontext():
        warnings.filterwarnings("always", category=Doubt)
        warnings.showwarning = lambda message, *_, **__: print(one_line(f"warning: {message}"), file=sys.stderr)
        return _run(words)


def _run(words: list[str]) -> int:
    try:
        app = application(*words[:1])
        flags.refuse_fractions(app, words)
        result = app(words, exit_on_error=False, print_error=False, result_action="return_value")
        # Of several processes that torchrun started, one prints.
        if result is not None and is_first():
            # Where a flag sends a file to standard output, nothing else is printed there.
            if any(map(is_stdout, words)):
                print(result, file=sys.stderr)
            else:
                tell(result)
            fault = getattr(result, "fault", None)
            if fault is not None:
                return _fail(fault)
    except CycloptsError as fault:
        return _fail(UsageError(flags.explained(fault, f"inceptory {_command(words)}--help tells more")))
    except InceptoryError as fault:
        return _fail(fault)
    except KeyboardInterrupt:
        print("error: interrupted (what was saved so far is kept)", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return 0  # the reader of a file that was written through a pipe has left
    except Exception as fault:
        if os.environ.get("INCEPTORY_TRACEBACK"):
            raise
        if translated := of_the_system(fault):
            return _fail(translated)
        line = one_line(f"error: internal fault, {type(fault).__name__}: {fault}")
        print(f"{line} (INCEPTORY_TRACEBACK=1 shows where; please report it)", file=sys.stderr)
        return EXIT_BUG
    return 0


def _command(words: list[str]) -> str:
    return f"{words[0]} " if words and words[0] in COMMANDS else ""


def _fail(fault: InceptoryError) -> int:
    print(fault.line(), file=sys.stderr)
    return fault.exit_code
