"""When a judge's names are the diagnosis."""

from __future__ import annotations

import pytest

from skinflow_plugins.captioning.recovery import passes, recovered_rank
from skinflow_plugins.diagnosis import Taxonomy, load_taxonomy


@pytest.fixture(scope="module")
def full() -> Taxonomy:
    return load_taxonomy("fitzpatrick17k")


def test_the_rank_is_that_of_the_first_right_name(taxonomy: Taxonomy) -> None:
    assert recovered_rank(["psoriasis", "Melanoma", "melanoma"], "melanoma", taxonomy) == 2
    assert recovered_rank(["psoriasis"], "melanoma", taxonomy) is None
    assert recovered_rank([], "melanoma", taxonomy) is None


def test_synonyms_and_forms_count_and_broader_or_doubtful_names_do_not(full: Taxonomy) -> None:
    assert recovered_rank(["BCC"], "basal cell carcinoma", full) == 1
    assert recovered_rank(["nodular basal cell carcinoma"], "basal cell carcinoma", full) == 1
    # A label of its own: it is right for itself.
    assert recovered_rank(["superficial spreading melanoma"], "melanoma", full) is None
    assert recovered_rank(["superficial spreading melanoma"], "superficial spreading melanoma ssm", full) == 1
    assert recovered_rank(["melanoma"], "superficial spreading melanoma ssm", full) is None
    assert recovered_rank(["not melanoma", "melanoma?", "melanoma ruled out"], "melanoma", full) is None


def test_more_than_half_of_the_runs_decide(taxonomy: Taxonomy) -> None:
    right, wrong = ("melanoma",), ("psoriasis",)
    assert passes([right], "melanoma", taxonomy)
    assert passes([right, wrong, right], "melanoma", taxonomy)
    assert not passes([right, wrong], "melanoma", taxonomy)
    assert not passes([], "melanoma", taxonomy)
