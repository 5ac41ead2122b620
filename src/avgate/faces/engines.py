"""mediapipe's face models behind one interface: those it bundles (before 0.10.30), or a face_landmarker.task file."""

from __future__ import annotations

import functools
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from avgate.core.console import quiet_native
from avgate.core.errors import ModelFileError
from avgate.core.text import reason

LONGEST_SIDE = (1 << 15) - 2
"""Most pixels of an image's side in which a face is looked for; OpenCV inside mediapipe ends the process over more."""


class Face(NamedTuple):
    """A face in an image.

    Attributes:
        mesh: float32 [478 3] in pixels.
        blendshapes: float32 [52]; None from an engine that wasn't opened for them.
    """

    mesh: np.ndarray
    blendshapes: np.ndarray | None = None


class Engine(Protocol):
    """A mesh tracker for one face, and a detector of all faces. Images are contiguous uint8 [h w 3] RGB.

    An image with a side of over LONGEST_SIDE has no face.
    """

    def follow(self, image: np.ndarray, time_s: float) -> Face | None:
        """The face followed in the last image, or any face if there was none."""

    def scan(self, image: np.ndarray) -> np.ndarray:
        """Boxes of all faces in the image, float [faces 4]: x0 y0 x1 y1 in pixels."""

    def renew(self) -> None:
        """Forget all images, to the bit as if the engine had just been opened."""

    def close(self) -> None:
        """Free the native models."""


@contextmanager
def open_engine(model: Path | None, blendshapes: bool = False) -> Iterator[Engine]:
    """Load the face models, and close them when the block ends; their native code logs nothing meanwhile.

    Models must be closed here, never by the garbage collector: mediapipe 1.2 deadlocks if a collection that begins
    while a thread pool takes a task closes a model.

    Args:
        model: a face_landmarker.task file, or None for the models that mediapipe bundles.
        blendshapes: whether to compute blendshapes; the bundled models can't.

    Yields:
        The engine.

    Raises:
        ModelFileError: mediapipe can't use the file, or blendshapes need a file and there is none.
    """
    if blendshapes and model is None:
        what = "blendshapes need face_landmarker.task, which mediapipe doesn't bundle"
        raise ModelFileError(what, hint="give the file: --face-model or AVGATE_FACE_MODEL")
    with ExitStack() as stack:
        try:
            with quiet_native():
                _trigger_first_messages(model)
                engine = stack.enter_context(_engine(model, blendshapes=blendshapes))
                engine.scan(_BLANK)
                engine.follow(_BLANK, 0.0)
        except (RuntimeError, ValueError) as error:
            if model is None:
                raise
            hint = "Download the file again; it may be damaged or made for another release of mediapipe."
            raise ModelFileError(
                f"mediapipe can't use this face model ({reason(error)})", where=model, hint=hint
            ) from error
        yield engine


_BLANK = np.zeros((64, 64, 3), np.uint8)
"""The first image of every engine."""

_SCANS = 20
"""Scans until mediapipe 1.2 has surely given its one warning about unaligned memory: about every second scan would."""


@functools.cache
def _trigger_first_messages(model: Path | None) -> None:
    """Make the native code log what it logs once per process: with threshold 0, a blank image has a face."""
    with _engine(model, threshold=0.0) as engine:
        engine.follow(_BLANK, 0.0)
        for _ in range(_SCANS):
            engine.scan(_BLANK)


@contextmanager
def _engine(model: Path | None, threshold: float = 0.5, blendshapes: bool = False) -> Iterator[Engine]:
    engine = BundledEngine(threshold) if model is None else TaskEngine(model, threshold, blendshapes)
    try:
        yield _Bounded(engine)
    finally:
        with quiet_native():
            engine.close()


class _Bounded:
    """An engine to which no image comes that would end the process."""

    def __init__(self, engine: Engine):
        self._engine = engine

    def follow(self, image: np.ndarray, time_s: float) -> Face | None:
        """See Engine."""
        return self._engine.follow(image, time_s) if max(image.shape) <= LONGEST_SIDE else None

    def scan(self, image: np.ndarray) -> np.ndarray:
        """See Engine."""
        return self._engine.scan(image) if max(image.shape) <= LONGEST_SIDE else np.zeros((0, 4))

    def renew(self) -> None:
        """See Engine."""
        self._engine.renew()

    def close(self) -> None:
        """See Engine."""
        self._engine.close()


class BundledEngine:
    """The models inside mediapipe (`mediapipe.solutions`), which releases from 0.10.30 on lack."""

    def __init__(self, threshold: float):
        from mediapipe import solutions

        with ExitStack() as opened:
            self._mesh = opened.enter_context(_bundled_mesh(threshold))
            self._detector = opened.enter_context(
                solutions.face_detection.FaceDetection(min_detection_confidence=threshold)
            )
            self._opened = opened.pop_all()

    def follow(self, image: np.ndarray, time_s: float) -> Face | None:
        """See Engine; this model counts its own time."""
        faces = _process(self._mesh, image, "multi_face_landmarks")
        return Face(_pixels(_unpack(faces[0]), image)) if faces else None

    def scan(self, image: np.ndarray) -> np.ndarray:
        """See Engine."""
        height, width = image.shape[:2]
        found = [face.location_data.relative_bounding_box for face in self._detector.process(image).detections or ()]
        corners = [(box.xmin, box.ymin, box.xmin + box.width, box.ymin + box.height) for box in found]
        return np.array(corners).reshape(-1, 4) * [width, height, width, height]

    def renew(self) -> None:
        """See Engine."""
        with quiet_native():
            self._mesh.reset()
            self.follow(_BLANK, 0.0)

    def close(self) -> None:
        """See Engine."""
        self._opened.close()


def _bundled_mesh(threshold: float) -> Any:
    """`solutions.face_mesh.FaceMesh(refine_landmarks=True, ...)`, whose graph runs in the thread that waits for it.

    That one hands every step of the graph to a thread of the graph's own, which takes a sixth of the tracking time.
    """
    import mediapipe
    from mediapipe.framework.calculator_pb2 import CalculatorGraphConfig
    from mediapipe.python.solution_base import SolutionBase

    package = Path(mediapipe.__file__).parent
    graph = package / "modules" / "face_landmark" / "face_landmark_front_cpu.binarypb"
    config = CalculatorGraphConfig.FromString(graph.read_bytes())
    config.executor.add(type="ApplicationThreadExecutor")
    detection = "facedetectionshortrangecpu__facedetectionshortrange__facedetection__TensorsToDetectionsCalculator"
    return SolutionBase(
        graph_config=config,
        side_inputs={"num_faces": 1, "with_attention": True, "use_prev_landmarks": True},
        calculator_params={
            f"{detection}.min_score_thresh": threshold,
            "facelandmarkcpu__ThresholdingCalculator.threshold": threshold,
        },
        outputs=["multi_face_landmarks"],
    )


def _process(solution: Any, image: np.ndarray, output: str) -> Any:
    """What `solution.process(image)` has as this output.

    That one makes a class of named tuples for every image, which takes a twentieth of the tracking time. Releases after
    the last one with solutions can't change what is private here.
    """
    from mediapipe import ImageFormat, packet_creator, packet_getter

    solution._graph_outputs.clear()
    solution._simulated_timestamp += 33_333  # microseconds, as there
    shared = image.view()
    shared.flags.writeable = False  # so that the packet refers to the image, and has no copy
    packet = packet_creator.create_image_frame(image_format=ImageFormat.SRGB, data=shared)
    solution._graph.add_packet_to_input_stream(stream="image", packet=packet.at(solution._simulated_timestamp))
    solution._graph.wait_until_idle()
    found = solution._graph_outputs.get(output)
    return None if found is None or found.is_empty() else packet_getter.get_proto_list(found)


class TaskEngine:
    """mediapipe's FaceLandmarker and FaceDetector, with the models of a face_landmarker.task file."""

    def __init__(self, model: Path, threshold: float, blendshapes: bool = False):
        from mediapipe.tasks.python import BaseOptions, vision

        # Pass the content, not the path: mediapipe can't open every path on every system.
        data = model.read_bytes()
        with zipfile.ZipFile(model) as bundle:
            detector = bundle.read("face_detector.tflite")
        self._mesh_options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_buffer=data),
            running_mode=vision.RunningMode.VIDEO,
            num_faces=1,
            min_face_detection_confidence=threshold,
            min_face_presence_confidence=threshold,
            output_face_blendshapes=blendshapes,
        )
        with ExitStack() as opened:
            self._mesh = self._open_mesh()
            opened.callback(lambda: self._mesh.close())  # whichever is open by then
            self._detector = opened.enter_context(
                vision.FaceDetector.create_from_options(
                    vision.FaceDetectorOptions(
                        base_options=BaseOptions(model_asset_buffer=detector), min_detection_confidence=threshold
                    )
                )
            )
            self._opened = opened.pop_all()
        self._last_ms = -1

    def follow(self, image: np.ndarray, time_s: float) -> Face | None:
        """See Engine; mediapipe needs strictly increasing whole milliseconds, so close timestamps are shifted."""
        self._last_ms = max(self._last_ms + 1, round(time_s * 1000))
        found = self._mesh.detect_for_video(_wrap(image), self._last_ms)
        if not found.face_landmarks:
            return None
        scores = found.face_blendshapes[0] if found.face_blendshapes else None
        shapes = None if scores is None else np.array([shape.score for shape in scores], np.float32)
        return Face(_pixels(_attributes(found.face_landmarks[0]), image), shapes)

    def scan(self, image: np.ndarray) -> np.ndarray:
        """See Engine."""
        found = [face.bounding_box for face in self._detector.detect(_wrap(image)).detections]
        corners = [(b.origin_x, b.origin_y, b.origin_x + b.width, b.origin_y + b.height) for b in found]
        return np.array(corners, np.float64).reshape(-1, 4)

    def renew(self) -> None:
        """See Engine."""
        with quiet_native():
            used, self._mesh = self._mesh, self._open_mesh()
            used.close()
            self._last_ms = -1
            self.follow(_BLANK, 0.0)

    def _open_mesh(self) -> Any:
        from mediapipe.tasks.python import vision

        return vision.FaceLandmarker.create_from_options(self._mesh_options)

    def close(self) -> None:
        """See Engine."""
        self._opened.close()


def _wrap(image: np.ndarray) -> Any:
    import mediapipe

    return mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=image)


_PACKED = np.dtype([("_", "V3"), ("x", "<f4"), ("_y", "V1"), ("y", "<f4"), ("_z", "V1"), ("z", "<f4")])
"""One landmark in protobuf's wire format: three bytes of tags and length, then x, y and z with a tag between them."""


def _unpack(landmarks: Any) -> np.ndarray:
    """`_attributes` of a protobuf list, read from its bytes: access by attribute takes a tenth of the tracking time."""
    data = landmarks.SerializeToString()
    if len(data) != len(landmarks.landmark) * _PACKED.itemsize:
        return _attributes(landmarks.landmark)
    packed = np.frombuffer(data, _PACKED)
    points = np.empty((len(packed), 3), np.float32)
    for i, axis in enumerate("xyz"):
        points[:, i] = packed[axis]
    return points


def _attributes(landmarks: Any) -> np.ndarray:
    """x, y and z of all landmarks, float32 [478 3], as fractions of the image's width, height and width."""
    return np.array([(point.x, point.y, point.z) for point in landmarks], np.float32)


def _pixels(points: np.ndarray, image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    return points * np.array([width, height, width], np.float32)
