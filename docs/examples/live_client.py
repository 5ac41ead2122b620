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


def come_s(piece):
    """When a piece is there: a frame at its time, sound when its last sample was heard."""
    return piece.time_s if isinstance(piece, VideoFrame) else piece.end_s


def message(piece):
    """A frame as JPEG (kind 1) or sound as 16-bit samples (kind 2), after its time in seconds."""
    if isinstance(piece, VideoFrame):
        file = io.BytesIO()
        Image.fromarray(piece.image).save(file, "JPEG", quality=90)
        return struct.pack("<Bd", 1, piece.time_s) + file.getvalue()
    samples = np.clip(np.round(piece.samples * 2**15), -(2**15), 2**15 - 1)
    return struct.pack("<Bd", 2, piece.start_s) + samples.astype("<i2").tobytes()


def play(recording, server):
    """Send all pieces by the clock, and then that it is the end."""
    began_s = time.monotonic()
    with suppress(websockets.ConnectionClosed):  # the server has said why
        for piece in heapq.merge(recording.frames(), recording.sound(0.05), key=come_s):
            time.sleep(max(0.0, began_s + come_s(piece) - time.monotonic()))
            server.send(message(piece))
        server.send(json.dumps({"end": True}))


recording = open_recording(sys.argv[1])
address, model = [*sys.argv[2:], *("ws://127.0.0.1:8042/api/live", "live")[len(sys.argv) - 2 :]]
headers = {"Authorization": f"Bearer {os.environ.get('AVGATE_SERVE_TOKEN', '')}"}
media = {"video": recording.has_frames, "sound": recording.info.audio_codec is not None}
with websockets.sync.client.connect(address, additional_headers=headers) as server:
    server.send(json.dumps({"model": model, **media}))
    for said in map(json.loads, server):
        if "ready" in said:
            threading.Thread(target=play, args=(recording, server), daemon=True).start()
        for result in said.get("results", ()):
            values = "".join(f"  {name} {value:+.2f}" for name, value in result["targets"].items() if value is not None)
            print(f"{result['time_s']:.2f} s{values}  ({said['dropped']} dropped)", flush=True)
        if "error" in said:
            sys.exit(f"{said['error']} {said['hint']}")
        print(*(f"{note}\n" for note in said.get("notes", ())), sep="", end="")
