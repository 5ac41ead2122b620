"""Video files: read as streams of frames and sound with times in seconds, and written as small MP4s."""

from avgate.media.mp4 import Mp4Writer
from avgate.media.reader import Media, MediaInfo, probe
from avgate.media.recording import InMemory, Recording

__all__ = ["InMemory", "Media", "MediaInfo", "Mp4Writer", "Recording", "probe"]
