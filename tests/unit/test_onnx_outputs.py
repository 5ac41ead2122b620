"""ONNX backbones: outputs of every shape become one row per face or window, and every byte of weights counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from avgate.core.errors import ModelFileError, UsageError
from avgate.features.hub import weights_fingerprint
from avgate.features.onnx_file import onnx_files
from avgate.features.registry import build_backbones
from tests.sounds import babble
from tests.unit.test_deep_backbones import faces, heard, seen

SIDE = 32


def write(path: Path, value: np.ndarray, declared: list[object], sound: bool = False) -> Path:
    """A file whose output is `value`, without the batch's axis, for every image or piece of sound."""
    given = ["n", "t"] if sound else ["n", 3, SIDE, SIDE]
    shape = np.array([1] * value.ndim, np.int64)
    axes = np.arange(1, len(given), dtype=np.int64)
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Reshape", ["nothing", "shape"], ["column"]),
        helper.make_node("Add", ["column", "value"], ["sum"]),
        # The runtime can't infer this shape, so that it reports the declared one.
        helper.make_node("ReduceSum", ["nothing"], ["total"], keepdims=0),
        helper.make_node("Cast", ["total"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Add", ["whole", "final"], ["hidden"]),
        helper.make_node("Reshape", ["sum", "hidden"], ["y"]),
    ]
    weights = {
        "zero": np.zeros(1, np.float32),
        "axes": axes,
        "shape": np.concatenate([[-1], shape]).astype(np.int64),
        "final": np.array([-1, *value.shape], np.int64),
        "value": value[None].astype(np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, given)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, declared)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path)
    return path


def ramp(*shape: int, axis: int) -> np.ndarray:
    """0, 1, 2, ... along the columns' axis, and the same in every place."""
    return np.broadcast_to(np.expand_dims(np.arange(shape[axis]), [i for i in range(len(shape)) if i != axis]), shape)


class TestImages:
    @pytest.mark.parametrize(
        ("value", "declared"),
        [
            (ramp(5, 8, axis=1), ["n", 5, 8]),
            (ramp(5, 8, axis=1), ["n", "tokens", 8]),
            (ramp(8, 5, axis=0), ["n", 8, "tokens"]),
            (ramp(5, 9, axis=1), ["n", "tokens", 9]),
            (ramp(9, 4, axis=0), ["n", 9, "places"]),
            (ramp(2, 2, 6, axis=2), ["n", 2, 2, 6]),
            (ramp(6, 2, 2, axis=0), ["n", 6, 2, 2]),
            (ramp(2, 2, 2, axis=2), ["n", "h", "w", 2]),
            (ramp(2, 2, 2, axis=0), ["n", 2, "h", "w"]),
            (ramp(7, 1, 1, axis=0), ["n", 7, 1, 1]),
            (ramp(1, 1, 7, axis=2), ["n", 1, 1, 7]),
        ],
        ids=lambda value: "x".join(map(str, value)) if isinstance(value, list) else "",
    )
    def test_tokens_and_places_are_averaged_and_columns_are_kept(self, tmp_path, value, declared):
        found = seen(f"onnx_image:{write(tmp_path / 'm.onnx', value, declared)}", faces(5, size=SIDE))
        np.testing.assert_allclose(found.values[0], np.arange(max(value.ravel()) + 1), atol=1e-6)

    @pytest.mark.parametrize("shape", [(3, 3, 3), (2, 3, 4), (7, 4), (16, 5), (6, 10)])
    def test_a_shape_that_does_not_tell_is_asked_for(self, tmp_path, shape):
        path = write(tmp_path / "m.onnx", ramp(*shape, axis=0), ["n", *shape])
        with pytest.raises(UsageError, match="doesn't tell which axis holds its columns") as error:
            build_backbones([f"onnx_image:{path}"], 10.0)
        assert "?layout=first" in error.value.hint
        found = seen(f"onnx_image:{path}?layout=first", faces(5, size=SIDE))
        np.testing.assert_allclose(found.values[0], np.arange(shape[0]), atol=1e-6)
        (last,) = build_backbones([f"onnx_image:{path}?layout=last"], 10.0)
        assert len(last.columns) == shape[-1]

    def test_numbers_too_large_to_average_make_absent_steps_and_no_warning(self, tmp_path, capfd):
        huge = np.full((5, 8), 3e38, np.float32)
        found = seen(f"onnx_image:{write(tmp_path / 'm.onnx', huge, ['n', 5, 8])}", faces(5, size=SIDE))
        assert not found.present.any()
        assert not "".join(capfd.readouterr())

    def test_one_number_per_face_is_one_column(self, tmp_path):
        found = seen(f"onnx_image:{write(tmp_path / 'm.onnx', np.array(0.5), ['n'])}", faces(5, size=SIDE))
        assert found.columns == ("out0",)
        np.testing.assert_array_equal(found.values[0], [0.5])

    def test_an_output_of_too_many_axes_is_refused(self, tmp_path):
        path = write(tmp_path / "m.onnx", np.zeros((2, 2, 2, 2)), ["n", 2, 2, 2, 2])
        with pytest.raises(ModelFileError, match=r"output y is \[1, 2, 2, 2, 2\]"):
            build_backbones([f"onnx_image:{path}"], 10.0)


class TestSound:
    def test_one_number_per_window_is_one_column_in_sound_of_any_length(self, tmp_path):
        path = write(tmp_path / "m.onnx", np.array(0.5), ["n"], sound=True)
        for seconds in (2.0, 9.0):
            found = heard(f"onnx_audio:{path}?window_s=1", babble(seconds))
            assert found.columns == ("out0",)
            assert (found.values[found.present] == 0.5).all()
            assert found.present.all()

    @pytest.mark.parametrize(
        ("value", "declared"),
        [(ramp(5, 8, axis=1), ["n", "frames", 8]), (ramp(8, 5, axis=0), ["n", 8, "frames"])],
        ids=["frames first", "columns first"],
    )
    def test_frames_are_averaged_and_columns_are_kept(self, tmp_path, value, declared):
        path = write(tmp_path / "m.onnx", value, declared, sound=True)
        found = heard(f"onnx_audio:{path}?window_s=1", babble(2.0))
        np.testing.assert_allclose(found.values[3], np.arange(8), atol=1e-6)

    def test_frames_and_columns_of_fixed_sizes_are_asked_for(self, tmp_path):
        path = write(tmp_path / "m.onnx", ramp(8, 5, axis=0), ["n", 8, 5], sound=True)
        with pytest.raises(UsageError, match="doesn't tell which axis holds its columns"):
            build_backbones([f"onnx_audio:{path}"], 10.0)
        found = heard(f"onnx_audio:{path}?window_s=1&layout=first", babble(2.0))
        np.testing.assert_allclose(found.values[3], np.arange(8), atol=1e-6)


class TestFingerprint:
    def test_every_byte_of_a_large_file_counts(self, tmp_path):
        path = tmp_path / "weights.safetensors"
        data = np.random.default_rng(0).bytes(3 << 20)
        path.write_bytes(data)
        before = weights_fingerprint([path])
        for place in (100_000, 1_700_000, len(data) - 1):
            changed = bytearray(data)
            changed[place] ^= 1
            other = tmp_path / f"{place}.safetensors"
            other.write_bytes(changed)
            assert weights_fingerprint([other]) != before

    def test_weights_beside_the_file_count(self, tmp_path):
        prints = []
        for name, number in (("one", 1.0), ("same", 1.0), ("other", 2.0)):
            (tmp_path / name).mkdir()
            path = write(tmp_path / name / "m.onnx", np.full(300, number), ["n", 300])
            model = onnx.load(path)
            onnx.save(model, path, save_as_external_data=True, location="weights.onnx.data", size_threshold=64)
            assert onnx_files(str(path)) == [path, path.parent / "weights.onnx.data"]
            prints.append(build_backbones([f"onnx_image:{path}"], 10.0)[0].fingerprint)
        assert prints[0] == prints[1] != prints[2]


def renamed(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"Mul", b"\xca\xca\xca"))  # which the runtime puts into its error


def beyond_any_memory(path: Path) -> None:
    model = onnx.load(path)
    model.graph.initializer[-1].dims[:] = [7, 10**9, 10**9]
    onnx.save(model, path)


@pytest.mark.parametrize("damage", [renamed, beyond_any_memory])
def test_a_damaged_file_is_refused_and_nothing_is_printed(tmp_path, capfd, damage):
    path = write(tmp_path / "a.onnx", ramp(4, axis=0), ["n", 4])
    damage(path)
    with pytest.raises(ModelFileError, match="can't be read as an ONNX model"):
        build_backbones([f"onnx_image:{path}"], 10.0)
    assert capfd.readouterr() == ("", "")
