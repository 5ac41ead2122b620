"""Backbones that are trained with the fusion: what learns, what stays, and how much memory it takes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from avgate.core.errors import ModelFileError, UsageError
from avgate.models.finetune import FinetuneConfig, Tuned
from avgate.models.recipe import from_plain, to_plain
from avgate.models.recipes import recipe_named
from tests.deep import write_audio, write_image

SIDE, STEP = 16, 1600


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("tuned")
    return {
        "images": write_image(root / "images", "vit"),
        "clip": write_image(root / "clip", "clip"),
        "sound": write_audio(root / "sound", "wavlm"),
    }


def tuned(sources: dict[str, Path], kind: str, **settings) -> tuple[Tuned, Tensor, Tensor]:
    """The module, raw features of two windows, and which of their steps are present."""
    torch.manual_seed(0)
    images = kind != "sound"
    columns = SIDE * SIDE * 3 if images else STEP
    module = Tuned(FinetuneConfig(str(sources[kind]), "images" if images else "sound", **settings), columns)
    x = torch.randint(0, 256, (2, 6, columns)).float() if images else torch.randn(2, 6, columns) / 4
    present = torch.ones(2, 6, dtype=torch.bool)
    present[1, 4:] = False
    return module, x, present


KINDS = pytest.mark.parametrize("kind", ["images", "clip", "sound"])


@KINDS
def test_the_last_layers_learn_and_the_rest_does_not_move(sources, kind):
    module, x, present = tuned(sources, kind)
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-2, weight_decay=0.1)
    out = module.train()(x, present)
    assert out.shape == (2, 6, 16)
    out.square().sum().backward()
    optimizer.step()
    moved = {name for name, p in module.named_parameters() if not torch.equal(p, before[name])}
    learning = {name for name, p in module.named_parameters() if p.requires_grad}
    assert moved == {n for n in learning if dict(module.named_parameters())[n].grad.any()}
    assert moved
    assert all(".1." in name for name in moved)  # of two layers, the second
    assert any(".0." in name for name in before.keys() - moved)


@pytest.mark.slow
@KINDS
def test_gradients_are_those_without_checkpointing_in_pieces_of_any_size(sources, kind):
    grads = []
    for piece in (1, 5, 100):
        module, x, present = tuned(sources, kind, piece=piece)
        module(x, present).square().sum().backward()
        grads.append(torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None]))
    module, x, present = tuned(sources, kind)
    module._piece = lambda run, part: run(part)
    module(x, present).square().sum().backward()
    plain = torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])
    for grad in grads:
        torch.testing.assert_close(grad, plain, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_memory_grows_with_a_piece_and_not_with_the_batch(sources, monkeypatch):
    def held(steps: int, piece: int) -> int:
        """Bytes that the way back holds on to when the way forward is done."""
        module, x, _ = tuned(sources, "images", piece=piece)
        x, kept = x[:1, :1].expand(1, steps, -1).contiguous(), {}

        def keep(tensor: Tensor) -> Tensor:
            kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            out = module(x, torch.ones(1, steps, dtype=torch.bool))
        raw = x.numel() * 4
        del out
        return sum(kept.values()) - raw

    few, many = held(64, 8), held(256, 8)
    monkeypatch.setattr(Tuned, "_piece", lambda self, run, part: run(part))
    without = held(256, 8)
    assert many < without / 5
    assert many - few < 4 * (256 - 64) * SIDE * SIDE * 3 * 4  # what goes in, and nothing that is made of it


@KINDS
def test_what_stands_in_absent_steps_changes_nothing(sources, kind):
    module, x, present = tuned(sources, kind)
    module.eval()
    with torch.no_grad():
        expected = module(x, present)
        found = module(torch.where(present[..., None], x, torch.full_like(x, 77.0)), present)
    assert torch.equal(expected, found)


@KINDS
def test_training_mode_has_no_dropout_of_its_own(sources, kind):
    module, x, present = tuned(sources, kind)
    with torch.no_grad():
        assert torch.equal(module.train()(x, present), module(x, present))


def test_more_layers_than_there_are_and_models_without_layers_are_refused(sources, tmp_path):
    with pytest.raises(ModelFileError, match="it has 2 layers, so 3 can't be trained"):
        tuned(sources, "images", layers=3)
    resnet = write_image(tmp_path / "resnet", "resnet")
    with pytest.raises(ModelFileError):
        Tuned(FinetuneConfig(str(resnet)), SIDE * SIDE * 3)


@pytest.mark.parametrize(
    ("source", "kind", "said"), [("sound", "images", "of sound"), ("images", "sound", "of images")]
)
def test_a_model_of_the_other_kind_is_refused(sources, source, kind, said):
    with pytest.raises(ModelFileError, match=f"it is a model {said}"):
        Tuned(FinetuneConfig(str(sources[source]), kind), SIDE * SIDE * 3)


def test_a_recipe_says_which_raw_features_a_backbone_is_trained_on():
    recipe = recipe_named("demo-finetune")
    assert recipe.model.finetune["video"].kind == "images"
    with pytest.raises(ValueError, match="a model of images needs the backbone crops alone, not facemesh"):
        replace(recipe, backbones=("egemaps", "facemesh"))
    with pytest.raises(ValueError, match="not crops, facemesh"):
        replace(recipe, backbones=("egemaps", "crops", "facemesh"))


def test_recipes_without_a_backbone_to_train_are_written_as_before():
    assert "finetune" not in to_plain(recipe_named("demo"))["model"]
    assert from_plain(to_plain(recipe_named("demo-finetune"))) == recipe_named("demo-finetune")


def test_a_model_that_is_trained_along_gets_its_pictures_as_its_preprocessor_wants_them(tmp_path):
    folder = write_image(tmp_path / "model", "dinov2")  # takes any size; its configuration speaks of 32 pixels
    wishes = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps(wishes | {"crop_size": {"height": 24, "width": 24}}))
    module = Tuned(FinetuneConfig(str(folder)), SIDE * SIDE * 3)
    face = torch.randint(0, 256, (1, 1, SIDE * SIDE * 3)).float()
    pixels = face.view(1, SIDE, SIDE, 3).permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(pixels, (32, 32), mode="bicubic", antialias=True).round().clamp(0, 255)
    pixels = resized[..., 4:28, 4:28] / 255
    mean, sd = (torch.tensor(wishes[key]).view(3, 1, 1) for key in ("image_mean", "image_std"))
    with torch.no_grad():
        expected = module.backbone(pixel_values=(pixels - mean) / sd).last_hidden_state.mean(1)
        torch.testing.assert_close(module(face, torch.ones(1, 1, dtype=torch.bool))[0], expected, atol=0.05, rtol=0)


@pytest.mark.slow
@KINDS
def test_export_is_refused_with_the_way_out(sources, kind):
    module, x, present = tuned(sources, kind)
    with pytest.raises(UsageError, match="can't be exported") as caught:
        torch.export.export(module.eval(), (x, present))
    assert caught.value.hint
