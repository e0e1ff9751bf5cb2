"""A judge at a loopback server against a labelled set: verdicts, failures apart, and when the work ends."""

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from skinflow_plugins.errors import InputError, WorkFailed
from skinflow_plugins.judging import Judge
from skinflow_plugins.judging.check import checked, matcher_verdicts
from skinflow_plugins.judging.checking import check_judge
from skinflow_plugins.judging.labelled_set import LabelledSet, load_labelled

JudgeOf = Callable[..., Judge]


@pytest.fixture
def by_heart(server: Any) -> Callable[..., Any]:
    """A script that knows the labelled set, but gives other verdicts on the texts in `wrongly`."""
    known = {(pair.truth, pair.item): pair.verdict for pair in load_labelled().pairs}

    def script(request: dict[str, Any], wrongly: dict[str, str] | None = None) -> Any:
        block = server.data_of(request)
        words = [
            (wrongly or {}).get(entry["text"], known[block["reference"], entry["text"]])
            for entry in block["listed"]
        ]
        return server.Reply(server.completion(server.verdicts(words)))

    return script


@pytest.fixture(scope="module")
def labelled() -> LabelledSet:
    return load_labelled()


def test_a_judge_that_knows_all(server: Any, judge_of: JudgeOf, by_heart: Any, labelled: LabelledSet) -> None:
    server.script = by_heart
    found = check_judge(labelled, judge_of(cache="off", prompt_price=1.0, completion_price=2.0))
    assert (found.check.agreement, found.check.kappa, found.check.unjudged) == (1.0, 1.0, 0)
    assert found.lists == len(server.requests) == found.usage.calls
    assert max(len(server.data_of(request)["listed"]) for request in server.requests) == 6
    assert (found.usage.failed, found.unreadable, found.lost) == (0, 0.0, {})
    assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (100 * found.lists, 10 * found.lists)
    assert found.usage.cost == pytest.approx(found.lists * (100 * 1.0 + 10 * 2.0) / 1e6)
    json.dumps(found.as_dict(), allow_nan=False)


def test_mistakes_in_the_costly_direction_are_found(
    server: Any, judge_of: JudgeOf, by_heart: Any, labelled: LabelledSet
) -> None:
    obeyed = [pair.item for pair in labelled.pairs if pair.kind == "injection"][:3]
    wrongly = {"basal cell papilloma": "wrong", "dermatophytosis": "subtype"}
    wrongly |= dict.fromkeys(obeyed, "correct")
    server.script = lambda request: by_heart(request, wrongly)
    check = check_judge(labelled, judge_of(cache="off")).check
    assert {pair.item for pair, _ in check.obeyed()} == set(obeyed)
    assert {pair.item for pair, _ in check.accepted_wrongly()} == {*obeyed, "dermatophytosis"}
    # `basal cell papilloma` is a synonym of one reference and a dangerous mistake for another.
    assert {(pair.truth, given) for pair, given in check.rejected_wrongly()} == {
        ("seborrheic keratosis", "wrong")
    }
    assert check.kappa is not None
    assert 0.9 < check.kappa < 1


def test_one_by_one(server: Any, judge_of: JudgeOf, by_heart: Any, labelled: LabelledSet) -> None:
    server.script = by_heart
    found = check_judge(labelled, judge_of(cache="off", concurrency=32), list_length=1)
    assert found.lists == len(labelled.pairs) == len(server.requests)
    assert found.check.kappa == 1.0


def test_the_majority_of_runs_counts_and_their_agreement_is_told(
    server: Any, judge_of: JudgeOf, by_heart: Any, labelled: LabelledSet
) -> None:
    def script(request: dict[str, Any]) -> Any:
        odd = request["seed"] == 2
        return by_heart(request, {"melanoma": "wrong"} if odd else None)

    server.script = script
    found = check_judge(labelled, judge_of(cache="off", runs=3))
    assert found.check.kappa == 1.0
    assert found.usage.calls == 3 * found.lists
    assert found.runs.unanimous is not None
    assert 0.9 < found.runs.unanimous < 1


def test_replies_that_are_not_the_json_asked_for_are_counted_and_are_no_verdict(
    server: Any, judge_of: JudgeOf, by_heart: Any, labelled: LabelledSet
) -> None:
    def script(request: dict[str, Any]) -> Any:
        if server.data_of(request)["reference"] == "psoriasis":
            return server.Reply(server.completion("All of them are correct."))
        if server.data_of(request)["reference"] == "scabies":
            return server.Reply(server.completion(None, refusal="no medical questions"))
        return by_heart(request)

    server.script = script
    found = check_judge(labelled, judge_of(cache="off", failure_share=0.0))
    lost = [pair for pair in labelled.pairs if pair.truth in ("psoriasis", "scabies")]
    assert found.check.unjudged == len(lost)
    assert found.check.kappa == 1.0  # a failure is never a verdict, right or wrong
    kinds = found.usage.failures
    assert set(kinds) == {"unparsable", "refusal"}
    assert found.unreadable == kinds["unparsable"] / found.lists
    assert sum(found.lost.values()) == found.usage.failed == sum(kinds.values())
    assert any("no JSON" in why for why in found.lost)


def test_a_key_that_is_refused_ends_the_work_after_one_call(
    server: Any, judge_of: JudgeOf, labelled: LabelledSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret-of-mine")
    body = {"error": {"message": "bad key sk-secret-of-mine"}}
    server.script = lambda request: server.Reply(body, status=401)
    with pytest.raises(WorkFailed, match="does not take the key in MY_KEY") as caught:
        check_judge(labelled, judge_of(cache="off", key_variable="MY_KEY"))
    assert len(server.requests) == 1
    assert "secret" not in str(caught.value)


def test_a_server_that_dies_midway_ends_the_work(
    server: Any, judge_of: JudgeOf, by_heart: Any, labelled: LabelledSet
) -> None:
    lock, asked = threading.Lock(), []

    def script(request: dict[str, Any]) -> Any:
        with lock:
            asked.append(request)
            dead = len(asked) > 40
        return server.Reply({"error": {"message": "gone"}}, status=500) if dead else by_heart(request)

    server.script = script
    with pytest.raises(
        WorkFailed, match=r"the judge failed at .* of the .* that are to be made 10% may fail"
    ):
        check_judge(labelled, judge_of(cache="off", failure_share=0.1, concurrency=4))
    assert 40 < len(asked) < 80  # not asked to the end


def test_a_few_lost_calls_do_not(
    server: Any, judge_of: JudgeOf, by_heart: Any, labelled: LabelledSet
) -> None:
    def script(request: dict[str, Any]) -> Any:
        if server.data_of(request)["reference"] == "melanoma":
            return server.Reply({"error": {"message": "busy"}}, status=503)
        return by_heart(request)

    server.script = script
    found = check_judge(labelled, judge_of(cache="off", failure_share=0.2))
    assert found.check.unjudged == sum(pair.truth == "melanoma" for pair in labelled.pairs)
    assert set(found.usage.failures) == {"transport"}
    assert found.unreadable == 0.0


def test_nothing_is_taken_from_or_left_in_a_cache(
    server: Any, judge_of: JudgeOf, by_heart: Any, labelled: LabelledSet
) -> None:
    server.script = by_heart
    first = check_judge(labelled, judge_of(cache="off"))
    again = check_judge(labelled, judge_of(cache="off"))
    assert first.usage.calls == again.usage.calls == first.lists
    assert len(server.requests) == 2 * first.lists


def test_a_list_length_out_of_range(judge_of: JudgeOf, labelled: LabelledSet) -> None:
    with pytest.raises(InputError, match="found lists of 0 texts; expected 1 to 50"):
        check_judge(labelled, judge_of(cache="off"), list_length=0)


def test_judge_and_matcher_are_measured_by_the_same_figures(
    server: Any, judge_of: JudgeOf, labelled: LabelledSet
) -> None:
    from skinflow_plugins.diagnosis import load_taxonomy

    clinical = load_taxonomy("fitzpatrick17k")
    codes = matcher_verdicts(labelled, clinical)
    of_pair = {(pair.truth, pair.item): code for pair, code in zip(labelled.pairs, codes, strict=True)}

    def script(request: dict[str, Any]) -> Any:
        from skinflow_plugins.judging.verdicts import VERDICTS

        block = server.data_of(request)
        words = [VERDICTS[of_pair[block["reference"], entry["text"]]] for entry in block["listed"]]
        return server.Reply(server.completion(server.verdicts(words)))

    server.script = script
    found = check_judge(labelled, judge_of(cache="off")).check
    assert found.as_dict() == checked(labelled, codes).as_dict()
