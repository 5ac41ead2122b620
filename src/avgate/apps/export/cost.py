"""What int8 costs: the CCC on labelled clips before and after, or else how far the outputs move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from rich.table import Table
from torch import Tensor, nn

from avgate.apps.export.check import drawn
from avgate.apps.export.files import Run, Steps
from avgate.apps.export.program import Program
from avgate.corpora.base import Corpus
from avgate.evaluation.examples import Example, load_examples
from avgate.evaluation.scoring import label_traces, score
from avgate.features.stats import FeatureStats
from avgate.features.store import FeatureStore
from avgate.inference.estimator import Estimator
from avgate.models.network import Model, ModelOutput


@dataclass(frozen=True)
class Labelled:
    """Where labelled clips are: a corpus, the store of its features, and which of its splits."""

    corpus: Corpus
    store: FeatureStore
    split: str

    def examples(self, estimator: Estimator) -> list[Example]:
        """The clips with the features that the model was trained on; see load_examples for errors."""
        examples, specs = load_examples(self.corpus, self.store, estimator.recipe, self.split)
        estimator.check(specs, where=self.store.root)
        return examples


class _InPlace(nn.Module):
    """A file over whole sequences in the place of a checkpoint's network, for the targets alone."""

    def __init__(self, run: Run, modalities: Sequence[str], program: Program):
        super().__init__()
        self.run, self.modalities, self.program = run, modalities, program
        # A window of a causal model is a window here, too: whole recordings are for its step.
        self.causal = isinstance(run, Steps)
        self.anything = nn.Parameter(torch.zeros(1), requires_grad=False)  # an Estimator asks where the weights are

    def forward(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> ModelOutput:
        """The targets [b L k]; of a program of one length, sequences are padded to it."""
        steps = next(iter(present.values())).shape[1]
        more = self.program.longest - steps if self.program.fixed and self.program.longest else 0
        inputs = {m: nn.functional.pad(x, (0, 0, 0, more)).numpy() for m, x in features.items()}
        inputs |= {f"{m}_present": nn.functional.pad(x, (0, more)).numpy() for m, x in present.items()}
        return ModelOutput(torch.from_numpy(self.run(inputs)["targets"][:, :steps]), {}, {})

    def blank_state(self) -> dict[str, np.ndarray]:
        """As Model.blank_state."""
        return {}

    def advance(
        self, state: Mapping[str, np.ndarray], features: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> tuple[dict[str, np.ndarray], ModelOutput]:
        """As Model.advance, of a step's file."""
        assert isinstance(self.run, Steps)
        inputs = {m: x.numpy() for m, x in features.items()} | {f"{m}_present": x.numpy() for m, x in present.items()}
        after, out = self.run.advance(state, inputs)
        return after, ModelOutput(torch.from_numpy(out["targets"]), {}, {})


def in_place(estimator: Estimator, run: Run, program: Program) -> Estimator:
    """The same estimator with a file in the place of its network."""
    checkpoint = estimator.checkpoint
    # Files take raw features: their statistics are inside.
    stats = {m: FeatureStats.identity(len(s.mean)) for m, s in checkpoint.stats.items()}
    network = _InPlace(run, estimator.model.modalities, program)
    return Estimator(replace(checkpoint, stats=stats), model=cast(Model, network))


def ccc_table(
    files: Mapping[str, tuple[bytes, Run]], program: Program, estimator: Estimator, examples: Sequence[Example]
) -> Table:
    """CCC of files on labelled clips, each target and the mean, smoothed as the checkpoint says, and the files' sizes.

    Args:
        files: name -> its bytes, and the file as a function over whole sequences.
        program: what they hold.
        estimator: the model that they came from.
        examples: the clips.
    """
    width = estimator.checkpoint.smooth_steps
    shown = Table(title=f"CCC of the exported files on {len(examples)} clips")
    shown.add_column("file")
    shown.add_column("bytes", justify="right")
    for target in (*estimator.targets, "mean"):
        shown.add_column(target, justify="right")
    for name, (whole, run) in files.items():
        traces = label_traces(in_place(estimator, run, program), examples, [width])[width]
        found = score(traces, examples, estimator.targets)["pooled"]
        scores = [f"{found[target]['ccc']:.4f}" for target in (*estimator.targets, "mean")]
        shown.add_row(name, f"{len(whole):,}", *scores)
    return shown


def moved_table(files: Mapping[str, tuple[bytes, Run]], program: Program, estimator: Estimator) -> Table:
    """How far the second file's outputs lie from the first's on random inputs: the mean and the largest difference."""
    steps = program.longest or estimator.recipe.window
    batches = [*drawn(estimator.checkpoint, estimator.model.modalities, steps)]
    (_, before), (_, after) = files.values()
    sizes = ", ".join(f"{name}: {len(whole):,} bytes" for name, (whole, _) in files.items())
    shown = Table(title=f"What int8 changes, on random features\n{sizes}")
    for head in ("output", "mean difference", "largest"):
        shown.add_column(head, justify="left" if head == "output" else "right")
    outputs = [(before(batch), after(batch)) for batch in batches]
    for output in program.outputs:
        apart = np.concatenate([np.abs(one[output] - other[output]).ravel() for one, other in outputs])
        shown.add_row(output, f"{np.nanmean(apart):.4f}", f"{np.nanmax(apart):.4f}")
    shown.caption = "What that costs in CCC, only labelled clips can tell: give --corpus and --data."
    return shown
