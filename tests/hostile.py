"""Files and names of somebody who wishes harm: the command line and the server meet the same ones."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

_HLS = b"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXTINF:0.4,\n%s\n#EXT-X-ENDLIST\n"
_DASH = (
    b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    b'mediaPresentationDuration="PT1S"><Period><AdaptationSet mimeType="video/mp2t"><Representation id="1" '
    b'bandwidth="1"><BaseURL>%s</BaseURL></Representation></AdaptationSet></Period></MPD>'
)

_CONTENTS = {
    "nothing": b"",
    "text": b"This is a letter, not a video.\n" * 100,
    "zeros": b"\0" * 5000,
    "noise": np.random.default_rng(0).bytes(5000),
    "list": b"ffconcat version 1.0\nfile %s\n",
    "list of a secret": b"ffconcat version 1.0\nfile /etc/hostname\n",
    "HLS": _HLS,
    "HLS of a secret": _HLS.replace(b"%s", b"/etc/passwd"),
    "HLS of a key": _HLS.replace(b"#EXTINF", b'#EXT-X-KEY:METHOD=AES-128,URI="file:///etc/passwd"\n#EXTINF'),
    "HLS of the network": _HLS.replace(b"%s", b"http://127.0.0.1:9/a.ts"),
    "HLS with a list in it": _HLS.replace(b"%s", b"concat:%s|%s"),
    "DASH": _DASH,
    "series of images": b"%d.png",
    "stream of the network": b"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
    "drawing": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "program of a printer": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\nshowpage\n",
}

CONTENTS = tuple(_CONTENTS)
"""Kinds of files that are no recordings; some name others, which nothing may open."""

FOLLOWED = {"list": "list.ffconcat", "HLS": "list.m3u8"}
"""Of these, kinds that FFmpeg by itself would follow, and a file's name with which it does."""

NAMES = (
    "",
    ".",
    "..",
    ".mp4",
    "../../../tmp/x.mp4",
    "/etc/shadow",
    "C:\\a\\b.mp4",
    "-rf.mp4",
    "--out=x.mp4",
    "a\0b.mp4",
    "a\nb\r\nX-Header: 1.mp4",
    "\x1b[31mred.mp4",
    "\u5f20 <b>.mp4",
    "\u00e9\u202e\ud800.mp4",
    "\udcff.mp4",
    "</script><script>alert(1)<\u2215script>.mp4",
    "$(touch x);`touch x`&.mp4",
    "=cmd()|x.mp4",
    "%2e%2e%2fx.mp4",
    "%s%n %03d.mp4",
    "concat:a.mp4|b.mp4",
    "http:127.0.0.1:9.mp4",
    "pipe:0",
    "con.mp4",
    "clip.csv",
    "clip.html",
    "x" * 10_000 + ".mp4",
)
"""What a recording may be called."""

FILE_NAMES = tuple(name for name in NAMES if name.strip(".") and not set(name) & set("/\0\ud800") and len(name) < 200)
"""Those of them that a file can have on a system like Linux."""


def content(kind: str, other: str | Path) -> bytes:
    """A file of one of the CONTENTS.

    Args:
        kind: which one.
        other: the file that it names, if it is of a kind that names one that is there.
    """
    return _CONTENTS[kind].replace(b"%s", os.fsencode(other))
