"""What a user reads when something can't be done."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from avgate.core import errors
from avgate.core.errors import AvgateError, CorpusError, MediaError, UsageError, choose

KINDS = [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, AvgateError)]


def test_message_says_what_where_and_the_next_step():
    error = MediaError("it has no video stream", where=Path("talks/a.mp4"), hint="convert it first")

    assert str(error) == "talks/a.mp4: it has no video stream\n  -> convert it first"
    assert (error.what, error.where, error.hint) == ("it has no video stream", "talks/a.mp4", "convert it first")


def test_message_without_place_or_hint_is_only_what_happened():
    assert str(AvgateError("nothing to do")) == "nothing to do"


def test_every_kind_has_an_exit_code_of_its_own():
    codes = [kind.exit_code for kind in KINDS]

    assert len(set(codes)) == len(KINDS) > 5
    assert 0 not in codes
    assert UsageError.exit_code == 2, "the shell's own code for wrong usage"


@pytest.mark.parametrize("kind", KINDS)
def test_errors_of_worker_processes_arrive_whole(kind):
    sent = kind("it ends early", where="b.mp4", hint="copy it again")
    arrived = pickle.loads(pickle.dumps(sent))

    assert type(arrived) is kind
    assert str(arrived) == str(sent)
    assert (arrived.what, arrived.where, arrived.hint) == (sent.what, sent.where, sent.hint)


def test_choose_gives_the_choice_of_that_name():
    assert choose("fusion", "concat", {"audio": 1, "concat": 2}) == 2


def test_a_misspelt_name_gets_a_guess_and_the_choices():
    with pytest.raises(UsageError) as caught:
        choose("fusion", "conct", {"audio": 1, "concat": 2})

    assert caught.value.what == "there is no fusion 'conct'"
    assert caught.value.hint == "did you mean 'concat'? choose one of: audio, concat"


def test_a_name_like_no_other_gets_the_choices_alone():
    with pytest.raises(UsageError) as caught:
        choose("corpus", "zzz", {"rendered": 1, "manifest": 2})

    assert caught.value.hint == "choose one of: rendered, manifest"
    assert not isinstance(caught.value, CorpusError)
