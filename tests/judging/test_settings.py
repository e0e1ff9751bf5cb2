from typing import Any

import pytest

from skinflow_plugins.errors import InputError
from skinflow_plugins.judging import Judge

LOCAL, REMOTE, PLAIN = "http://127.0.0.1:8000/v1", "https://judge.example/v1", "http://judge.example/v1"


def test_runs_differ_by_temperature_unless_there_is_one() -> None:
    assert Judge(LOCAL, "m", runs=1).heat == 0.0
    assert Judge(LOCAL, "m").heat == 0.7
    assert Judge(LOCAL, "m", temperature=0.2).heat == 0.2


@pytest.mark.parametrize(("address", "sent"), [(LOCAL, True), (REMOTE, True), (PLAIN, False)])
def test_a_key_that_nobody_named_is_not_sent_in_the_clear(
    monkeypatch: pytest.MonkeyPatch, address: str, sent: bool
) -> None:
    assert Judge(address, "m").key() is None
    monkeypatch.setenv("OPENAI_API_KEY", " sk-secret\n")
    assert Judge(address, "m").key() == ("sk-secret" if sent else None)


def test_a_key_whose_variable_was_named_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-mine")
    judge = Judge(PLAIN, "m", key_variable="MY_KEY")
    assert judge.key() == "sk-mine"
    assert judge.key_source == "MY_KEY"
    assert "sk-mine" not in repr(judge)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "sk-verysecret",
            "expected the name of an environment variable that holds the judge's key, not the key",
        ),
        ("skverysecret", "the environment variable that was named for the judge's key is not set or empty"),
    ],
)
def test_a_key_in_the_place_of_its_variable_is_not_shown(given: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        Judge(LOCAL, "m", key_variable=given)
    assert message in str(caught.value)
    assert "verysecret" not in str(caught.value)


@pytest.mark.parametrize("value", ["sk secret", "sk-s\u00e9cret", "sk-secret\nX-Other: 1"])
def test_a_key_that_is_no_header_is_refused_unseen(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", value)
    with pytest.raises(InputError) as caught:
        Judge(REMOTE, "m")
    assert "the key in OPENAI_API_KEY holds a space" in str(caught.value)
    assert value[3:9] not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:8000", "found '127.0.0.1:8000'; expected the judge's address as a URL"),
        ("ftp://a/v1", "expected the judge's address as a URL"),
        ("", "expected the judge's address as a URL"),
        ("http:///v1", "expected the judge's address as a URL"),
        ("http://a b/v1", "expected the judge's address as a URL"),
        ("http://a:port/v1", "the judge's address is no URL"),
        ("http://[::1/v1", "the judge's address is no URL"),
        ("https://user:hunter2@a/v1", "holds more than a place"),
        ("https://a/v1?key=hunter2", "holds more than a place"),
    ],
)
def test_addresses_that_are_none(address: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        Judge(address, "m")
    assert message in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_all_mistakes_at_once() -> None:
    wrong: dict[str, Any] = {
        "runs": 0,
        "temperature": 3.0,
        "seed": -1,
        "concurrency": 0,
        "timeout": 0,
        "deadline": float("nan"),
        "retries": -1,
        "max_tokens": 1.5,
        "failure_share": 2,
    }
    with pytest.raises(InputError) as caught:
        Judge("nowhere", " ", **wrong)
    assert {problem.path for problem in caught.value.problems} == {"", *wrong}
    assert len(caught.value.problems) == len(wrong) + 2
