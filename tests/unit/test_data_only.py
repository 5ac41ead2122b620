"""Whatever avgate reads is data: nothing in src/ opens a pickle, runs text or starts a program."""

from __future__ import annotations

import ast
from io import BytesIO
from pathlib import Path

import pytest
import torch

import avgate
from avgate.core.errors import CheckpointError
from avgate.models.checkpoint import load_checkpoint
from tests.pickles import Runs

HOUSE = Path(avgate.__file__).parent

MODULES = {
    *("pickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml", "oyaml", "ruamel", "hickle"),
    *("runpy", "code", "codeop", "subprocess", "pty"),
}
"""What opens files that are programs, or runs programs."""

FUNCTIONS = {
    *("builtins.eval", "builtins.exec", "builtins.compile", "builtins.__import__", "importlib.import_module"),
    *("torch.load", "torch.jit.load", "torch.export.load", "torch.hub.load", "torch.package.PackageImporter"),
    *("numpy.load", "pandas.read_pickle", "pandas.eval", "os.system", "os.popen", "os.execv", "os.execvp"),
}

METHODS = {"recv", "read_pickle", "to_pickle"}
"""`recv` is that of a multiprocessing connection, which opens a pickle; `recv_bytes` doesn't."""

SWITCHES = {"allow_pickle": False, "trust_remote_code": False, "weights_only": True, "shell": False}
"""Keyword -> the one value that it may have."""

EXCEPTIONS = {
    # Names of avgate's own modules, from the table above the line.
    ("__init__.py", "importlib.import_module"),
    # The constant "psutil", which may be missing.
    ("core/processes.py", "importlib.import_module"),
    # Bytes that as_pt2 has just made in the same process: an export is run before it is written.
    ("apps/export/files.py", "torch.export.load"),
    # What the processes of a training, which this one has begun, tell it through their own pipes.
    ("training/launch.py", "recv"),
}


def dangers(source: str) -> set[str]:
    """Names of what opens pickles, runs text or starts programs in a module."""
    tree = ast.parse(source)
    known = {name: f"builtins.{name}" for name in ("eval", "exec", "compile", "__import__")}
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            known |= {
                a.asname or a.name.partition(".")[0]: a.name if a.asname else a.name.partition(".")[0]
                for a in node.names
            }
            found |= {a.name for a in node.names if a.name.partition(".")[0] in MODULES}
        elif isinstance(node, ast.ImportFrom) and node.module:
            known |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            found |= {node.module} if node.module.partition(".")[0] in MODULES else set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and (name := _dotted(node, known)) in FUNCTIONS:
            found.add(name)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
            found.add(node.func.attr)
        for switch in _switches(node):
            wanted = SWITCHES.get(switch[0], switch)
            if wanted is not switch and not (isinstance(switch[1], ast.Constant) and switch[1].value is wanted):
                found.add(switch[0])
    return found


def _dotted(node: ast.expr, known: dict[str, str]) -> str:
    """A name as its module calls it, such as numpy.load for np.load."""
    if isinstance(node, ast.Name):
        return known.get(node.id, "")
    return f"{_dotted(node.value, known)}.{node.attr}" if isinstance(node, ast.Attribute) else ""


def _switches(node: ast.AST) -> list[tuple[str, ast.expr]]:
    """Keywords of a call, and keys of a dictionary, which may become some."""
    if isinstance(node, ast.Call):
        return [(keyword.arg, keyword.value) for keyword in node.keywords if keyword.arg]
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return [(str(key.value), value) for key, value in pairs if isinstance(key, ast.Constant)]
    return []


def test_nothing_in_the_house_opens_pickles_runs_text_or_starts_programs():
    files = sorted(HOUSE.rglob("*.py"))
    assert len(files) > 200
    found = {(path.relative_to(HOUSE).as_posix(), name) for path in files for name in dangers(path.read_text("utf-8"))}
    assert found == EXCEPTIONS


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("import pickle", "pickle"),
        ("from joblib import load", "joblib"),
        ("def f():\n    import yaml\n    return yaml.load(x)", "yaml"),
        ("import numpy as np\nnp.load('x.npy')", "numpy.load"),
        ("from numpy import load as read\nread('x.npy')", "numpy.load"),
        ("import torch\ntorch.load('x.pt')", "torch.load"),
        ("import torch\nread = torch.jit.load", "torch.jit.load"),
        ("from torch import jit\njit.load('x.pt')", "torch.jit.load"),
        ("import pandas as pd\npd.read_pickle('x')", "pandas.read_pickle"),
        ("import os\nos.system('x')", "os.system"),
        ("eval('1')", "builtins.eval"),
        ("list(map(exec, lines))", "builtins.exec"),
        ("pipe.recv()", "recv"),
        ("read(x, allow_pickle=True)", "allow_pickle"),
        ("read(x, allow_pickle=wish)", "allow_pickle"),
        ("read(x, **{'trust_remote_code': True})", "trust_remote_code"),
        ("run(x, shell=True)", "shell"),
    ],
)
def test_each_of_them_would_be_found(source, name):
    assert name in dangers(source)


@pytest.mark.parametrize("source", ["import re\nre.compile('x')", "model.eval()", "read(x, allow_pickle=False)"])
def test_what_only_looks_alike_is_none_of_them(source):
    assert dangers(source) == set()


@pytest.mark.parametrize("name", ["checkpoint.safetensors", "model.pt"])
def test_a_pickle_given_as_a_checkpoint_is_refused_and_not_run(tmp_path, name):
    made = tmp_path / "ran"
    torch.save(Runs(made), tmp_path / name)
    with pytest.raises(CheckpointError, match="isn't a checkpoint of avgate"):
        load_checkpoint(tmp_path / name)
    assert not made.exists()
    torch.load(BytesIO((tmp_path / name).read_bytes()), weights_only=False)
    assert made.exists()  # it would have been made
