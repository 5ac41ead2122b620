"""Image models get faces as the library's own preprocessors would give them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
import transformers

from avgate.core.errors import ModelFileError
from avgate.features.face.pixels import InputFormat, normalised
from avgate.features.hub import preprocessor_of
from tests.deep import write_image
from tests.unit.test_deep_backbones import faces, seen

SETTINGS = {
    "ViT": {},
    "ViT without normalisation": {"do_normalize": False},
    "ViT without rescaling": {"do_rescale": False, "do_normalize": False},
    "ViT in -1 to 1": {"rescale_factor": 2 / 255, "image_mean": [1.0] * 3, "image_std": [1.0] * 3},
    "ViT with nearest": {"resample": 0},
    "ViT with Lanczos": {"resample": 1, "size": {"height": 64, "width": 48}},
    "ViT with box": {"resample": 4, "size": {"height": 50, "width": 50}},
    "ViT with Hamming": {"resample": 5, "size": {"height": 50, "width": 50}},
    "ViT unresized": {"do_resize": False},
    "CLIP": {},
    "CLIP with a large crop": {"size": {"shortest_edge": 64}, "crop_size": {"height": 81, "width": 80}},
    "CLIP uncropped": {"do_center_crop": False},
    "Bit": {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}},
    "ConvNext": {},
    "ConvNext of 384": {"size": {"shortest_edge": 384}},
    "MobileViT": {},
    "MobileViT unflipped": {"do_flip_channel_order": False},
}


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    from skimage.data import astronaut

    return np.ascontiguousarray(astronaut()[60:172, 170:282])


@pytest.mark.parametrize("written", ["all settings", "only those that differ"])
@pytest.mark.parametrize("name", SETTINGS)
def test_a_real_face_is_what_the_library_makes_of_it(tmp_path, face, name, written):
    kind = getattr(transformers, f"{name.split()[0]}ImageProcessorPil", None)
    kind = kind or getattr(transformers, f"{name.split()[0]}ImageProcessor")
    processor = kind(**SETTINGS[name])
    if written == "all settings":
        processor.save_pretrained(tmp_path)
    else:
        differing = {"image_processor_type": f"{name.split()[0]}ImageProcessor", **SETTINGS[name]}
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(differing))
    form = InputFormat.of({}, preprocessor_of(tmp_path), "")
    expected = np.asarray(processor(face, return_tensors="np")["pixel_values"][0])
    found = normalised(torch.from_numpy(face)[None], form)[0].numpy()
    assert found.shape == expected.shape
    a_grey_step = form.scale / np.array(form.sd)[:, None, None]
    assert (np.abs(found - expected) / a_grey_step).max() <= 2.01


@pytest.mark.parametrize(
    "wish",
    [{"resample": 9}, {"size": {"height": 32}}, {"rescale_factor": "x"}, {"size": math.inf}, {"size": 10**7}],
    ids=str,
)
def test_impossible_settings_are_refused(wish):
    with pytest.raises(ModelFileError, match="it asks for images of size"):
        InputFormat.of({}, wish, "here")


def test_a_model_that_refuses_the_size_says_which_setting_to_correct(tmp_path):
    folder = write_image(tmp_path / "vit")
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_resize": False}))
    with pytest.raises(ModelFileError, match="refuses faces of 112 x 112 pixels") as error:
        seen(f"hf_image:{folder}", faces(2))
    assert "do_resize" in error.value.hint


def test_a_model_without_normalisation_sees_pixels_from_0_to_1(tmp_path):
    folder, track = write_image(tmp_path / "vit"), faces(2, size=32)
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": False, "size": 32}))
    pixels = torch.from_numpy(track.crop.transpose(0, 3, 1, 2) / 255).float()
    with torch.no_grad():
        out = transformers.AutoModel.from_pretrained(folder).eval()(pixel_values=pixels).last_hidden_state.mean(1)
    np.testing.assert_allclose(seen(f"hf_image:{folder}", track).values[0], out.numpy().mean(0), atol=1e-5)
