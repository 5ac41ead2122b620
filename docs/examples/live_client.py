"""A recording, sent as if it were happening: python live_client.py VIDEO [ADDRESS [MODEL]]."""

import heapq
import io
import json
import os
import struct
import sys
import threading
import time
from contextlib import suppress

import numpy as np
import websockets.sync.client
from PIL import Image

from avgate.core.types import VideoFrame
from avgate.media import open_recording


def message(piece):
    """A frame as JPEG (kind 1) or sound as 16-bit samples (kind 2), after its time in seconds."""
    if isinstance(piece, VideoFrame):
        Image.fromarray(piece.image).save(file := io.BytesIO(), "JPEG", quality=90)
        return struct.pack("<Bd", 1, piece.time_s) + file.getvalue()
    samples = np.clip(np.round(piece.samples * 2**15), -(2**15), 2**15 - 1)
    return struct.pack("<Bd", 2, piece.start_s) + samples.astype("<i2").tobytes()


def play(recording, server):
    """Send frames at their times, and sound when its last sample was heard; then that it is the end."""
    began_s = time.monotonic()
    frames, sound = ((f.time_s, f) for f in recording.frames()), ((s.end_s, s) for s in recording.sound(0.05))
    with suppress(websockets.ConnectionClosed):  # the loop below says why
        for time_s, piece in heapq.merge(frames, sound, key=lambda each: each[0]):
            time.sleep(max(0.0, began_s + time_s - time.monotonic()))
            server.send(message(piece))
        server.send(json.dumps({"end": True}))


recording = open_recording(sys.argv[1])
address, model = [*sys.argv[2:], *("ws://127.0.0.1:8042/api/live", "live")[len(sys.argv) - 2 :]]
hello = {"model": model, "video": recording.has_frames, "sound": bool(recording.info.audio_codec)}
headers = {"Authorization": f"Bearer {os.environ.get('AVGATE_SERVE_TOKEN', '')}"}
try:
    with websockets.sync.client.connect(address, additional_headers=headers) as server:
        server.send(json.dumps(hello))
        for said in map(json.loads, server):
            if "ready" in said:
                threading.Thread(target=play, args=(recording, server), daemon=True).start()
            for result in said.get("results", ()):
                values = [f"{name} {value:+.2f}" for name, value in result["targets"].items() if value is not None]
                print(f"{result['time_s']:.2f} s", *values, f"({said['dropped']} dropped)", sep="  ", flush=True)
            print(*said.get("notes", ()), sep="\n", end="\n" if said.get("notes") else "")
            if "error" in said:
                sys.exit(f"{said['error']}: {said['hint']}".rstrip(": "))
except websockets.InvalidStatus as refused:  # such as for a wrong token
    sys.exit(": ".join([*json.loads(refused.response.body).values()][:2]))
except (OSError, websockets.ConnectionClosed) as lost:
    sys.exit(f"no connection with {address}: {lost}")
