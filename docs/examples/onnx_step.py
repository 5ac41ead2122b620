"""A model's step on the stored features of a clip: python onnx_step.py step.onnx FEATURES.safetensors..."""

import json
import os
import sys

import numpy as np

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else onnxruntime reports its use to its makers
import onnxruntime


def stored(path):
    """A fingerprint of code and settings, features [n d] and where they are present [n], of a feature store's file."""
    whole = np.fromfile(path, np.uint8).tobytes()
    begin = 8 + int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8:begin])
    parts = {name: whole[begin:][slice(*header[name]["data_offsets"])] for name in ("values", "present")}
    values = np.frombuffer(parts["values"], "<f4").reshape(header["values"]["shape"])
    return json.loads(header["__metadata__"]["avgate"])["fingerprint"], values, np.frombuffer(parts["present"], "?")


session = onnxruntime.InferenceSession(sys.argv[1])
about = {name: json.loads(text) for name, text in session.get_modelmeta().custom_metadata_map.items()}
if about["avgate.form"] != "step":
    sys.exit(f"{sys.argv[1]} takes whole sequences: take step.onnx")
files, modalities = [stored(path) for path in sys.argv[2:]], {}
for feature in about["avgate.features"]:
    found = [track for fingerprint, *track in files if fingerprint == feature["fingerprint"]]
    if len(found) != 1:
        sys.exit(f"{len(found)} of these files hold features with the fingerprint of {feature['backbone']}: give one")
    modalities.setdefault(feature["modality"], []).append(found[0])
state = {i.name: np.zeros((1, *i.shape[1:]), np.float32) for i in session.get_inputs() if i.name.startswith("state.")}
print("time_s", *about["avgate.targets"], sep=",")
for t in range(min(len(present) for parts in modalities.values() for _, present in parts)):
    inputs = state | {m: np.concatenate([x[t : t + 1] for x, _ in parts], axis=1) for m, parts in modalities.items()}
    inputs |= {f"{m}_present": np.array([all(here[t] for _, here in parts)]) for m, parts in modalities.items()}
    out = dict(zip((o.name for o in session.get_outputs()), session.run(None, inputs), strict=True))
    state = {name: out[f"next_{name}"] for name in state}
    print((t + 0.5) / about["avgate.label_rate"], *out["targets"][0], sep=",")
