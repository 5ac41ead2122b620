"""The command line: one function per verb. Heavy imports are inside, so that `--help` answers at once."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from typing import Annotated, Any, Union

import tyro

from avgate.cli.affwild2 import check_submission, submit
from avgate.cli.corpora import extract, inspect, labels, render
from avgate.cli.models import compare, evaluate, export, train
from avgate.cli.options import within_ranges
from avgate.cli.reproduce import reproduce
from avgate.cli.serve import serve, work
from avgate.cli.videos import demo, live, predict, report, stream
from avgate.core.errors import AvgateError, UsageError, choose
from avgate.core.text import one_line

VERBS = {
    verb.__name__.replace("_", "-"): verb
    for verb in (
        demo,
        predict,
        report,
        stream,
        live,
        serve,
        work,
        render,
        inspect,
        labels,
        extract,
        train,
        evaluate,
        compare,
        export,
        reproduce,
        submit,
        check_submission,
    )
}
ALIASES = {"benchmark": "compare"}
"""Name of a verb in earlier versions -> its name now."""

_KEPT = "what is finished is kept; the same command continues from there."


def main(args: list[str] | None = None) -> None:
    """Run the command line; an AvgateError becomes one message and its exit code.

    Ctrl-C ends with 130, and the signals that ask to end with 128 and their number: SIGTERM with 143.
    """
    from avgate.core.console import console
    from avgate.core.processes import out_of_memory, ran_out_of_memory
    from avgate.core.signals import Ended, orderly_end

    # What numpy multiplies here is small; its second thread would only wait for more, at the cost of a core.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    args = sys.argv[1:] if args is None else args
    if args == ["--version"]:
        from importlib.metadata import version

        print(f"avgate {version('avgate')}")
        return
    try:
        if "" in args:
            hint = "check the variables in your command; . is the current folder"
            raise UsageError(f"argument {args.index('') + 1} is empty", hint=hint)
        verb_named = bool(args) and not args[0].startswith("-")
        if verb_named:
            choose("verb", ALIASES.get(args[0], args[0]), VERBS)
        with orderly_end():
            tyro.cli(
                _verbs(short=not verb_named),
                prog="avgate",
                description="Valence and arousal of a person in every video frame, from face and voice. "
                "`avgate VERB --help` explains a verb and shows an example.",
                args=_current(args),
                config=(tyro.conf.DisallowNone,),
            )
    except Exception as error:
        if not isinstance(error, AvgateError):
            if not ran_out_of_memory(error):
                raise
            error = out_of_memory("memory ran out")
        console.print("error:", style="bold red", end=" ")
        console.print(str(error), soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        console.say(("interrupted:", "bold"), f" {_KEPT}")
        sys.exit(130)
    except Ended as ended:
        with contextlib.suppress(OSError):  # the terminal may be gone
            console.say((f"ended by {ended.name}:", "bold"), f" {_KEPT}")
        sys.exit(ended.code)


def _verbs(short: bool) -> Any:
    """The verbs as a type for tyro, which calls the chosen one.

    Args:
        short: describe each by the first sentence of its docstring, for the list of verbs; else by all of it.
    """
    types = []
    for name, verb in VERBS.items():
        aliases = [old for old, new in ALIASES.items() if new == name]
        text = (verb.__doc__ or "").partition("\n")[0] if short else None
        config = tyro.conf.subcommand(name, constructor=within_ranges(verb), aliases=aliases, description=text)
        types.append(Annotated[Any, config])
    return Union[tuple(types)]  # noqa: UP007 (the list of types is known only here)


def _current(args: list[str]) -> list[str]:
    """The command line as it is written today.

    Before version 0.2, `inspect` and `benchmark` took the corpus as first argument, and `inspect` called --data --root.
    """
    if len(args) > 1 and args[0] in ("inspect", "compare", "benchmark") and not args[1].startswith("-"):
        args = [args[0], "--corpus", *args[1:]]
    if args[:1] == ["inspect"]:
        args = [re.sub(r"^--root(?==|$)", "--data", arg) for arg in args]
    # tyro quotes options that don't exist; a file's name that begins with a hyphen is one, too.
    return [one_line(arg) if re.match("-[^=]*$", arg, re.DOTALL) else arg for arg in args]
