"""Deep backbones against the libraries called directly, on tiny checkpoints that the real code loads."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from avgate.core.errors import ModelFileError, UsageError
from avgate.core.timeline import Grid, cell_mean
from avgate.core.types import BLENDSHAPES, SAMPLE_RATE, FaceTrack, FeatureTrack, VideoFrame, Waveform
from avgate.faces import FaceTracker
from avgate.features.hub import find_model
from avgate.features.registry import build_backbones
from avgate.features.steps import features_of
from tests.deep import IMAGE_FAMILIES, write_audio, write_image, write_onnx
from tests.few import few
from tests.sounds import babble

RATE = 10.0


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("weights")


def faces(n: int, size: int = 112, seed: int = 0) -> FaceTrack:
    """n frames at 25 per second with a crop each, every seventh without a face."""
    rng = np.random.default_rng(seed)
    present = np.arange(n) % 7 != 3
    crop = rng.integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    nothing = np.full((n, 478, 3), np.nan, np.float32)
    return FaceTrack(np.arange(n) / 25, present, nothing, nothing[:, :4, 0], crop, np.zeros(n, int), (size, size))


def seen(name: str, track: FaceTrack) -> FeatureTrack:
    (backbone,) = build_backbones([name], RATE)
    return features_of(backbone, [track], len(track) / 25)


def heard(name: str, samples: np.ndarray, piece_s: float = 5.0) -> FeatureTrack:
    (backbone,) = build_backbones([name], RATE)
    step = round(piece_s * SAMPLE_RATE)
    pieces = [Waveform(samples[i : i + step], i / SAMPLE_RATE) for i in range(0, len(samples), step)]
    return features_of(backbone, pieces, len(samples) / SAMPLE_RATE)


class TestParity:
    @pytest.mark.parametrize("family", ["wav2vec2", "hubert", "wavlm", "audeering"])
    def test_sound_is_what_the_library_hears(self, weights, family):
        from transformers import AutoModel, Wav2Vec2FeatureExtractor

        folder, samples = write_audio(weights / family, family), babble(3.0)
        track = heard(f"hf_audio:{folder}?layers=1,-1", samples)
        inputs = Wav2Vec2FeatureExtractor()(samples, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        with torch.no_grad():
            out = AutoModel.from_pretrained(folder).eval()(inputs.input_values, output_hidden_states=True)
        frames = torch.cat([out.hidden_states[1], out.last_hidden_state], -1)[0].numpy()
        time_s = (np.arange(len(frames)) * 320 + 200) / SAMPLE_RATE
        expected, known = cell_mean(frames, np.ones(len(frames), bool), time_s, Grid(RATE), 30)
        assert track.present.sum() >= 29
        agree = known & track.present
        np.testing.assert_allclose(track.values[agree], expected[agree], atol=1e-4)

    @pytest.mark.parametrize("stable", [False, True])
    def test_an_adapter_behind_the_encoder_changes_no_layer(self, tmp_path, stable):
        from transformers import AutoModel, Wav2Vec2FeatureExtractor

        shape = {"add_adapter": True, "num_adapter_layers": 2, "output_hidden_size": 24, "do_stable_layer_norm": stable}
        folder, samples = write_audio(tmp_path / "adapted", **shape), babble(3.0)
        track = heard(f"hf_audio:{folder}?layers=1,-1", samples)
        inputs = Wav2Vec2FeatureExtractor()(samples, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        with torch.no_grad():
            model = AutoModel.from_pretrained(folder).eval()
            out = model(inputs.input_values, output_hidden_states=True)
            last = model.encoder.layer_norm(out.hidden_states[-1]) if stable else out.hidden_states[-1]
        frames = torch.cat([out.hidden_states[1], last], -1)[0].numpy()
        time_s = (np.arange(len(frames)) * 320 + 200) / SAMPLE_RATE
        expected, known = cell_mean(frames, np.ones(len(frames), bool), time_s, Grid(RATE), 30)
        agree = known & track.present
        assert agree.sum() >= 29
        np.testing.assert_allclose(track.values[agree], expected[agree], atol=1e-4)

    @pytest.mark.parametrize("family", IMAGE_FAMILIES)
    def test_faces_are_what_the_library_sees(self, weights, family):
        from transformers import AutoModel

        folder, track = write_image(weights / family, family), faces(20, size=32)
        found = seen(f"hf_image:{folder}", track)
        mean, sd = np.array([0.5, 0.4, 0.3]), np.array([0.2, 0.25, 0.3])
        pixels = torch.from_numpy(((track.crop / 255 - mean) / sd).transpose(0, 3, 1, 2)).float()
        model = AutoModel.from_pretrained(folder).eval()
        with torch.no_grad():
            out = getattr(model, "vision_model", model)(pixel_values=pixels).last_hidden_state
        frames = (out.mean((2, 3)) if out.ndim == 4 else out.mean(1)).numpy()
        expected, known = cell_mean(frames, track.present, track.time_s, Grid(RATE), len(found.present))
        assert known.sum() >= 7
        np.testing.assert_allclose(found.values[known], expected[known], atol=1e-5)

    def test_the_first_token_can_be_taken_instead_of_the_mean(self, weights):
        from transformers import AutoModel

        folder, track = write_image(weights / "vit", "vit"), faces(2, size=32)
        found = seen(f"hf_image:{folder}?pool=first", track)
        mean, sd = np.array([0.5, 0.4, 0.3]), np.array([0.2, 0.25, 0.3])
        pixels = torch.from_numpy(((track.crop / 255 - mean) / sd).transpose(0, 3, 1, 2)).float()
        with torch.no_grad():
            out = AutoModel.from_pretrained(folder).eval()(pixel_values=pixels).last_hidden_state[:, 0].numpy()
        np.testing.assert_allclose(found.values[0], out.mean(0), atol=1e-5)

    def test_onnx_sees_what_its_runtime_sees_and_maps_are_averaged(self, weights):
        import onnxruntime

        path, track = write_onnx(weights / "pictures.onnx", False), faces(12, size=32)
        found = seen(f"onnx_image:{path}?outputs=scores,states&size=32&mean=0,0,0&sd=1,1,1", track)
        pixels = (track.crop / 255).transpose(0, 3, 1, 2).astype(np.float32)
        scores, states = onnxruntime.InferenceSession(str(path)).run(None, {"pixels": pixels})
        frames = np.concatenate([scores, states.mean((2, 3))], 1)
        expected, known = cell_mean(frames, track.present, track.time_s, Grid(RATE), len(found.present))
        np.testing.assert_allclose(found.values[known], expected[known], atol=1e-5)

    def test_onnx_hears_what_its_runtime_hears_in_windows_around_each_step(self, weights):
        import onnxruntime

        path, samples = write_onnx(weights / "sound.onnx", True), babble(3.0)
        found = heard(f"onnx_audio:{path}?window_s=0.9&hop_s=0.1&normalise=false", samples)
        windows = np.stack([samples[i * 1600 : i * 1600 + 14400] for i in range(22)])
        scores = onnxruntime.InferenceSession(str(path)).run(["scores"], {"signal": windows})[0]
        # The window that begins at i / 10 s has its centre in the middle of step i + 4.
        np.testing.assert_allclose(found.values[4:26], scores, atol=1e-5)
        np.testing.assert_array_equal(found.values[:4], np.repeat(found.values[4:5], 4, 0))
        assert found.present.all()


class TestBatches:
    @pytest.mark.parametrize("batch", few([3, 1, 64], 1))
    def test_features_are_the_same_at_any_batch_size(self, weights, batch):
        vit, pictures = write_image(weights / "vit", "vit"), write_onnx(weights / "pictures.onnx", False)
        speech, sound = write_audio(weights / "wav2vec2"), write_onnx(weights / "sound.onnx", True)
        samples, track = babble(9.0), faces(40)
        for name, extract, given in (
            (f"hf_image:{vit}", seen, track),
            (f"onnx_image:{pictures}?size=32", seen, track),
            (f"hf_audio:{speech}?chunk_s=2", heard, samples),
            (f"onnx_audio:{sound}?window_s=1&hop_s=0.5", heard, samples),
        ):
            one = extract(f"{name}{'&' if '?' in name else '?'}batch={batch}", given)
            other = extract(name, given)
            assert one.fingerprint == other.fingerprint
            np.testing.assert_array_equal(one.present, other.present)
            np.testing.assert_allclose(one.values, other.values, atol=1e-5, err_msg=name)

    def test_a_file_with_a_fixed_batch_is_filled_up(self, weights):
        path = write_onnx(weights / "five.onnx", False, batch=5)
        free = write_onnx(weights / "pictures.onnx", False)
        track = faces(17)
        one, other = seen(f"onnx_image:{path}?size=32", track), seen(f"onnx_image:{free}?size=32", track)
        np.testing.assert_allclose(one.values, other.values, atol=1e-5)

    def test_sound_in_chunks_is_near_to_sound_at_once_and_does_not_depend_on_its_pieces(self, weights):
        folder, samples = write_audio(weights / "wavlm", "wavlm"), babble(12.0)
        whole = heard(f"hf_audio:{folder}?chunk_s=30", samples)
        parts = heard(f"hf_audio:{folder}?chunk_s=4", samples)
        again = heard(f"hf_audio:{folder}?chunk_s=4", samples, piece_s=0.7)
        np.testing.assert_array_equal(parts.values, again.values)
        apart = np.abs(whole.values - parts.values).mean() / whole.values.std()
        assert apart < 0.2  # each chunk is standardised by itself, and attends within itself


class TestNames:
    def test_settings_come_with_the_name(self, weights):
        folder = write_audio(weights / "wav2vec2")
        (backbone,) = build_backbones([f"hf_audio:{folder}?layers=0,2&batch=2&half=true"], RATE)
        assert backbone.config.layers == (0, 2)
        assert backbone.config.half is True
        assert len(backbone.columns) == 32
        (shorter,) = build_backbones(["egemaps?context_s=0.8"], RATE)
        assert shorter.config.context_s == 0.8

    def test_a_copy_elsewhere_has_the_same_fingerprint_and_other_weights_another(self, weights, tmp_path):
        folder = write_image(weights / "vit", "vit")
        copied = Path(shutil.copytree(folder, tmp_path / "copy"))
        one, same = (build_backbones([f"hf_image:{f}"], RATE)[0].fingerprint for f in (folder, copied))
        assert one == same
        data = bytearray((copied / "model.safetensors").read_bytes())
        data[-1] ^= 1
        (copied / "model.safetensors").write_bytes(data)
        assert build_backbones([f"hf_image:{copied}"], RATE)[0].fingerprint != one

    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("egemaps:somewhere", "it takes no model such as 'somewhere'"),
            ("hf_audio", "it doesn't say which model"),
            ("hf_audio:{audio}?layer=1", "unknown setting 'layer=1'"),
            ("hf_audio:{audio}?layers=7", "there are no layers (7,)"),
            ("hf_image:{image}?layers=-9", "there are no layers (-9,)"),
            ("hf_image:{image}?batch=0", "these settings are impossible"),
            ("hf_image:{image}?batch=many", "batch: 'many' is not a whole number"),
            ("hf_image:{image}?batch=2.5", "batch: '2.5' is not a whole number"),
            ("hf_image:{image}?layers=1,abc", "layers: 'abc' is not a whole number"),
            ("hf_image:{image}?half=maybe", "half: 'maybe' is not true or false"),
            ("onnx_image:{onnx}?mean=a,b,c", "mean: 'a' is not a number"),
            ("onnx_image:{onnx}?outputs=nothing", "it has no output nothing"),
            ("hf_vide:{image}", "did you mean 'hf_image'"),
        ],
    )
    def test_what_is_wrong_with_a_name_is_said(self, weights, name, said):
        places = {
            "audio": write_audio(weights / "wav2vec2"),
            "image": write_image(weights / "vit", "vit"),
            "onnx": write_onnx(weights / "pictures.onnx", False),
        }
        with pytest.raises(UsageError) as error:
            build_backbones([name.format(**places)], RATE)
        assert said in str(error.value)
        assert error.value.hint or "wrong kind" in said


class TestMissingWeights:
    def test_offline_and_not_cached_is_one_line_with_both_ways_out(self, monkeypatch, tmp_path):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
        with pytest.raises(ModelFileError) as error:
            find_model("nobody/has-this-model")
        assert error.value.where == "nobody/has-this-model"
        assert "\n" not in error.value.what
        assert "hf download nobody/has-this-model" in error.value.hint
        assert "give a folder" in error.value.hint

    def test_a_name_in_the_hubs_cache_is_found_offline(self, weights, monkeypatch, tmp_path):
        import huggingface_hub.constants as constants

        snapshot = tmp_path / "models--some--vit" / "snapshots" / ("a" * 40)
        shutil.copytree(write_image(weights / "vit", "vit"), snapshot)
        (tmp_path / "models--some--vit" / "refs").mkdir()
        (tmp_path / "models--some--vit" / "refs" / "main").write_text("a" * 40)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path))
        assert find_model("some/vit") == snapshot

    def test_folders_and_files_that_are_something_else_are_refused(self, weights, tmp_path):
        image, audio = write_image(weights / "vit", "vit"), write_audio(weights / "wav2vec2")
        pictures, sound = write_onnx(weights / "pictures.onnx", False), write_onnx(weights / "sound.onnx", True)
        broken = Path(shutil.copytree(image, tmp_path / "broken"))
        (broken / "model.safetensors").write_bytes(b"no weights")
        (tmp_path / "broken.onnx").write_bytes(b"no model")
        (tmp_path / "empty").mkdir()
        for name, said in (
            (f"hf_audio:{image}", "a vit model doesn't take waveforms"),
            (f"hf_image:{audio}", "a wav2vec2 model doesn't take images"),
            (f"hf_image:{tmp_path / 'empty'}", "no config.json"),
            (f"onnx_audio:{pictures}", "not sound"),
            (f"onnx_image:{sound}", "not images"),
            (f"onnx_image:{tmp_path / 'broken.onnx'}", "can't be read as an ONNX model"),
            (f"onnx_image:{tmp_path / 'gone.onnx'}", "there is no such ONNX file"),
        ):
            with pytest.raises(ModelFileError) as error:
                build_backbones([name], RATE)
            assert said in str(error.value)
        with pytest.raises(ModelFileError, match="can't be loaded"):
            seen(f"hf_image:{broken}", faces(3))


@pytest.mark.slow
def test_blendshapes_are_those_of_the_face_model(face_model, monkeypatch):
    from skimage.data import astronaut

    picture = np.ascontiguousarray(astronaut()[:300, 60:400])
    frames = [VideoFrame(i / 25, picture) for i in range(8)]
    (track,) = FaceTracker(face_model, blendshapes=True).track(frames)
    assert track.blendshapes.shape == (8, len(BLENDSHAPES))
    scores = dict(zip(BLENDSHAPES, track.blendshapes[5], strict=True))
    assert scores["mouthSmileLeft"] > 0.4  # she smiles
    assert scores["jawOpen"] < 0.3
    found = seen("blendshapes", track)
    assert found.columns == BLENDSHAPES
    np.testing.assert_allclose(found.values[1], track.blendshapes[3:5].mean(0), atol=1e-6)


def test_names_of_blendshapes_are_mediapipes_own():
    from mediapipe.tasks.python.vision.face_landmarker import Blendshapes

    assert [name.lower() for name in BLENDSHAPES] == [b.name.replace("_", "").lower() for b in Blendshapes]


def test_blendshapes_without_the_model_file_say_how_to_get_it(monkeypatch, bundled_mesh):
    monkeypatch.delenv("AVGATE_FACE_MODEL", raising=False)
    with pytest.raises(ModelFileError, match=r"need face_landmarker\.task"):
        list(FaceTracker(blendshapes=True).track([VideoFrame(0.0, np.zeros((64, 64, 3), np.uint8))]))


class TestDamage:
    def test_weights_under_other_names_are_refused_and_not_replaced_by_random_ones(self, tmp_path):
        from safetensors.torch import load_file, save_file

        folder = write_image(tmp_path / "vit")
        file = folder / "model.safetensors"
        renamed = {f"module.{name}": tensor for name, tensor in load_file(file).items()}
        save_file(renamed, file, metadata={"format": "pt"})
        with pytest.raises(ModelFileError, match="of its weights are missing, such as"):
            seen(f"hf_image:{folder}", faces(3))

    def test_weights_that_are_no_numbers_are_refused(self, tmp_path):
        from safetensors.torch import load_file, save_file

        folder = write_image(tmp_path / "vit")
        file = folder / "model.safetensors"
        save_file({n: torch.full_like(t, torch.nan) for n, t in load_file(file).items()}, file, {"format": "pt"})
        with pytest.raises(ModelFileError, match="NaN or Inf"):
            seen(f"hf_image:{folder}", faces(3))

    @pytest.mark.parametrize(
        "wish", [{"size": "big"}, {"size": 32, "image_std": [0, 0, 0]}, {"image_mean": [1]}], ids=str
    )
    def test_wishes_that_no_picture_fulfils_are_told(self, tmp_path, wish):
        folder = write_image(tmp_path / "vit")
        (folder / "preprocessor_config.json").write_text(json.dumps(wish))
        with pytest.raises(ModelFileError, match="it asks for images of size"):
            seen(f"hf_image:{folder}", faces(3))

    def test_the_library_says_nothing_while_a_checkpoint_is_read(self, tmp_path):
        said = []
        handler = logging.Handler()
        handler.emit = said.append
        folder = write_image(tmp_path / "clip", "clip")
        settings = json.loads((folder / "config.json").read_text())
        settings["text_config"]["bos_token_id"] = 12345  # of which the library warns
        (folder / "config.json").write_text(json.dumps(settings))
        logging.getLogger("transformers").addHandler(handler)
        try:
            seen(f"hf_image:{folder}", faces(3))
        finally:
            logging.getLogger("transformers").removeHandler(handler)
        assert not [record.getMessage() for record in said]

    def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub(self, tmp_path):
        with pytest.raises(ModelFileError, match="there is no such folder"):
            build_backbones([f"hf_image:{tmp_path}/nothing"], RATE)

    @pytest.mark.parametrize("device", ["banana", "cuda:99"])
    def test_a_device_that_is_not_there_is_told(self, tmp_path, monkeypatch, device):
        monkeypatch.setenv("AVGATE_DEVICE", device)
        with pytest.raises(UsageError, match=f"'{device}' can't be used"):
            seen(f"hf_image:{write_image(tmp_path / 'vit')}", faces(3))
