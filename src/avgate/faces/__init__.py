"""Face tracking: one person's face in every frame of a video, as mesh, box and aligned crop."""

from avgate.faces.crop_folder import crop_files, track_crops
from avgate.faces.engines import LONGEST_SIDE
from avgate.faces.model_file import find_face_model
from avgate.faces.person import Person, find_person
from avgate.faces.tracker import FaceTracker, LiveTracker, face_fingerprint, made_by_this_code, part_of

__all__ = [
    "LONGEST_SIDE",
    "FaceTracker",
    "LiveTracker",
    "Person",
    "crop_files",
    "face_fingerprint",
    "find_face_model",
    "find_person",
    "made_by_this_code",
    "part_of",
    "track_crops",
]
