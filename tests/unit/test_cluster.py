"""Which workers are chosen, and what is said where there is no Ray, or no cluster; none of it starts one."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from avgate.core import cluster
from avgate.core.cluster import LOCAL, Engine, RayWorkers, open_workers
from avgate.core.errors import AvgateError, UsageError, WorkerError
from avgate.core.processes import Workers
from avgate.core.types import Clip
from avgate.features import extract
from avgate.features.store import FeatureStore
from tests.clips import make_clip, tone


def test_the_engine_chooses_the_workers_and_nothing_else_differs():
    local = open_workers(abs, 1)
    with local as pool:
        assert list(pool.run([-3])) == [(-3, 3)]
    assert type(local) is Workers
    assert type(open_workers(abs, 2, engine=Engine("ray"))) is RayWorkers


def test_there_are_as_many_workers_as_asked_for_or_as_there_are_cores_and_never_more_than_tasks(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    joined = Engine("ray", "head:6379")
    assert [engine.count(None, 100) for engine in (LOCAL, Engine("ray"), joined)] == [4, 4, 100]
    assert [engine.count(7, 100) for engine in (LOCAL, Engine("ray"), joined)] == [7, 7, 7]
    assert [LOCAL.count(None, 3), joined.count(7, 3), joined.count(None, 0)] == [3, 3, 1]
    with pytest.raises(UsageError, match="0 processes"):
        joined.count(0, 3)


def test_an_address_is_one_of_ray():
    with pytest.raises(UsageError, match=r"--address: .*\n.*--engine ray"):
        Engine(address="head:6379")


def test_without_ray_an_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError) as told, open_workers(abs, 1, engine=Engine("ray")):
        pass
    assert told.value.where == "--engine"
    assert "pip install 'avgate[scale]'" in told.value.hint


@pytest.mark.parametrize("address", ["head", "head:", ":6379", "head:ray", "ray://head"])
def test_what_is_no_address_is_refused(address):
    pytest.importorskip("ray", reason="ray is not installed")
    with (
        pytest.raises(UsageError, match="is no address of a Ray cluster"),
        open_workers(abs, 1, None, Engine("ray", address)),
    ):
        pass


@pytest.mark.parametrize("before", ["", "ray://"])
def test_a_cluster_that_does_not_answer_is_told_at_once(before):
    pytest.importorskip("ray", reason="ray is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"{before}127.0.0.1:{free.getsockname()[1]}"
    with (
        pytest.raises(UsageError, match="there is no Ray cluster") as told,
        open_workers(abs, 1, None, Engine("ray", address)),
    ):
        pass
    assert "ray start --head" in told.value.hint


def test_rays_sockets_have_paths_that_systems_take(monkeypatch, tmp_path):
    for place, taken in (("/var/tmp", "/var/tmp"), ("/tmp/" + "long" * 12, "/tmp")):
        monkeypatch.setattr("tempfile.gettempdir", lambda place=place: place)
        assert cluster._place_for_sockets() == Path(taken)


@pytest.mark.parametrize(
    ("differs", "said"),
    [({"version": "0.0.1"}, "instead of 0.0.1"), ({"folder": "/no/such"}, "there is no folder /no/such")],
)
def test_a_machine_that_is_not_like_the_one_that_asks_is_refused(differs, said):
    here = cluster._Origin.here()
    with pytest.raises(WorkerError, match=said) as told:
        cluster._Origin(**{**vars(here), **differs}).take_over()
    assert told.value.where == socket.gethostname()


def test_a_machine_that_would_compute_other_features_or_does_not_see_the_store_is_refused(tmp_path):
    make_clip(tmp_path / "a.mp4", sound=[(0.0, tone(1))])
    clip, key = (
        Clip("a", tmp_path / "a.mp4", "train", "a"),
        extract.store_key(extract.build_backbones(("logmel",), 10.0)[0]),
    )
    other = extract._extract_clip(clip, ("logmel",), 10.0, None, 1, tmp_path / "store", ["logmel-of-others"])
    assert isinstance(other, AvgateError)
    assert f"{socket.gethostname()} has other backbones: {key} instead of logmel-of-others" in str(other)
    with pytest.raises(AvgateError, match=f"{socket.gethostname()} doesn't see this folder"):
        extract._extract_clip(clip, ("logmel",), 10.0, None, 1, tmp_path / "store", [key])
    (tmp_path / "store" / key).mkdir(parents=True)
    assert extract._extract_clip(clip, ("logmel",), 10.0, None, 1, tmp_path / "store", [key]) == ()
    assert len(FeatureStore(tmp_path / "store").read("a", key).values) > 5
