"""The command line: one function per verb. Heavy imports are inside, so that `--help` answers at once."""

from __future__ import annotations

import sys

import tyro

from avgate.cli.affwild2 import check_submission, reproduce, submit
from avgate.cli.corpora import extract, inspect, labels, render
from avgate.cli.models import benchmark, evaluate, train
from avgate.cli.videos import demo, predict, report
from avgate.core.errors import AvgateError

VERBS = {
    f.__name__.replace("_", "-"): f
    for f in (
        demo,
        predict,
        report,
        render,
        inspect,
        labels,
        extract,
        train,
        evaluate,
        reproduce,
        submit,
        check_submission,
        benchmark,
    )
}


def main(args: list[str] | None = None) -> None:
    """Run the command line; AvgateErrors become one message and their exit code, Ctrl-C ends with 130."""
    from rich.markup import escape

    from avgate.core.console import console

    if (sys.argv[1:] if args is None else args) == ["--version"]:
        from importlib.metadata import version

        print(f"avgate {version('avgate')}")
        return
    try:
        tyro.extras.subcommand_cli_from_dict(
            VERBS,
            prog="avgate",
            description="Per-frame valence and arousal from face and voice, and everything around it.",
            args=args,
        )
    except AvgateError as error:
        console.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        console.print("[bold]interrupted:[/] what is finished is kept; the same command continues from there.")
        sys.exit(130)
