"""Ctrl-C loses nothing: the same command continues, and ends where an uninterrupted run would have ended."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from avgate.cli import main
from avgate.corpora.rendered import Rendered
from avgate.training import train as training
from tests.clips import greys, make_clip


@pytest.mark.slow
def test_a_training_that_was_interrupted_ends_with_the_same_weights(corpus, tmp_path, monkeypatch, capsys):
    def train(run: Path) -> None:
        settings = ["train.epochs=4", "model.head_dropout=0.3"]
        main(["train", "--data", str(corpus), "--out", str(run), "--recipe", "smoke", "--set", *settings])

    train(tmp_path / "whole")
    epoch = training._run_epoch

    def interrupted(*args):
        if args[-1] == 2:
            raise KeyboardInterrupt
        return epoch(*args)

    with monkeypatch.context() as patch:
        patch.setattr(training, "_run_epoch", interrupted)
        with pytest.raises(SystemExit) as ended:
            train(tmp_path / "parts")
    assert ended.value.code == 130
    assert "continues" in capsys.readouterr().err
    assert not (tmp_path / "parts" / "checkpoint.safetensors").exists()
    train(tmp_path / "parts")
    assert "after epoch 2" in capsys.readouterr().err.replace("\n", " ")
    for name in ("checkpoint.safetensors", "resume.safetensors"):
        whole, parts = load_file(tmp_path / "whole" / name), load_file(tmp_path / "parts" / name)
        assert whole.keys() == parts.keys()
        assert all(torch.equal(whole[key], parts[key]) for key in whole)
    history = [(tmp_path / run / "history.csv").read_text() for run in ("whole", "parts")]
    assert history[0] == history[1]


@pytest.mark.slow  # test_processes.py interrupts a pool of processes in the same way
@pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals to a process group")
def test_an_extraction_that_was_interrupted_keeps_what_is_done_and_continues(corpus, tmp_path):
    root = tmp_path / "corpus"
    shutil.copytree(corpus, root, ignore=shutil.ignore_patterns("features"))
    rows = (root / "manifest.csv").read_text().splitlines()
    (root / "manifest.csv").write_text("\n".join([*rows[:3], ""]))  # two clips will do
    first, second = Rendered(root).clips()
    make_clip(second.video, greys(1, 32, 32) * 5000)  # takes far longer than the interruption
    command = [sys.executable, "-m", "avgate", "extract", "--data", str(root), "--recipe", "smoke", "--workers", "1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 300
    # What is half-written has a name that begins with a dot.
    while not list(root.glob("features/*/[!.]*.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "the same command continues" in said.replace("\n", " ")
    assert "Traceback" not in said
    done = set(root.glob("features/*/*.safetensors"))
    assert {path.stem for path in done} == {first.name}
    assert not list(root.rglob(".avgate-*"))
    stamps = {path: path.stat().st_mtime_ns for path in done}
    shutil.copy(corpus / second.video.relative_to(root), second.video)
    main(["extract", "--data", str(root), "--recipe", "smoke", "--workers", "1"])
    assert len(list(root.glob("features/*/*.safetensors"))) == 4  # voice and face of each
    assert {path: path.stat().st_mtime_ns for path in done} == stamps


@pytest.mark.long  # test_processes.py and test_scratch.py kill smaller runs
def test_an_extraction_that_was_killed_leaves_no_process_and_the_next_one_removes_what_was_half_written(
    corpus, tmp_path
):
    root = tmp_path / "corpus"
    shutil.copytree(corpus, root, ignore=shutil.ignore_patterns("features"))
    arguments = ["extract", "--data", str(root), "--set", "backbones=('logmel',)", "--workers"]
    process = subprocess.Popen([sys.executable, "-m", "avgate", *arguments, "2"], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not list(root.glob("features/*/[!.]*.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.02)
    helpers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    assert len(helpers) >= 2
    assert not psutil.wait_procs(helpers, timeout=60)[1]
    # Wherever it was, it might have been in the midst of writing.
    folder = next(root.glob("features/*"))
    (folder / ".avgate-0123456789ab.avgate-lock").touch()
    (folder / ".avgate-0123456789ab.safetensors").touch()
    main([*arguments, "1"])
    assert not list(root.rglob(".avgate-*"))
    assert len(list(root.glob("features/*/*.safetensors"))) == len(Rendered(root).clips())
