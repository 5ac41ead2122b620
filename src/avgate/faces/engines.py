"""The two ways to run mediapipe's face models: those that it bundles, and those in a face_landmarker.task file."""

from __future__ import annotations

import functools
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from avgate.core.console import quiet_native
from avgate.core.errors import ModelFileError


class Engine(Protocol):
    """A one-face mesh tracker and a detector of all faces; images are contiguous uint8 [h w 3] RGB.

    Attributes:
        blendshapes: float32 [52] of the face that `follow` found last, if the engine was opened for them.
    """

    blendshapes: np.ndarray | None

    def follow(self, image: np.ndarray, time_s: float) -> np.ndarray | None:
        """Mesh float32 [478 3] in pixels of the face followed in the last image, or of any face if there was none."""

    def scan(self, image: np.ndarray) -> np.ndarray:
        """Boxes of all faces in the image whichever is followed, float [faces 4], x0 y0 x1 y1 in pixels."""

    def close(self) -> None:
        """Free what the native code holds."""


def open_engine(model: Path | None, blendshapes: bool = False) -> Engine:
    """Load the face models without a word from their native code.

    Args:
        model: a face_landmarker.task file, or None for the models that mediapipe bundles.
        blendshapes: whether blendshapes are scored, too; the bundled models can't.

    Raises:
        ModelFileError: mediapipe can't use the file, or there is none and blendshapes are asked for.
    """
    if blendshapes and model is None:
        what = "blendshapes need face_landmarker.task, which mediapipe doesn't bundle"
        raise ModelFileError(what, hint="give the file: --face-model or AVGATE_FACE_MODEL")
    try:
        with quiet_native():
            _provoke_messages(model)
            engine = _engine(model, blendshapes=blendshapes)
            blank = np.zeros((64, 64, 3), np.uint8)
            engine.scan(blank)
            engine.follow(blank, 0.0)
    except (RuntimeError, ValueError) as error:
        if model is None:
            raise
        hint = "Download the file again; it may be damaged or made for another release of mediapipe."
        raise ModelFileError(f"mediapipe can't use this face model ({error})", where=model, hint=hint) from error
    return engine


@functools.cache
def _provoke_messages(model: Path | None) -> None:
    """Make the native code say what it says at a process's first face; without thresholds, a blank image has one."""
    with closing(_engine(model, threshold=0.0)) as engine:
        engine.follow(np.zeros((64, 64, 3), np.uint8), 0.0)


def _engine(model: Path | None, threshold: float = 0.5, blendshapes: bool = False) -> Engine:
    return BundledEngine(threshold) if model is None else TaskEngine(model, threshold, blendshapes)


class BundledEngine:
    """The graphs inside mediapipe (`mediapipe.solutions`), gone from release 0.10.30 on."""

    blendshapes: np.ndarray | None = None

    def __init__(self, threshold: float):
        from mediapipe import solutions

        self._mesh = solutions.face_mesh.FaceMesh(
            refine_landmarks=True,
            max_num_faces=1,
            min_detection_confidence=threshold,
            min_tracking_confidence=threshold,
        )
        self._detector = solutions.face_detection.FaceDetection(min_detection_confidence=threshold)

    def follow(self, image: np.ndarray, time_s: float) -> np.ndarray | None:
        """See Engine; this graph keeps a clock of its own."""
        faces = self._mesh.process(image).multi_face_landmarks
        return _pixels(_unpack(faces[0]), image) if faces else None

    def scan(self, image: np.ndarray) -> np.ndarray:
        """See Engine."""
        height, width = image.shape[:2]
        found = [face.location_data.relative_bounding_box for face in self._detector.process(image).detections or ()]
        corners = [(box.xmin, box.ymin, box.xmin + box.width, box.ymin + box.height) for box in found]
        return np.array(corners).reshape(-1, 4) * [width, height, width, height]

    def close(self) -> None:
        """See Engine."""
        self._mesh.close()
        self._detector.close()


class TaskEngine:
    """mediapipe's FaceLandmarker and FaceDetector with the models of a face_landmarker.task file."""

    def __init__(self, model: Path, threshold: float, blendshapes: bool = False):
        from mediapipe.tasks.python import BaseOptions, vision

        # The file's content and not its path, because mediapipe doesn't open every path on every system.
        data = model.read_bytes()
        with zipfile.ZipFile(model) as bundle:
            detector = bundle.read("face_detector.tflite")
        self._mesh = vision.FaceLandmarker.create_from_options(
            vision.FaceLandmarkerOptions(
                base_options=BaseOptions(model_asset_buffer=data),
                running_mode=vision.RunningMode.VIDEO,
                num_faces=1,
                min_face_detection_confidence=threshold,
                min_face_presence_confidence=threshold,
                output_face_blendshapes=blendshapes,
            )
        )
        self._detector = vision.FaceDetector.create_from_options(
            vision.FaceDetectorOptions(
                base_options=BaseOptions(model_asset_buffer=detector), min_detection_confidence=threshold
            )
        )
        self._last_ms = -1
        self.blendshapes: np.ndarray | None = None

    def follow(self, image: np.ndarray, time_s: float) -> np.ndarray | None:
        """See Engine; mediapipe wants strictly increasing whole milliseconds, so close timestamps are moved on."""
        self._last_ms = max(self._last_ms + 1, round(time_s * 1000))
        found = self._mesh.detect_for_video(_wrap(image), self._last_ms)
        faces = found.face_landmarks
        scores = found.face_blendshapes[0] if found.face_blendshapes else None
        self.blendshapes = None if scores is None else np.array([shape.score for shape in scores], np.float32)
        return _pixels(_attributes(faces[0]), image) if faces else None

    def scan(self, image: np.ndarray) -> np.ndarray:
        """See Engine."""
        found = [face.bounding_box for face in self._detector.detect(_wrap(image)).detections]
        corners = [(b.origin_x, b.origin_y, b.origin_x + b.width, b.origin_y + b.height) for b in found]
        return np.array(corners, np.float64).reshape(-1, 4)

    def close(self) -> None:
        """See Engine."""
        self._mesh.close()
        self._detector.close()


def _wrap(image: np.ndarray) -> Any:
    import mediapipe

    return mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=image)


_PACKED = np.dtype([("_", "V3"), ("x", "<f4"), ("_y", "V1"), ("y", "<f4"), ("_z", "V1"), ("z", "<f4")])
"""One landmark in protobuf's wire format: three bytes of tags and length, then x, y and z with a tag between them."""


def _unpack(landmarks: Any) -> np.ndarray:
    """What `_attributes` gives, for a protobuf list: an attribute at a time costs a tenth of the tracking."""
    data = landmarks.SerializeToString()
    if len(data) != len(landmarks.landmark) * _PACKED.itemsize:
        return _attributes(landmarks.landmark)
    packed = np.frombuffer(data, _PACKED)
    points = np.empty((len(packed), 3), np.float32)
    for i, axis in enumerate("xyz"):
        points[:, i] = packed[axis]
    return points


def _attributes(landmarks: Any) -> np.ndarray:
    """x, y and z of all landmarks, float32 [478 3], as shares of the frame (z: of its width)."""
    return np.array([(point.x, point.y, point.z) for point in landmarks], np.float32)


def _pixels(points: np.ndarray, image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    return points * np.array([width, height, width], np.float32)
