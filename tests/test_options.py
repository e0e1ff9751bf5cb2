"""Options from signatures, and what fits them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pytest

from skinflow_plugins.options import check_options, fits, options_of


def example(
    answer: str, *, length: int, share: float = 0.5, fields: Mapping[str, Sequence[str]] | None = None
) -> None:
    """Nothing; its signature is the example."""


def test_options_are_the_keyword_only_parameters() -> None:
    found = options_of(example)
    assert [option.name for option in found] == ["length", "share", "fields"]
    assert [option.required for option in found] == [True, False, False]
    assert str(found[1]) == "share: float = 0.5"


def test_an_option_without_a_type_is_refused() -> None:
    def untyped(answer: str, *, length=3) -> None:  # type: ignore[no-untyped-def]
        pass

    with pytest.raises(TypeError, match=r"untyped.*'length' needs a type annotation"):
        options_of(untyped)


def test_every_mistake_is_found_at_once() -> None:
    problems = check_options(options_of(example), {"lenght": 3, "share": "half"})
    assert [name for name, _ in problems] == ["lenght", "length", "share"]
    assert "did you mean 'length'" in problems[0][1]
    assert "is required" in problems[1][1]
    assert "'half' does not fit `share: float" in problems[2][1]


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        (1, float, True),
        (True, float, False),
        (True, int, False),
        (1.5, int, False),
        ([1, 2.0], Sequence[float], True),
        ("text", Sequence[str], False),
        ({"a": ["b"]}, Mapping[str, Sequence[str]], True),
        ({"a": "b"}, Mapping[str, Sequence[str]], False),
        ("caption", Literal["caption", "list"], True),
        ("other", Literal["caption", "list"], False),
        (None, int | None, True),
        ("x", Any, True),
    ],
)
def test_fits(value: Any, annotation: Any, expected: bool) -> None:
    assert fits(value, annotation) is expected
