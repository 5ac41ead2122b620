"""Recordings: videos, sound and images, read as frames and sound with times in seconds; and small MP4s, written."""

from avgate.media.info import MediaInfo
from avgate.media.mp4 import Mp4Writer
from avgate.media.opening import open_recording
from avgate.media.reader import Media, probe
from avgate.media.recording import InMemory, Recording
from avgate.media.stills import Images

__all__ = ["Images", "InMemory", "Media", "MediaInfo", "Mp4Writer", "Recording", "open_recording", "probe"]
