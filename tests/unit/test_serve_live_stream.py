"""Live streams without a server: what clients say, what waits, and what is decoded."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

import av
import numpy as np
import pytest

from avgate.apps.serve.live.decoding import MOST_SCANS, Ear, read_jpeg
from avgate.apps.serve.live.inbox import MOST_IMAGE_BYTES, MOST_IMAGES, MOST_SOUND_BYTES, Inbox
from avgate.apps.serve.live.messages import BAD, LIMIT, LONGEST_SIDE, Hello, Limits, Piece, Refused
from avgate.core.types import SAMPLE_RATE
from tests.live_server import jpeg, packed, s16

LIMITS = Limits()


def piece(kind: int, time_s: float, payload: bytes = b"", came_s: float = 0.0, **hello) -> Piece:
    return Piece.read(packed(kind, time_s, payload), Hello(**hello), came_s)


def taken(inbox: Inbox) -> list[Piece]:
    return asyncio.run(asyncio.wait_for(inbox.take(), 5))


def test_limits_are_those_of_the_settings():
    limits = Limits.of(SimpleNamespace(max_streams=3, port=8042))
    assert limits == Limits(max_streams=3)


def test_what_a_client_leaves_out_or_null_is_as_usual():
    assert Hello.read('{"model": "mine", "level": null, "width": null}', LIMITS) == Hello("mine")


def test_pieces_are_taken_in_order_and_no_more_than_one_image_at_once():
    inbox = Inbox(LIMITS, lambda: 0.0)
    for kind, time_s in ((2, 0.0), (2, 0.1), (1, 0.04), (1, 0.08), (2, 0.2)):
        inbox.put(piece(kind, time_s))
    inbox.end()
    assert [[one.time_s for one in taken(inbox)] for _ in range(4)] == [[0.0, 0.1, 0.04], [0.08], [0.2], []]


def test_much_sound_leaves_other_streams_their_turn():
    inbox = Inbox(LIMITS, lambda: 0.0)
    for i in range(20):
        inbox.put(piece(2, 0.02 * i, bytes(640)))
    assert [len(taken(inbox)) for _ in range(3)] == [8, 8, 4]


def test_the_oldest_images_go_where_there_is_no_room_and_sound_stays():
    inbox = Inbox(LIMITS, lambda: 0.0)
    for i in range(MOST_IMAGES + 5):
        inbox.put(piece(2, i))
        inbox.put(piece(1, i))
    inbox.end()
    found = []
    while pieces := taken(inbox):
        found += pieces
    assert (inbox.images, inbox.dropped) == (MOST_IMAGES + 5, 5)
    assert [one.time_s for one in found if one.is_image] == [*range(5, MOST_IMAGES + 5)]
    assert [one.time_s for one in found if not one.is_image] == [*range(MOST_IMAGES + 5)]


def test_large_images_have_less_room_but_the_newest_stays():
    inbox = Inbox(LIMITS, lambda: 0.0)
    for i in range(5):
        inbox.put(piece(1, i, bytes(MOST_IMAGE_BYTES // 2)))
    assert inbox.dropped == 3
    inbox.put(piece(1, 9.0, bytes(MOST_IMAGE_BYTES + 1)))
    assert inbox.dropped == 5
    assert [one.time_s for one in taken(inbox)] == [9.0]


def test_sound_that_waits_too_long_is_no_longer_taken():
    now = [0.0]
    inbox = Inbox(Limits(max_lag_s=2.0), lambda: now[0])
    inbox.put(piece(2, 0.0))
    now[0] = 1.9
    inbox.put(piece(2, 0.1, came_s=1.9))
    now[0] = 2.1
    with pytest.raises(Refused, match="faster than this machine") as refused:
        inbox.put(piece(2, 0.2, came_s=2.1))
    assert (refused.value.code, refused.value.where) == (LIMIT, "max_lag_s")


def test_sound_never_fills_the_memory():
    inbox = Inbox(LIMITS, lambda: 0.0)
    most = MOST_SOUND_BYTES // 16_000
    for i in range(most):
        inbox.put(piece(2, i, bytes(16_000)))
    with pytest.raises(Refused):
        inbox.put(piece(2, most, bytes(16_000)))


def heard(audio: str, rate: int, messages: list[tuple[float, bytes]]) -> np.ndarray:
    """The sound of messages from 0 s on, each where it was said to be."""
    ear, out = Ear(Hello(audio=audio, rate=rate)), np.zeros(4 * SAMPLE_RATE, np.float32)
    for time_s, payload in messages:
        wave = ear.hear(piece(2, time_s, payload, audio=audio, rate=rate))
        assert wave.samples.dtype == np.float32
        first = round(wave.start_s * SAMPLE_RATE)
        out[max(0, first) : first + len(wave.samples)] = wave.samples[max(0, -first) :]
    return out


@pytest.fixture(scope="module")
def chirp() -> np.ndarray:
    """One second at 48 kHz that is like itself nowhere else."""
    t = np.arange(48_000) / 48_000
    return 0.3 * np.sin(2 * np.pi * (200 * t + 900 * t**2)) * np.sin(np.pi * t)


def lag_s(found: np.ndarray, expected: np.ndarray) -> tuple[float, float]:
    """By how much one is later than the other, and how alike they are then."""
    lags = range(-400, 401)
    n = len(expected) - 800
    alike = [np.corrcoef(found[400 + lag : 400 + lag + n], expected[400 : 400 + n])[0, 1] for lag in lags]
    best = int(np.argmax(alike))
    return lags[best] / SAMPLE_RATE, alike[best]


def test_sound_of_48_khz_stays_where_it_is(chirp):
    block = 960
    messages = [(i / 48_000, s16(chirp[i : i + block])) for i in range(0, len(chirp), block)]
    late_s, alike = lag_s(heard("s16", 48_000, messages), chirp[::3])
    assert abs(late_s) <= 1 / SAMPLE_RATE
    assert alike > 0.999


def test_opus_is_heard_within_10_ms_of_where_it_was_said(chirp):
    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format = 48_000, "mono", "s16"
    encoder.open()
    block, packets = encoder.frame_size, []
    for first in range(0, len(chirp), block):
        frame = av.AudioFrame.from_ndarray(np.frombuffer(s16(chirp[first : first + block]), "<i2")[None], "s16", "mono")
        frame.sample_rate, frame.pts = 48_000, first
        packets += encoder.encode(frame)
    messages = [(i * block / 48_000, bytes(packet)) for i, packet in enumerate(packets)]
    late_s, alike = lag_s(heard("opus", 48_000, messages), chirp[::3])
    assert 0 <= late_s <= 0.01
    assert alike > 0.98


def test_junk_is_no_opus():
    with pytest.raises(Refused, match=r"at 1\.500 s is no packet of Opus"):
        Ear(Hello(audio="opus")).hear(piece(2, 1.5, b"\xff" * 40, audio="opus"))


def test_sound_without_samples_says_that_there_is_none():
    for audio in ("s16", "opus"):
        wave = Ear(Hello(audio=audio)).hear(piece(2, 1.5, audio=audio))
        assert (len(wave.samples), wave.start_s) == (0, 1.5)


def test_a_jpeg_is_upright_rgb():
    from PIL import Image

    image = np.zeros((32, 64, 3), np.uint8)
    image[:, :32] = (200, 30, 30)
    turned = Image.Exif()
    turned[0x0112] = 3
    found = read_jpeg(memoryview(jpeg(image, exif=turned)), 0.0, LIMITS)
    assert found.shape == image.shape
    assert np.abs(found[:, ::-1].astype(int) - image)[:, 4:28].max() < 12
    grey = read_jpeg(memoryview(jpeg(image[..., 0])), 0.0, LIMITS)
    assert grey.shape == image.shape


def test_an_image_that_nobody_looks_at_is_not_decoded_but_its_size_counts():
    whole = jpeg(np.zeros((100, 100, 3), np.uint8))
    assert read_jpeg(memoryview(whole[:-100]), 0.0, LIMITS, pixels=False).shape == (1, 1, 3)
    with pytest.raises(Refused, match="100x100 has more pixels"):
        read_jpeg(memoryview(whole), 0.0, Limits(max_pixels=9999), pixels=False)


def test_images_that_cost_too_much_are_refused_before_they_are_decoded():
    bomb = bytearray(jpeg(np.zeros((16, 16, 3), np.uint8)))
    at = bomb.index(b"\xff\xc0") + 5
    bomb[at : at + 4] = b"\xff\xff\xff\xff"
    with pytest.raises(Refused, match="more pixels than are allowed"):
        read_jpeg(memoryview(bytes(bomb)), 0.0, LIMITS)
    scans = jpeg(np.zeros((16, 16, 3), np.uint8)) + b"\xff\xda" * MOST_SCANS
    with pytest.raises(Refused, match="too many scans"):
        read_jpeg(memoryview(scans), 0.0, LIMITS)


@pytest.mark.parametrize("over", [0, 1])
@pytest.mark.parametrize("turned", [False, True])
def test_a_side_that_no_library_is_made_for_is_refused_however_few_pixels_there_are(over, turned):
    shape = (LONGEST_SIDE + over, 2) if turned else (2, LONGEST_SIDE + over)
    text = json.dumps({"image": "rgb24", "width": shape[1], "height": shape[0]})
    image = jpeg(np.zeros((*shape, 3), np.uint8))
    if not over:
        assert Hello.read(text, LIMITS).width == shape[1]
        assert read_jpeg(memoryview(image), 0.0, LIMITS).shape == (*shape, 3)
        return
    for refuse in (lambda: Hello.read(text, LIMITS), lambda: read_jpeg(memoryview(image), 0.0, LIMITS, pixels=False)):
        with pytest.raises(Refused, match="side that is too long") as caught:
            refuse()
        assert (caught.value.code, caught.value.where) == (BAD, "height" if turned else "width")
