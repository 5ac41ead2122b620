"""`avgate train`: from stored features and labels to a checkpoint, with a run folder from which it can always go on.

RUN/checkpoint.safetensors   the best epoch so far, ready to use
RUN/resume.safetensors       the last epoch's weights and optimiser state
RUN/history.csv              one row per epoch
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from avgate.checkpoint import Checkpoint, FeatureSpec, modality_dims
from avgate.config import Recipe, to_plain
from avgate.console import console, progress
from avgate.corpora.base import Corpus
from avgate.errors import CorpusError, UsageError
from avgate.examples import Example, groups, load_examples
from avgate.fusions import fusion_class
from avgate.inference import standardised
from avgate.losses import ccc_loss
from avgate.model import Model
from avgate.runstate import RunState
from avgate.scoring import choose_smoothing, label_traces, mean_ccc, score
from avgate.stats import FeatureStats
from avgate.store import FeatureStore


@dataclass(frozen=True)
class Prepared:
    """What does not change while a model is trained: both splits, the statistics and the standardised features."""

    train: list[Example]
    validation: list[Example]
    specs: tuple[FeatureSpec, ...]
    stats: dict[str, FeatureStats]
    values: list[dict[str, np.ndarray]]

    @property
    def targets(self) -> tuple[str, ...]:
        """What is estimated."""
        return self.train[0].labels.targets

    def only(self, modalities: Sequence[str]) -> Prepared:
        """The same data with some of the modalities' features."""
        return replace(
            self,
            specs=tuple(s for s in self.specs if s.modality in modalities),
            stats={m: self.stats[m] for m in modalities},
        )


def prepare(corpus: Corpus, store: FeatureStore, recipe: Recipe) -> Prepared:
    """Load both splits and fit the statistics on the training clips alone.

    Raises:
        CorpusError: a split is empty, a person is in both, or a modality never occurs.
    """
    train, specs = load_examples(corpus, store, recipe, "train")
    validation, _ = load_examples(corpus, store, recipe, "validation")
    shared = groups(train) & groups(validation)
    if shared:
        raise CorpusError(
            f"these groups are in the training and in the validation split: {', '.join(sorted(shared))}",
            where=corpus.name,
            hint="split by group: scores on people seen in training say nothing about others",
        )
    stats = {}
    for modality in modality_dims(specs):
        rows = [e.features.values[modality][e.features.present[modality]] for e in train]
        if not sum(map(len, rows)):
            raise CorpusError(f"no training clip has any {modality}", where=corpus.name)
        stats[modality] = FeatureStats.fit(rows)
    return Prepared(train, validation, specs, stats, [standardised(e.features, stats) for e in train])


@dataclass(frozen=True)
class Batch:
    """Windows side by side: modality -> [b L d], modality -> bool [b L], labels [b L k] (NaN where there is none)."""

    features: dict[str, Tensor]
    present: dict[str, Tensor]
    labels: Tensor


def batches(data: Prepared, recipe: Recipe, epoch: int, device: torch.device) -> Iterator[Batch]:
    """One epoch of training windows: from a random first step on, every hop, in random order.

    The order depends on seed and epoch alone, so that a resumed run sees what an uninterrupted one would have seen.
    """
    random = np.random.default_rng((recipe.train.seed, epoch))
    window, hop = recipe.window, recipe.hop
    starts = []
    for i, example in enumerate(data.train):
        last = max(0, len(example.features) - window)
        first = int(random.integers(0, min(hop, last + 1)))
        starts += [(i, s) for s in {*range(first, last + 1, hop), last}]
    starts.sort()
    order = random.permutation(len(starts))
    for at in range(0, len(order), recipe.train.batch):
        yield _stack([starts[j] for j in order[at : at + recipe.train.batch]], data, window, device)


def _stack(picked: Sequence[tuple[int, int]], data: Prepared, window: int, device: torch.device) -> Batch:
    def padded(parts: list[np.ndarray], fill: float | bool) -> Tensor:
        out = np.full((len(parts), window, *parts[0].shape[1:]), fill, parts[0].dtype)
        for row, part in zip(out, parts, strict=True):
            row[: len(part)] = part
        return torch.from_numpy(out).to(device)

    cuts = [(i, slice(s, s + window)) for i, s in picked]
    evidence = [np.any([data.train[i].features.present[m][c] for m in data.stats], axis=0) for i, c in cuts]
    labels = [np.where(e[:, None], data.train[i].steps[c], np.nan) for (i, c), e in zip(cuts, evidence, strict=True)]
    return Batch(
        {m: padded([data.values[i][m][c] for i, c in cuts], 0.0) for m in data.stats},
        {m: padded([data.train[i].features.present[m][c] for i, c in cuts], False) for m in data.stats},
        padded([x.astype(np.float32) for x in labels], np.nan),
    )


def learning_rate(recipe: Recipe, epoch: int) -> float:
    """One epoch of warm-up at a third of the peak, then a cosine from the peak to a tenth of it."""
    if epoch == 0:
        return recipe.train.lr / 3
    through = (epoch - 1) / max(1, recipe.train.epochs - 2)
    return recipe.train.lr * (0.1 + 0.9 * (1 + math.cos(math.pi * min(1.0, through))) / 2)


def train(
    corpus: Corpus,
    store: FeatureStore,
    recipe: Recipe,
    run: Path,
    *,
    accelerator: str = "auto",
    precision: Any = "32-true",
    prepared: Prepared | None = None,
) -> Checkpoint:
    """Train a recipe; an existing run folder of the same recipe goes on as if it had never stopped (exactly, on CPU).

    Args:
        corpus: labelled clips with the splits train and validation.
        store: their features.
        recipe: what to train.
        run: folder for checkpoint, resume state and history.
        accelerator: lightning-fabric's: "auto", "cpu", "cuda", ...
        precision: lightning-fabric's: "32-true", "bf16-mixed", ...
        prepared: data loaded before, to train several models on it.

    Returns:
        The checkpoint of the best epoch.
    """
    data = prepared or prepare(corpus, store, recipe)
    data = data.only(fusion_class(recipe.model.fusion).modalities(tuple(data.stats)))
    fabric = Fabric(accelerator=accelerator, devices=1, precision=precision)
    fabric.launch()
    identity = {
        "recipe": to_plain(recipe),
        "features": [spec.fingerprint for spec in data.specs],
        "clips": [e.clip.name for e in (*data.train, *data.validation)],
    }
    torch.manual_seed(recipe.train.seed)
    bare = Model(recipe.model, modality_dims(data.specs), len(data.targets), recipe.window)
    state = RunState.load(run, identity) or RunState.new(identity, bare)
    optimizer: Any = torch.optim.AdamW(bare.parameters(), lr=recipe.train.lr, weight_decay=recipe.train.weight_decay)
    state.restore(bare, optimizer)
    model, optimizer = fabric.setup(bare, optimizer)
    run.mkdir(parents=True, exist_ok=True)
    if state.epoch:
        console.print(f"Continuing {run} after epoch {state.epoch}")
    with progress() as bar:
        task = bar.add_task(f"Training {recipe.fusion}", total=recipe.train.epochs, completed=state.epoch)
        while state.epoch < recipe.train.epochs and state.epoch - state.best_epoch < recipe.train.patience:
            loss = _run_epoch(fabric, model, optimizer, data, recipe, state.epoch)
            found = label_traces(bare.eval(), data.validation, data.stats, recipe, data.targets, [1])[1]
            state = state.next(bare, optimizer, loss, mean_ccc(found, data.validation, data.targets, raw=True))
            state.save(run)
            bar.update(task, advance=1, description=f"Training {recipe.fusion}, validation CCC {state.best_score:.3f}")
    checkpoint = _finish(corpus, data, recipe, state)
    checkpoint.save(run / "checkpoint.safetensors")
    return checkpoint


def _run_epoch(fabric: Fabric, model: Any, optimizer: Any, data: Prepared, recipe: Recipe, epoch: int) -> float:
    torch.manual_seed(recipe.train.seed * 1_000_003 + epoch + 1)  # dropout: the same in a resumed run
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(recipe, epoch)
    model.train()
    losses = []
    for batch in batches(data, recipe, epoch, fabric.device):
        out = model(batch.features, batch.present)
        loss = ccc_loss(out.targets, batch.labels, recipe.train.mse_weight)
        optimizer.zero_grad()
        fabric.backward(loss)
        fabric.clip_gradients(model, optimizer, max_norm=recipe.train.clip_norm)
        optimizer.step()
        losses.append(float(loss.detach()))
    if not np.isfinite(losses).all():
        raise UsageError(f"training diverged in epoch {epoch + 1}", hint="lower train.lr, or raise train.batch")
    return float(np.mean(losses))


def _finish(corpus: Corpus, data: Prepared, recipe: Recipe, state: RunState) -> Checkpoint:
    """The best epoch as a checkpoint, with the mean filter chosen on the validation clips."""
    checkpoint = Checkpoint(
        recipe=recipe,
        features=data.specs,
        targets=data.targets,
        stats=data.stats,
        weights=state.best,
        demonstration=corpus.synthetic,
        trained_on={
            "corpus": corpus.name,
            "train_clips": len(data.train),
            "validation_clips": len(data.validation),
            "train_groups": sorted(groups(data.train)),
            "validation_groups": sorted(groups(data.validation)),
            "epoch": state.best_epoch,
            "seed": recipe.train.seed,
        },
    )
    widths = sorted({2 * (recipe.grid.seconds_to_steps(s) // 2) + 1 if s else 1 for s in recipe.smooth_s})
    by_width = label_traces(checkpoint.build(), data.validation, data.stats, recipe, data.targets, widths)
    width = choose_smoothing(by_width, data.validation, data.targets)
    scores = {
        "raw": score(by_width[width], data.validation, data.targets, raw=True)["pooled"],
        "smoothed": score(by_width[width], data.validation, data.targets)["pooled"],
    }
    return replace(checkpoint, smooth_steps=width, scores={"validation": scores})
