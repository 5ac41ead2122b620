"""Many recordings, several at a time: each gives its files, and one that fails doesn't stop the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from avgate.apps.predict.one import Summary, predict_one
from avgate.apps.predict.outputs import refuse_strangers, results, writers_named
from avgate.apps.predict.resume import Beside, origin
from avgate.core.cluster import LOCAL, Engine, open_workers
from avgate.core.console import console, progress, quiet
from avgate.core.errors import AvgateError, MediaError, OutputError, UsageError
from avgate.core.files import output_folder, refuse_overwriting
from avgate.core.places import Place
from avgate.core.text import reason
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
    anew: bool

    @property
    def predictor(self) -> Predictor:
        """This process' own, loaded once."""
        return _load(self.checkpoint, self.face_model, self.level, self.faces_every)

    def file(self, video: Place) -> Place:
        """A recording's results, without their suffixes."""
        return self.out / _name(video)

    def beside(self, video: Place) -> Beside | None:
        """What is kept beside a recording's results, at addresses nothing; MediaError where it can't be read."""
        file = self.file(video)
        if not (isinstance(file, Path) and isinstance(video, Path)):
            return None
        try:
            return Beside(file, origin(self.predictor, video, self.fps, self.person))
        except OSError as error:
            raise MediaError(f"can't be read ({reason(error)})", where=video, hint="check the path") from error


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
    anew: bool = False,
    workers: int | None = None,
    engine: Engine = LOCAL,
) -> None:
    """Write NAME.csv, NAME.json, NAME.html and NAME.png for every recording; one that fails doesn't stop the others.

    Recordings whose results are there, as this call would write them, are passed over. One that was cut in the middle
    goes on at its last part that was kept, to the same results, to the bit.

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
        anew: make all results anew, whatever is there.
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
    if fps is not None and not any(map(_is_folder, videos)):
        raise UsageError("only folders of images take it", where="--fps", hint="name the folder, or leave --fps out")
    writers = writers_named(formats)
    whom = None if person is None else Person.named(person)
    if whom is not None and whom.point is not None and len(videos) > 1:
        raise UsageError(
            "a moment and a point are of one video only", where="--person", hint="predict the others apart"
        )
    wanted = Wanted(out, checkpoint, face_model, report, tuple(formats), fps, level, whom, faces_every, anew)
    targets = wanted.predictor.estimator.targets
    pairs = [(video, results(wanted.file(video), writers, report, targets)) for video in videos]
    _refuse_same_files(pairs)
    files = dict(pairs)
    with output_folder(out):
        outputs = {f"--out ({file.name})": file for of_one in files.values() for file in of_one}
        refuse_overwriting([v for v in videos if not _is_folder(v)], outputs)
        todo = [video for video in videos if anew or not _is_there(wanted, video, files[video])]
        refuse_strangers({file: kind for video in todo for file, kind in files[video].items()})
        failed = _all(wanted, todo, engine.count(workers, len(todo)), engine) if todo else []
        if failed and len(videos) == 1:
            raise failed[0]
        if failed:
            each = "\n".join(f"  {error}" for error in failed)
            raise AvgateError(f"{len(failed)} of {len(videos)} recordings failed:\n{each}")


def _all(wanted: Wanted, videos: Sequence[Place], workers: int, engine: Engine) -> list[AvgateError]:
    """Predict all recordings, and tell of each; returns why some failed, in their order."""
    failed: dict[Place, AvgateError] = {}
    told: set[str] = set()  # of the model, say: of one recording is enough
    alone = workers == 1 and engine == LOCAL  # then every recording has a bar of its own
    with (
        nullcontext() if alone else progress() as bar,
        open_workers(partial(_predict, wanted, alone), workers, engine=engine) as pool,
    ):
        task = bar.add_task("Predicting", total=len(videos)) if bar else None
        for video, done in pool.run(videos):
            if isinstance(done, Summary):
                done.say(wanted.file(video), told)
                told.update(done.notes)
            else:
                failed[video] = done
                if len(videos) > 1:
                    console.say((f"{video.name} failed", "red"))
            if bar and task is not None:
                bar.advance(task)
    return [failed[video] for video in videos if video in failed]


def _is_there(wanted: Wanted, video: Place, files: Mapping[Place, str]) -> bool:
    """Whether all results of a recording are there, and say so."""
    try:
        beside = wanted.beside(video)
    except MediaError:  # it will be found out again, and told, when the recording's turn comes
        return False
    if beside is None or not beside.holds(files):
        return False
    console.say((video.name, "bold"), " is there")
    return True


def _predict(wanted: Wanted, alone: bool, video: Place) -> Summary | AvgateError:
    writers = writers_named(wanted.formats)
    file = wanted.file(video)
    try:
        beside = wanted.beside(video)
        if beside is not None and wanted.anew:
            beside.forget()
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
                        beside=beside,
                    )
                )
        except AvgateError as error:
            if beside is not None and not isinstance(error, OutputError):  # after which there may be room the next time
                beside.parts.remove()
            raise
    except AvgateError as error:  # not raised: the other recordings are predicted all the same
        return error


def _is_folder(video: Place) -> bool:
    """Whether it is a folder of images; at an address there are none."""
    return isinstance(video, Path) and video.is_dir()


def _name(video: Place) -> str:
    """What its results are called: a file's name without its suffix, a folder's whole name."""
    return video.resolve().name if _is_folder(video) else video.stem


def _refuse_same_files(pairs: Iterable[tuple[Place, Iterable[Place]]]) -> None:
    """Refuse recordings that have a file in common, of pairs of one and its files."""
    taken: dict[Place, Place] = {}
    for video, files in pairs:
        for file in files:
            other = taken.setdefault(file, video)
            if other is not video:
                raise UsageError(
                    f"'{other}' and '{video}' would both be written as {file.name}",
                    hint="rename one of them, or predict them into different folders",
                )
