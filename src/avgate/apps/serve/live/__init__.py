"""Live streams over a WebSocket: images and sound in, an estimate for each image out."""

from avgate.apps.serve.live.route import Live, add_live

__all__ = ["Live", "add_live"]
