"""`avgate train`: from stored features and labels to a checkpoint, in a run folder that can be resumed.

RUN/checkpoint.safetensors   the best epoch so far, ready to use
RUN/resume.safetensors       the last epoch's weights and optimiser state
RUN/history.csv              one row per epoch
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn.utils.parametrize import cached

from avgate.core.console import console, progress
from avgate.core.errors import UsageError
from avgate.core.files import make_folder
from avgate.core.places import Place
from avgate.core.scratch import scratch_folder
from avgate.core.types import Trace
from avgate.corpora.base import Corpus
from avgate.evaluation.calibration import calibrate
from avgate.evaluation.examples import groups
from avgate.evaluation.scoring import choose_smoothing, label_traces, mean_ccc, score, unvarying
from avgate.features.store import FeatureStore
from avgate.inference.estimator import Estimator
from avgate.models.checkpoint import Checkpoint
from avgate.models.fusions import fusion_class
from avgate.models.losses import beta_nll, ccc_loss, reliability_loss, unimodal_loss
from avgate.models.network import Model
from avgate.models.recipe import Recipe
from avgate.training.batches import Batch, Prepared, batches, load_splits, with_losses
from avgate.training.launch import begin_all
from avgate.training.run_state import RunState, run_identity
from avgate.training.several import Devices, Several, Strategy, fabric_of, must_begin_others

_END, _SETTLED, _RESTARTS = 0.97, 5, 3
"""Training restarts up to _RESTARTS times if after epoch _SETTLED most estimates are beyond ±_END, where tanh has no
gradient left.
"""

_NEAR_GUESSING = 0.05
"""A validation CCC up to this is called no better than guessing."""


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
    run: Place | None,
    *,
    accelerator: str = "auto",
    precision: Any = "32-true",
    devices: Devices = 1,
    nodes: int = 1,
    strategy: Strategy = "auto",
    prepared: Prepared | None = None,
) -> Estimator:
    """Train a recipe; a run folder of the same recipe is resumed, on a CPU to the same bits.

    Args:
        corpus: labelled clips with the splits train and validation.
        store: their features.
        recipe: what to train.
        run: folder, or address, for checkpoint, resume state and history; None keeps nothing.
        accelerator: lightning-fabric's: "auto", "cpu", "cuda", ...
        precision: lightning-fabric's: "32-true", "bf16-mixed", ...
        devices: processes on each machine, each with a device of its own; "auto": as many as there are GPUs.
        nodes: machines.
        strategy: how processes share the work, see fabric_of.
        prepared: data loaded before, to train several models on it.

    Returns:
        The model of the best epoch.

    Raises:
        UsageError: the folder holds a run of something else, or in another precision; or training diverged; or there
            are no such devices.
        WorkerError: one of several processes was killed.
        PlaceError: an address can't be reached or read.
    """
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it tells of precisions and cards, on every start
    how: dict[str, Any] = {
        "accelerator": accelerator,
        "precision": precision,
        "devices": devices,
        "nodes": nodes,
        "strategy": strategy,
    }
    fabric = fabric_of(**how)
    if not must_begin_others(fabric):
        with Several.joined(fabric, run) as several:
            data = prepared or load_splits(corpus, store, recipe)
            data = data.only(fusion_class(recipe.model.fusion).modalities(tuple(data.stats)))
            best = Estimator(_train(corpus, data, recipe, run, str(precision), several))
            for doubt in () if prepared else _doubts(best, data):
                console.say((doubt, "yellow"))
            return best
    with scratch_folder() as folder:
        begin_all(partial(_train_into, folder, corpus, store, recipe, run, prepared=prepared, **how), fabric, folder)
        return Estimator(folder / "checkpoint.safetensors")


def _train_into(folder: Path, *what: Any, **how: Any) -> None:
    """Train, and leave the model in a folder where other processes find it."""
    trained = train(*what, **how)
    if os.environ["LOCAL_RANK"] == "0":
        trained.checkpoint.save(folder / "checkpoint.safetensors")


def _train(
    corpus: Corpus, data: Prepared, recipe: Recipe, run: Place | None, precision: str, several: Several
) -> Checkpoint:
    """Train in this process, one of several; what is decided by validation, the first of them decides for all."""
    clips = [e.clip for e in (*data.train, *data.validation)]
    identity = run_identity(recipe, data.specs, clips, precision)
    several.agree(identity)
    if recipe.train.threads:
        torch.set_num_threads(recipe.train.threads)
    torch.manual_seed(recipe.train.seed)
    about = _about(corpus, data, recipe)
    bare = about.untrained()
    estimator = Estimator(about, model=bare)
    state = several.from_first(lambda: RunState.load(run, identity) if run else None) or RunState.new(identity, bare)
    optimizer = _adamw(bare, recipe, several.fabric.device)
    model, optimizer = several.set_up(bare, optimizer)
    # Only now are the weights where they are trained, and of that precision; the optimiser's moments follow them there.
    state.restore(bare, optimizer)
    if run and state.epoch:
        word = "Continuing" if _goes_on(state, recipe) else "Already finished:"
        console.say(f"{word} {run} after epoch {state.epoch}")
    with progress() as bar:
        task = bar.add_task(f"Training {recipe.fusion}", total=recipe.train.epochs, completed=state.epoch)
        while _goes_on(state, recipe):
            loss = _run_epoch(several.fabric, model, optimizer, data, recipe, state.epoch)
            score, stuck = several.from_first(lambda: _validated(estimator, data))
            state = state.next(bare, optimizer, loss, score)
            if state.epoch == _SETTLED and state.restarts < _RESTARTS and stuck:
                state = _anew(bare, optimizer, state, about)
            if run and several.rank == 0:
                state.save(make_folder(run))
            bar.update(task, advance=1, description=f"Training {recipe.fusion}, validation CCC {state.best_score:.3f}")

    def finished() -> Checkpoint:
        best = _best(about, data, state)
        if run:
            best.save(run / "checkpoint.safetensors")
        return best

    return several.from_first(finished)


def _validated(estimator: Estimator, data: Prepared) -> tuple[float, bool]:
    """The validation score, and whether most estimates stand at the ends of the scale."""
    found = label_traces(estimator, data.validation, [1])[1]
    return mean_ccc(found, data.validation, data.targets, raw=True), _saturated(found)


def _doubts(best: Estimator, data: Prepared) -> list[str]:
    """What the user must know of a training whose validation says little, or that has learned nothing."""
    found = unvarying(data.validation, data.targets, "validation")
    if found:
        return [
            f"{found[0]} Which epoch is the best can't be told by them: put clips with other labels into the split."
        ]
    if best.checkpoint.scores["validation"]["raw"]["mean"]["ccc"] > _NEAR_GUESSING:
        return []
    return [
        "A validation CCC near 0 is no better than guessing: what the model learned doesn't hold for the validation "
        "clips. Check that labels fit their videos (`avgate inspect`), and give it more clips."
    ]


def _saturated(traces: Sequence[Trace]) -> bool:
    """Whether most estimates stand at the ends of the scale, where tanh has no gradient left."""
    values = np.concatenate([values for trace in traces for values in trace.raw.values()])
    known = np.abs(values[~np.isnan(values)])
    return bool(len(known)) and float((known > _END).mean()) > 0.5


def _anew(model: Model, optimizer: Any, state: RunState, about: Checkpoint) -> RunState:
    """Begin again from other initial weights, which depend on the seed and on how often that was done."""
    restarts = state.restarts + 1
    console.say(f"Estimates stand at the ends of the scale after epoch {state.epoch}: beginning anew ({restarts})")
    torch.manual_seed(about.recipe.train.seed + 7919 * restarts)
    fresh = about.untrained()
    model.load_state_dict(fresh.state_dict())
    optimizer.state.clear()
    return RunState.new(state.identity, fresh, restarts)


def _adamw(model: Model, recipe: Recipe, device: torch.device) -> Any:
    """The optimiser. On a CPU one call goes through all that there is of a parameter at once (fused).

    Elsewhere a call goes through many parameters (foreach): a fused one couldn't have its gradients clipped in float16.
    """
    how: dict[str, Any] = {"fused" if device.type == "cpu" else "foreach": True}
    return torch.optim.AdamW(_groups(model), lr=recipe.train.lr, weight_decay=recipe.train.weight_decay, **how)


def _groups(model: Model) -> list[dict[str, Any]]:
    """Parameter groups: a backbone that is trained along has a smaller learning rate; the spread head is the last."""
    tuned = {m: [p for p in module.parameters() if p.requires_grad] for m, module in model.tuned.items()}
    spread = [] if model.spread is None else [*model.spread.parameters()]
    apart = {id(p) for parameters in (*tuned.values(), spread) for p in parameters}
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in apart]
    slow = [{"params": ps, "lr_scale": model.config.finetune[m].lr_scale} for m, ps in tuned.items()]
    return [{"params": rest}, *slow, *([{"params": spread, "spread": True}] if spread else [])]


def _spread_loss(several: Several, model: Any, batch: Batch) -> Tensor | float:
    """Loss of the spread head, of the model as it will be used; 0 without one.

    The model's dropout is off, so that its random numbers stay those of a training without this head. What a modality's
    loss costs is learned whether or not the recipe trains the model to cope with it.
    """
    if model.spread is None:
        return 0.0
    model.eval()
    out = several.outputs(model, batch)
    model.train()
    assert out.centre is not None  # a model with that head has both
    assert out.log_variance is not None
    return beta_nll(out.centre, out.log_variance, batch.labels)


def _clip(fabric: Fabric, model: Any, optimizer: Any, norm: float) -> None:
    """Bound the gradient norm of the spread head and that of all else, so that neither changes the other's training.

    NaN gradients stay: they are reported with the losses that follow from them.
    """
    fabric.clip_gradients(model, optimizer, max_norm=math.inf, error_if_nonfinite=False)  # undoes the loss scaling
    for spread in (False, True):
        groups = [group for group in optimizer.param_groups if group.get("spread", False) == spread]
        torch.nn.utils.clip_grad_norm_([p for group in groups for p in group["params"]], norm)


def _goes_on(state: RunState, recipe: Recipe) -> bool:
    return state.epoch < recipe.train.epochs and state.epoch - state.best_epoch < recipe.train.patience


def _run_epoch(fabric: Fabric, model: Any, optimizer: Any, data: Prepared, recipe: Recipe, epoch: int) -> float:
    config, spans, several = recipe.train, recipe.loss.ccc, Several(fabric)
    # Dropout: the same in a resumed run, and another in each process.
    torch.manual_seed(recipe.train.seed * 1_000_003 + epoch + 1 + several.rank * 15_485_863)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(recipe, epoch) * group.get("lr_scale", 1.0)
    random = np.random.default_rng((config.seed, epoch, 1))  # of the spread head's windows
    model.train()
    losses = []
    for batch in batches(data, recipe, epoch, fabric.device):
        with cached():  # weights are normalised once for both passes
            out = several.outputs(model, batch)
            loss = ccc_loss(out.targets, batch.labels, config.mse_weight, spans)
            loss = loss + config.unimodal_weight * unimodal_loss(out.unimodal, batch.labels, batch.reliable, spans)
            loss = loss + config.reliability_weight * reliability_loss(out.gates, batch.reliable)
            sure = _spread_loss(several, model, with_losses(batch, config.corrupt.steps, random))
        optimizer.zero_grad()
        fabric.backward(loss + sure)
        several.add_gradients(model)
        _clip(fabric, model, optimizer, config.clip_norm)
        optimizer.step()
        losses.append(float(loss.detach()))
    if not (np.isfinite(losses).all() and all(bool(p.isfinite().all()) for p in model.parameters())):
        raise UsageError(f"training diverged in epoch {epoch + 1}", hint="lower train.lr, or raise train.batch")
    return float(np.mean(losses))


def _about(corpus: Corpus, data: Prepared, recipe: Recipe) -> Checkpoint:
    """What a run's checkpoint says before there are weights."""
    emotion_map = getattr(corpus, "emotion_map", "")
    return Checkpoint(
        recipe=recipe,
        features=data.specs,
        targets=data.targets,
        stats=data.stats,
        weights={},
        demonstration=corpus.synthetic,
        trained_on={
            "corpus": corpus.name,
            "train_clips": len(data.train),
            "validation_clips": len(data.validation),
            "train_groups": sorted(groups(data.train)),
            "validation_groups": sorted(groups(data.validation)),
            "seed": recipe.train.seed,
            **({"emotion_map": emotion_map} if emotion_map else {}),
        },
    )


def _best(about: Checkpoint, data: Prepared, state: RunState) -> Checkpoint:
    """The model of the best epoch; mean filter and intervals are fitted to the validation clips."""
    recipe, trained_on = about.recipe, {**about.trained_on, "epoch": state.best_epoch}
    best = Estimator(replace(about, weights=state.best, trained_on=trained_on))
    widths = sorted({2 * (recipe.grid.seconds_to_steps(s) // 2) + 1 if s else 1 for s in recipe.smooth_s})
    by_width = label_traces(best, data.validation, widths)
    width = choose_smoothing(by_width, data.validation, data.targets)
    smoothed = Estimator(replace(best.checkpoint, smooth_steps=width), model=best.model)
    intervals = calibrate(smoothed, data.validation)
    scores = {
        "raw": score(by_width[width], data.validation, data.targets, raw=True)["pooled"],
        "smoothed": score(by_width[width], data.validation, data.targets)["pooled"],
    }
    return replace(smoothed.checkpoint, scores={"validation": scores}, intervals=intervals)
