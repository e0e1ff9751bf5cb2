import logging

import pytest

from skinflow_plugins.judging.key_mask import KeyMask

KEY = 'sk-a"b\\c/d+e=0123456789'


@pytest.mark.parametrize(
    "spelling",
    [
        KEY,
        'sk-a\\"b\\\\c/d+e=0123456789',
        "sk-a%22b%5Cc/d%2Be%3D0123456789",
        "sk-a%22b%5Cc%2Fd%2Be%3D0123456789",
    ],
)
def test_a_key_is_hidden_however_it_is_spelled(spelling: str) -> None:
    assert KeyMask(KEY).hide(f"Bearer {spelling}, {spelling}") == "Bearer (key), (key)"


def test_a_short_key_is_a_word() -> None:
    mask = KeyMask("none")
    assert mask.hide("nonetheless none; nonexistent") == "nonetheless (key); nonexistent"


@pytest.mark.parametrize("key", [None, ""])
def test_without_a_key_nothing_is_hidden(key: str | None) -> None:
    mask = KeyMask(key)
    mask.hide_in_logs()
    assert mask.hide("all of it") == "all of it"


@pytest.mark.parametrize("logger", ["httpcore.http11", "httpcore2.http11"])
def test_headers_that_the_connection_logs(caplog: pytest.LogCaptureFixture, logger: str) -> None:
    caplog.set_level(logging.DEBUG)
    for _ in range(3):
        KeyMask("sk-for-this-test").hide_in_logs()
    logging.getLogger(logger).debug("received %r of %d", [(b"X-Echo", b"sk-for-this-test")], 200)
    assert caplog.messages == ["received [(b'X-Echo', b'(key)')] of 200"]
    assert len(logging.getLogger(logger).filters) == 1
