"""Damage that keeps a file's structure: JSON, safetensors, ONNX, and the times of media packets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

Way = Callable[[bytes, Random, Path], bytes]
"""A file's content, random numbers, and the file -> changed content. ValueError where it doesn't apply."""

TEXTS = (
    "", " ", "\0", "\t", "../../x", "/dev/zero", "a" * 300, "ü" * 300, "=1+1", "@x", "\x1b[31m", "%s%n", "[red]",
    "a/b", "<>", "&amp;", "&x;", '"', "'", ";", ",", "\u202e", "\ufeff", "\xed\xa0\x80", "valence", "valence=", "nan",
)  # fmt: skip
"""What somebody might write in the place of a word, or an attacker."""


# JSON, and the JSON in the headers of safetensors files.

_DEEP, _HUGE = "\u0001deep\u0001", "\u0001huge\u0001"


def change_json(content: bytes, random: Random, file: Path) -> bytes:
    """Replace, remove, rename, wrap or move a part of a JSON document."""
    return _changed_json(json.loads(content), random).encode()


def _changed_json(document: Any, random: Random) -> str:
    root = {"": document}
    places = list(_places(root))
    owner, key = random.choice(places[:30] if random.random() < 0.5 else places)
    one = owner[key]
    way = random.randrange(10)
    if way == 0 and owner is not root:
        del owner[key]
    elif way == 1 and isinstance(owner, dict) and owner is not root:
        owner[random.choice((*TEXTS, key.upper(), key + "x"))] = owner.pop(key)
    elif way == 2:
        owner[key] = random.choice(([one], {"x": one}, [one] * 1000, str(one)))
    elif way == 3:
        other, at = random.choice(places)
        owner[key] = json.loads(json.dumps(other[at]))
    elif way == 4 and isinstance(one, int | float):
        owner[key] = random.choice((-one, one * 10, one * 1e6, one + 1e-9, one - 1, float(one), -1, 0))
    else:
        odd = (
            None, True, False, 0, -1, 1, 2, 1.5, -0.0, 1e308, 1e-320, float("nan"), float("inf"), 10**12, 2**63,
            10**400, "", "x", "1", "a" * 5000, [], {}, [[]], [None], {"": None}, [1, "a"], _DEEP, _HUGE, "\0", "\ud800",
        )  # fmt: skip
        owner[key] = random.choice(odd)
    text = json.dumps(root[""])
    text = text.replace(json.dumps(_DEEP), "[" * 50_000 + "]" * 50_000)
    return text.replace(json.dumps(_HUGE), "9" * 5000)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (owner, key) in a document."""
    waiting = [value]
    while waiting:
        owner = waiting.pop()
        for key in owner if isinstance(owner, dict) else range(len(owner)):
            yield owner, key
            if isinstance(owner[key], dict | list):
                waiting.append(owner[key])


JSON_WAYS: list[Way] = [change_json]

# Files of tensors: a length, a JSON header with avgate's own JSON in it, and numbers.


def change_header(content: bytes, random: Random, file: Path) -> bytes:
    """Change what a safetensors file says of its tensors."""
    header, body = _parts(content)
    return _joined(_changed_json(header, random).encode(), body)


def change_inner_header(content: bytes, random: Random, file: Path) -> bytes:
    """Change what avgate says of itself in a safetensors file."""
    header, body = _parts(content)
    inner = header["__metadata__"]
    name = random.choice(sorted(inner))
    inner[name] = _changed_json(json.loads(inner[name]), random)
    return _joined(json.dumps(header).encode(), body)


def change_a_tensor(content: bytes, random: Random, file: Path) -> bytes:
    """Put NaN, Inf, zeros or huge numbers into one tensor."""
    header, body = _parts(content)
    name = random.choice([key for key in header if key != "__metadata__"])
    start, end = header[name]["data_offsets"]
    number = random.choice(
        (b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\0\0\0\0", b"\xff\xff\x7f\x7f", b"\xff\xff\x7f\xff", b"\1\0\0\0")
    )
    whole = random.random() < 0.5
    length = end - start if whole else min(4, end - start)
    at = start if whole else start + 4 * random.randrange(max(1, (end - start) // 4))
    filled = (number * (length // 4 + 1))[:length]
    return content[: len(content) - len(body)] + body[:at] + filled + body[at + length :]


def _parts(content: bytes) -> tuple[dict[str, Any], bytes]:
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def _joined(header: bytes, body: bytes) -> bytes:
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + body


SEALED_WAYS: list[Way] = [change_header, change_inner_header, change_inner_header, change_a_tensor]

# ONNX models.


def change_onnx(content: bytes, random: Random, file: Path) -> bytes:
    """Change a size, name, kind, attribute or weight of an ONNX model."""
    import onnx

    try:
        model = onnx.load_from_string(content)
    except Exception as error:
        raise ValueError from error
    graph = model.graph
    way = random.randrange(7)
    if way == 0:
        value = random.choice((*graph.input, *graph.output))
        dims = value.type.tensor_type.shape.dim
        if random.random() < 0.2:
            dims.add().dim_value = random.choice((1, 7))
        else:
            random.choice(dims).dim_value = random.choice((0, 1, 2, 3, 7, 1000, 2**31, 2**62))
    elif way == 1:
        node = random.choice(graph.node)
        node.op_type = random.choice(("Relu", "Conv", "Transpose", "ReduceMean", "Loop", "Shape", "Identity", "X", ""))
    elif way == 2:
        node = random.choice([node for node in graph.node if node.attribute] or graph.node)
        for attribute in node.attribute:
            attribute.i = random.choice((-1, 0, 10**9))
            attribute.ints[:] = [random.choice((-1, 0, 1, 3, 10**9)) for _ in attribute.ints]
    elif way == 3:
        weight = random.choice(graph.initializer)
        weight.dims[:] = [random.choice((0, 1, 7, 10**9, dim)) for dim in weight.dims]
    elif way == 4:
        weight = random.choice(graph.initializer)
        entry = weight.external_data.add()
        entry.key = "location"
        entry.value = random.choice(("/etc/passwd", "../x", "missing.data", "", "a\0b", "x" * 5000))
        weight.data_location = onnx.TensorProto.EXTERNAL
    elif way == 5:
        weight = random.choice(graph.initializer)
        weight.raw_data = random.choice(
            (b"", b"\0\0\xc0\x7f", weight.raw_data[:-1], b"\0\0\xc0\x7f" * (len(weight.raw_data) // 4))
        )
    else:
        value = random.choice((*graph.input, *graph.output))
        value.type.tensor_type.elem_type = random.choice((0, 2, 3, 6, 7, 8, 9, 10, 11, 16, 99))
    return model.SerializeToString()


ONNX_WAYS: list[Way] = [change_onnx]

# Media: packets as they are, with other times.

EXACT = {"fflags": "+bitexact"}
"""For muxers: no random numbers or dates in the file."""


def bend_times(content: bytes, random: Random, file: Path) -> bytes:
    """Write the same packets anew with other times: one wrong, a jump, a wobble, backwards, or none at all."""
    import av

    broken = file.with_name(f"bent{file.suffix}")
    way, size = random.randrange(6), random.choice((0.3, -0.3, 2, -2, 30, -30, 4000, -4000, 1e6, 1e9))
    chosen = random.random()
    try:
        with av.open(str(file)) as source, av.open(str(broken), "w", container_options=EXACT) as target:
            streams = {s.index: target.add_stream_from_template(s) for s in source.streams}
            packets = [packet for packet in source.demux() if packet.size]
            kind = random.choice(("audio", "video", None))
            for i, packet in enumerate(packets):
                base = packet.time_base or Fraction(1, 1000)
                hit = kind in (None, packet.stream.type)
                here = i >= chosen * len(packets)
                shift = 0.0
                if (way == 0 and i == int(chosen * len(packets))) or (way == 1 and hit and here):
                    shift = size
                elif way == 2 and hit:
                    shift = random.uniform(-0.05, 0.05)
                elif way == 3 and hit and here:
                    packet.pts, packet.dts = random.choice(((None, packet.dts), (None, None), (packet.dts, packet.dts)))
                elif way == 4 and hit and here and packet.pts is not None:
                    shift = -2 * float(packet.pts * base)
                elif way == 5 and hit:
                    shift = random.choice((0, 0, 0, 0, 0, 0, size))
                ticks = max(-(2**62), min(2**62, round(Fraction(shift) / base)))
                packet.pts = None if packet.pts is None else packet.pts + ticks
                packet.dts = None if packet.dts is None else packet.dts + ticks
                packet.stream = streams[packet.stream.index]
                target.mux_one(packet)
        return broken.read_bytes()
    except (av.FFmpegError, OSError, ValueError, OverflowError, TypeError) as error:
        raise ValueError from error
    finally:
        broken.unlink(missing_ok=True)


MEDIA_WAYS: list[Way] = [bend_times]
