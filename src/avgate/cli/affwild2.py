"""Verbs for the files of Aff-Wild2's challenge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from avgate.cli.options import Checkpoints, Data, Store


def submit(
    checkpoints: Checkpoints,
    data: Data,
    sample: Path,
    out: Path,
    store: Store = None,
) -> None:
    """Write a submission for Aff-Wild2's challenge: estimates for the rows of its sample file, in their order.

    Several models are joined by CCC centring.

    For example: avgate submit run --data AFFWILD2 --sample sample.csv --out submission.csv

    Args:
        sample: The challenge's sample file.
        out: File to write.
    """
    from avgate.apps.affwild2.submission import submit as run
    from avgate.core.console import console
    from avgate.core.errors import UsageError
    from avgate.core.files import refuse_overwriting
    from avgate.corpora import open_corpus
    from avgate.features.store import FeatureStore, features_beside
    from avgate.inference.estimator import Estimator
    from avgate.models.checkpoint import checkpoint_file

    if not checkpoints:
        raise UsageError("there is nothing to submit", hint="name one or more runs or checkpoints")
    refuse_overwriting([sample, *map(checkpoint_file, checkpoints)], {"--out": out})
    features = FeatureStore(store or features_beside(data))
    loaded = [Estimator(path) for path in checkpoints]
    filled = run(loaded, open_corpus("affwild2", data), features, sample, out)
    for video, count in filled.items():
        console.say((f"{video}:", "yellow"), f" {count} frames without an estimate were interpolated")
    console.say(f"{out} is written and has the rows of {sample}")


def check_submission(submission: Annotated[Path, Positional], sample: Path) -> None:
    """Check a submission for Aff-Wild2's challenge against its sample file, and name the first row that is wrong.

    For example: avgate check-submission submission.csv --sample sample.csv

    Args:
        submission: The file to check.
        sample: The challenge's sample file.
    """
    from avgate.apps.affwild2.submission import check_submission as run
    from avgate.core.console import console

    console.say(f"{submission}: {run(submission, sample)} rows, as asked for")
