"""The terminal shows names from outside as they are: none of them can colour, move, rename or forge anything."""

from __future__ import annotations

import io
import os
import threading
from urllib.error import URLError

import av
import pytest
from rich.table import Table

from avgate.cli import main
from avgate.core import console as module
from avgate.core.console import Terminal, progress, quiet_native
from avgate.core.errors import MediaError
from avgate.core.text import one_line, printable, reason

HOSTILE = "a\x1b[31m\x9b\x07\u202e[bold]\x7f\u2066b\r"
SHOWN = r"a\x1b[31m\x9b\x07\u202e[bold]\x7f\u2066b\r"


def shown(monkeypatch: pytest.MonkeyPatch) -> tuple[Terminal, io.StringIO]:
    """A terminal of 200 columns, and what it's shown."""
    screen = io.StringIO()
    terminal = Terminal(file=screen, width=200, force_terminal=True, color_system=None)
    monkeypatch.setattr(module, "console", terminal)
    return terminal, screen


def test_control_characters_and_those_that_turn_text_around_are_shown_as_escapes():
    assert printable(HOSTILE) == SHOWN
    assert printable("\udcff") == r"\udcff", "a byte of a file name that is no UTF-8"
    for text in ("Gesicht, 顔, وجه", "क्\u200dष 👩\u200d🔬", "two\nlines", "no\u00a0break"):
        assert printable(text) == text
    assert one_line("two\nlines") == r"two\nlines"


def test_messages_tables_and_bars_show_names_as_they_are(monkeypatch):
    terminal, screen = shown(monkeypatch)
    terminal.print(HOSTILE)
    terminal.say((HOSTILE, "bold"), f" {HOSTILE}\nforged")
    table = Table(HOSTILE, title=HOSTILE, caption=HOSTILE)
    table.add_row(HOSTILE)
    terminal.print(table)
    assert screen.getvalue().count(SHOWN) == 7
    assert rf"{SHOWN}\nforged" in screen.getvalue()
    assert not any(sign in screen.getvalue() for sign in "\x1b\x9b\x07\u202e\x7f\u2066")
    with progress() as bar:
        bar.add_task(HOSTILE)
    assert SHOWN in screen.getvalue()


def test_errors_name_files_as_they_are_and_on_one_line(capsys):
    error = MediaError(f"{HOSTILE} is damaged", where=f"{HOSTILE}\nerror: forged", hint="copy it again")
    assert str(error) == rf"{SHOWN}\nerror: forged: {SHOWN} is damaged" + "\n  -> copy it again"
    with pytest.raises(SystemExit):
        main(["inspect", "--corpus", "manifest", "--data", HOSTILE])
    said = capsys.readouterr().err
    assert said.startswith(f"error: {SHOWN}: there is no such file")


def test_a_file_whose_name_is_taken_for_an_option_is_shown_as_it_is(capsys):
    with pytest.raises(SystemExit):
        main(["predict", f"--{HOSTILE}", "--out", "results"])
    said = capsys.readouterr()
    assert not any(sign in said.out + said.err for sign in "\x1b\x9b\x07\u202e\x7f\u2066")


def test_reasons_are_the_systems_words_without_numbers_of_errors(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        (tmp_path / "missing").read_text()
    assert reason(caught.value) == "No such file or directory"
    assert reason(URLError(ConnectionRefusedError(111, "Connection refused"))) == "Connection refused"
    assert "Errno" not in reason(av.error.InvalidDataError(1, "Invalid data", "a.mp4"))
    assert reason(ValueError("one\x1b\ntwo")) == r"one\x1b"
    assert reason(ValueError()) == "ValueError"
    assert len(reason(ValueError("x" * 500))) == 200


def test_what_is_said_while_a_model_loads_in_another_thread_isnt_discarded(capfd):
    begun, end = threading.Event(), threading.Event()

    def load() -> None:
        with quiet_native():
            begun.set()
            end.wait(10)
            os.write(2, b"a native library's own words\n")

    loading = threading.Thread(target=load)
    loading.start()
    assert begun.wait(10)
    threading.Timer(0.2, end.set).start()
    with open(2, "w", closefd=False) as stderr:
        Terminal(file=stderr, width=200).say("interrupted")
    loading.join()
    assert capfd.readouterr().err == "interrupted\n"
