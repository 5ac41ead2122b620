"""Many recordings, several at a time: each gives its files, and one that fails doesn't stop the others."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from avgate.apps.predict.one import Summary, predict_one
from avgate.apps.predict.outputs import LabelWriter, refuse_strangers, writers_named
from avgate.core.cluster import LOCAL, Engine, open_workers
from avgate.core.console import console, progress, quiet
from avgate.core.errors import AvgateError, UsageError
from avgate.core.files import output_folder, refuse_overwriting
from avgate.core.places import Place
from avgate.faces import Person
from avgate.inference.predictor import Predictor
from avgate.models.intervals import DEFAULT_LEVEL


@dataclass(frozen=True)
class Wanted:
    """What is wanted of every recording; the arguments are those of predict."""

    out: Place
    checkpoint: Place | None
    face_model: Path | None
    report: bool
    formats: tuple[str, ...]
    fps: float | None
    level: float
    person: Person | None
    faces_every: int

    @property
    def predictor(self) -> Predictor:
        """This process' own, loaded once."""
        return _load(self.checkpoint, self.face_model, self.level, self.faces_every)

    def file(self, video: Place) -> Place:
        """A recording's results, without their suffixes."""
        return self.out / _name(video)


@cache
def _load(checkpoint: Place | None, face_model: Path | None, level: float, faces_every: int) -> Predictor:
    return Predictor(checkpoint, face_model, level, faces_every)


def predict(
    videos: Sequence[Place],
    out: Place,
    *,
    checkpoint: Place | None = None,
    face_model: Path | None = None,
    report: bool = True,
    formats: Sequence[str] = ("csv", "json"),
    fps: float | None = None,
    level: float = DEFAULT_LEVEL,
    person: str | None = None,
    faces_every: int = 1,
    workers: int | None = None,
    engine: Engine = LOCAL,
) -> None:
    """Write NAME.csv, NAME.json, NAME.html and NAME.png for every recording; one that fails doesn't stop the others.

    Args:
        videos: videos, sound files, images, or folders of images; or addresses of files.
        out: folder for the results, or its address.
        checkpoint: None takes the weights that come with avgate.
        face_model: as for Predictor.
        report: whether to write the HTML and PNG reports.
        formats: csv, json, or a label format's name or suffix.
        fps: images per second in folders without times.csv.
        level: share of the true values that intervals are made to hold.
        person: whom to follow, as for Predictor; a point is of one video only.
        faces_every: as for Predictor.
        workers: recordings at the same time, each in a process of its own; None is one per core. The results are the
            same, to the bit.
        engine: what does the work; on several machines, each must see recordings, model and `out` under the same paths.

    Raises:
        UsageError: two results would have the same name, one would overwrite a recording, or `fps` is given without a
            folder.
        OutputError: a result can't be written, or would replace a file that predict didn't write; found out before
            any recording is read, if it can be.
        WorkerError: a process was killed.
        AvgateError: some failed; it says which and why, and all others are written.
    """
    _refuse_same_names(videos)
    if fps is not None and not any(map(_is_folder, videos)):
        raise UsageError("only folders of images take it", where="--fps", hint="name the folder, or leave --fps out")
    writers = writers_named(formats)
    whom = None if person is None else Person.named(person)
    if whom is not None and whom.point is not None and len(videos) > 1:
        raise UsageError(
            "a moment and a point are of one video only", where="--person", hint="predict the others apart"
        )
    wanted = Wanted(out, checkpoint, face_model, report, tuple(formats), fps, level, whom, faces_every)
    targets = wanted.predictor.estimator.targets
    suffixes = [*(writer.suffix for writer in writers), *((".html", ".png") if report else ())]
    files = [wanted.file(video).with_name(_name(video) + suffix) for video in videos for suffix in suffixes]
    with output_folder(out):
        refuse_overwriting([v for v in videos if not _is_folder(v)], {f"--out ({file.name})": file for file in files})
        refuse_strangers(files, [w for w in writers if isinstance(w, LabelWriter)], targets)
        failed = _all(wanted, videos, engine.count(workers, len(videos)), engine)
        if failed and len(videos) == 1:
            raise failed[0]
        if failed:
            each = "\n".join(f"  {error}" for error in failed)
            raise AvgateError(f"{len(failed)} of {len(videos)} recordings failed:\n{each}")


def _all(wanted: Wanted, videos: Sequence[Place], workers: int, engine: Engine) -> list[AvgateError]:
    """Predict all recordings, and tell of each; returns why some failed, in their order."""
    failed: dict[Place, AvgateError] = {}
    alone = workers == 1 and engine == LOCAL  # then every recording has a bar of its own
    with (
        nullcontext() if alone else progress() as bar,
        open_workers(partial(_predict, wanted, alone), workers, engine=engine) as pool,
    ):
        task = bar.add_task("Predicting", total=len(videos)) if bar else None
        for video, done in pool.run(videos):
            if isinstance(done, Summary):
                done.say(wanted.file(video))
            else:
                failed[video] = done
                if len(videos) > 1:
                    console.say((f"{video.name} failed", "red"))
            if bar and task is not None:
                bar.advance(task)
    return [failed[video] for video in videos if video in failed]


def _predict(wanted: Wanted, alone: bool, video: Place) -> Summary | AvgateError:
    writers = writers_named(wanted.formats)
    file = wanted.file(video)
    try:
        with nullcontext() if alone else quiet():
            return Summary.of(
                predict_one(
                    wanted.predictor,
                    video,
                    file.parent,
                    file.name,
                    writers,
                    report=wanted.report,
                    fps=wanted.fps,
                    person=wanted.person,
                )
            )
    except AvgateError as error:  # not raised: the other recordings are predicted all the same
        return error


def _is_folder(video: Place) -> bool:
    """Whether it is a folder of images; at an address there are none."""
    return isinstance(video, Path) and video.is_dir()


def _name(video: Place) -> str:
    """What its results are called: a file's name without its suffix, a folder's whole name."""
    return video.resolve().name if _is_folder(video) else video.stem


def _refuse_same_names(videos: Sequence[Place]) -> None:
    by_name: dict[str, Place] = {}
    for video in videos:
        other = by_name.setdefault(_name(video), video)
        if other is not video:
            raise UsageError(
                f"'{other}' and '{video}' would both be written as {_name(video)}.csv",
                hint="rename one of them, or predict them into different folders",
            )
