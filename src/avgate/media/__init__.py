"""Video files: decoded as a stream of frames and sound on one clock, and written as small MP4s."""

from avgate.media.mp4 import Mp4Writer
from avgate.media.reader import Media, MediaInfo, probe
from avgate.media.recording import InMemory, Recording

__all__ = ["InMemory", "Media", "MediaInfo", "Mp4Writer", "Recording", "probe"]
