from __future__ import annotations

import math
import warnings
from importlib.metadata import version
from typing import Any

import hiclass.metrics
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import accuracy_score, balanced_accuracy_score, recall_score

from skinflow_plugins.diagnosis.hierarchy import UndefinedScoreWarning, f1, node_counts, precision, recall

SCORES = {"precision": precision, "recall": recall, "f1": f1}
AVERAGES = ["micro", "macro"]
EXACT = 1e-12
"""Both sides add and divide small integers in float64; only the order of the sums differs."""

Path = list[str]

hiclass_508 = pytest.mark.skipif(version("hiclass") != "5.0.8", reason="says what hiclass 5.0.8 does")


def theirs(name: str, y_true: Any, y_pred: Any, average: str, **options: Any) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        return float(getattr(hiclass.metrics, name)(y_true, y_pred, average=average, **options))


def ours(name: str, y_true: Any, y_pred: Any, average: str, **options: Any) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedScoreWarning)
        return SCORES[name](y_true, y_pred, average, **options)


def assert_like_hiclass(y_true: Any, y_pred: Any) -> None:
    for name in SCORES:
        for average in AVERAGES:
            expected = theirs(name, y_true, y_pred, average)
            assert ours(name, y_true, y_pred, average) == pytest.approx(expected, abs=EXACT), (name, average)


def padded(rows: list[Path], width: int | None = None) -> np.ndarray:
    width = width or max(map(len, rows))
    return np.array([row + [""] * (width - len(row)) for row in rows], dtype=object)


def tree_paths(rng: np.random.Generator, count: int) -> list[Path]:
    """The path of every node of a random proper tree: each name stands in one place."""
    paths: list[Path] = []
    for node in range(count):
        parent = int(rng.integers(-1, node)) if node else -1
        paths.append([*(paths[parent] if parent >= 0 else []), f"node {node}"])
    return paths


@st.composite
def labelled(draw: st.DrawFn, *, empty: bool = False) -> tuple[list[Path], list[Path]]:
    """Truths and predictions as paths of one random tree; with `empty`, some say nothing."""
    count = draw(st.integers(1, 10))
    paths: list[Path] = []
    for node in range(count):
        parent = draw(st.integers(-1, node - 1))
        paths.append([*(paths[parent] if parent >= 0 else []), f"node {node}"])
    path = st.sampled_from([*paths, []] if empty else paths)
    rows = draw(st.lists(st.tuples(path, path), min_size=1, max_size=8))
    return [true for true, _ in rows], [predicted for _, predicted in rows]


# Equal to hiclass wherever hiclass works.


@given(labelled())
def test_like_hiclass_on_random_trees(rows: tuple[list[Path], list[Path]]) -> None:
    true, predicted = rows
    width = max(map(len, true + predicted))
    assert_like_hiclass(padded(true, width), padded(predicted, width))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("form", ["objects", "text", "lists", "ragged", "tuples", "ragged objects"])
def test_like_hiclass_in_every_form(seed: int, form: str) -> None:
    rng = np.random.default_rng(seed)
    paths = tree_paths(rng, 60)
    rows = [[paths[i] for i in rng.integers(0, len(paths), 150)] for _ in range(2)]
    width = max(map(len, paths))
    shaped: list[Any] = []
    for side in rows:
        array = padded(side, width)
        ragged = np.empty(len(side), dtype=object)
        ragged[:] = side
        shaped.append(
            {
                "objects": array,
                "text": array.astype(str),
                "lists": array.tolist(),
                "ragged": side,
                "tuples": tuple(map(tuple, side)),
                "ragged objects": ragged,
            }[form]
        )
    assert_like_hiclass(*shaped)
    assert ours("f1", *shaped, "macro") == ours("f1", padded(rows[0], width), rows[1], "macro")


@pytest.mark.parametrize("seed", range(4))
def test_like_hiclass_with_several_paths(seed: int) -> None:
    rng = np.random.default_rng(seed)
    paths = tree_paths(rng, 40)
    width = max(map(len, paths))
    arrays = []
    for _ in range(2):
        rows = np.array([padded([paths[i] for i in rng.integers(0, 40, 3)], width) for _ in range(100)])
        rows[rng.random(100) < 0.5, 2] = ""  # hiclass wants as many paths in every row
        arrays.append(rows)
    assert_like_hiclass(*arrays)
    assert_like_hiclass(*(rows.astype(str) for rows in arrays))


def test_like_hiclass_with_numbers_for_labels() -> None:
    assert_like_hiclass([[0, 1, 2], [3, 4, 5]], [[0, 1, 2], [6, 7, 8]])
    assert_like_hiclass(np.array([[0, 1], [0, 2], [3, 4]]), np.array([[0, 2], [0, 2], [0, 1]]))


def test_like_hiclass_with_a_level_left_out() -> None:
    assert_like_hiclass([["a", "", "x"], ["a", "b", "y"]], [["a", "", "x"], ["a", "b", "z"]])


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("filling", ["warn", 1, 1.0])
def test_like_hiclass_where_nothing_is_shared(average: str, filling: Any) -> None:
    for predicted in ([["c"], ["d"]], [["a"], ["d"]]):
        expected = theirs("f1", [["a"], ["b"]], predicted, average, zero_division=filling)
        assert ours("f1", [["a"], ["b"]], predicted, average, zero_division=filling) == expected


@given(labelled(empty=True))
def test_like_hiclass_with_rows_that_say_nothing(rows: tuple[list[Path], list[Path]]) -> None:
    true, predicted = rows
    assume(any(true) and any(predicted))  # else it divides by zero
    width = max(map(len, true + predicted))
    for name in SCORES:
        expected = theirs(name, padded(true, width), padded(predicted, width), "micro")
        assert ours(name, true, predicted, "micro") == pytest.approx(expected, abs=EXACT)


def test_many_names_at_many_levels() -> None:
    """Enough of them that prefixes are numbered by sorting and not by a table."""
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 1500, (2, 1500))
    # Every other number has neighbours with its own grandparent and parent.
    arrays = [np.array([[f"a{n // 4}", f"b{n // 2}", f"c{n}"] for n in side]) for side in numbers]
    several = [np.stack([side, side[::-1]], axis=1) for side in arrays]
    assert_like_hiclass(*several)


# Its three defects, and what stands in their place.


def test_macro_f1_takes_zero_division_0() -> None:
    assert f1([["a"], ["b"]], [["a"], ["c"]], "macro", 0.0) == 0.5
    assert f1([["a"], ["b"]], [["a"], ["c"]], average="macro", zero_division=0) == 0.5


@pytest.mark.parametrize("average", AVERAGES)
def test_empty_predictions_are_scored(average: str) -> None:
    nothing: list[Path] = [[], []]
    for empty in (nothing, [[""], [""]], np.array([["", ""], ["", ""]]), np.empty((2, 0))):
        true = [["a", "b"], ["a", "c"]] if not isinstance(empty, np.ndarray) else [("a", "b"), ("a", "c")]
        for name in SCORES:
            assert ours(name, true, empty, average, zero_division=0) == 0
        with pytest.warns(
            UndefinedScoreWarning, match=r"Precision is undefined .* zero_division=0, 1 or nan"
        ):
            assert precision(true, empty, average) == 0
        assert precision(true, empty, average, 1) == 1
        assert math.isnan(precision(true, empty, average, math.nan))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert recall(true, empty, average) == 0  # defined: nothing of the truth was found


@pytest.mark.parametrize("average", AVERAGES)
def test_a_group_is_not_the_label_of_the_same_name(average: str) -> None:
    true = [["malignant", "malignant melanoma", "malignant melanoma"]]
    predicted = [["malignant", "malignant melanoma", "melanoma"]]
    for name in SCORES:
        assert ours(name, true, predicted, average) == pytest.approx(2 / 3, abs=EXACT)
        assert ours(name, predicted, true, average) == pytest.approx(2 / 3, abs=EXACT)
    assert recall([["x", "malignant melanoma"]], [["malignant melanoma"]], average) == 0


@hiclass_508
def test_hiclass_still_has_them() -> None:
    with pytest.raises(TypeError):
        theirs("f1", [["a"], ["b"]], [["a"], ["c"]], "macro", zero_division=0.0)
    with pytest.raises(ZeroDivisionError):
        theirs("precision", [["a"]], [[""]], "micro")
    true = [["malignant", "malignant melanoma", "malignant melanoma"]]
    predicted = [["malignant", "malignant melanoma", "melanoma"]]
    found = [theirs(name, true, predicted, "micro") for name in SCORES]
    assert found == pytest.approx([2 / 3, 1, 0.8])


@hiclass_508
def test_hiclass_has_more_that_we_do_not_share() -> None:
    # Labels without levels are read letter by letter.
    assert theirs("precision", ["nevus", "virus"], ["venus", "wrist"], "micro") > 0.5
    # nan is documented to leave a sample out of the average.
    assert math.isnan(theirs("f1", [["a"], ["b"]], [["a"], ["c"]], "macro", zero_division=math.nan))
    assert f1([["a"], ["b"]], [["a"], ["c"]], "macro", math.nan) == 1
    # Paths beyond the other side's number of paths are dropped.
    assert theirs("recall", [[["a"], ["b"]]], [[["a"]]], "micro") == 1
    assert recall([[["a"], ["b"]]], [[["a"]]]) == 0.5
    # Whole numbers turn into text when one side is ragged.
    assert theirs("recall", [[1], [1, 2]], [[1, 2], [1, 2]], "micro") == 0
    assert recall([[1], [1, 2]], [[1, 2], [1, 2]]) == 1


# What a node is.


def test_a_name_below_another_parent_is_another_node() -> None:
    assert recall([["tumour", "other"]], [["rash", "other"]], zero_division=0) == 0
    assert node_counts([["tumour", "other"]], [["tumour", "other"]]).shared.tolist() == [2]
    assert node_counts([[["tumour", "other"]]], [[["rash", "other"]]]).shared.tolist() == [0]


def test_several_true_paths_are_united() -> None:
    counts = node_counts(
        [[["a", "b", "c"], ["a", "b", "d"], ["e"]], [["a"]], ["a", "b"], []],
        [["a", "b", "d"], [["a"], ["e"], ["e"]], [["a", "b"], ["a"]], ["a"]],
    )
    assert counts.true.tolist() == [5, 1, 2, 0]
    assert counts.predicted.tolist() == [3, 2, 2, 1]
    assert counts.shared.tolist() == [3, 1, 2, 0]


@given(labelled(empty=True))
def test_one_path_is_a_list_of_one_path(rows: tuple[list[Path], list[Path]]) -> None:
    true, predicted = rows
    plain = node_counts(true, predicted)
    wrapped = node_counts([[path] for path in true], [[path, path] for path in predicted])
    for name in ("shared", "true", "predicted"):
        assert getattr(plain, name).tolist() == getattr(wrapped, name).tolist()


@given(st.integers(0, 2**32 - 1))
def test_counts_are_those_of_sets_of_prefixes(seed: int) -> None:
    """The definition, spelled out; names are shared by levels and branches as they come."""
    rng = np.random.default_rng(seed)

    def side() -> list[list[Path]]:
        return [
            [
                list(map(str, rng.choice(["", "a", "b"], rng.integers(0, 4))))
                for _ in range(rng.integers(0, 3))
            ]
            for _ in range(4)
        ]

    def nodes(paths: list[Path]) -> set[tuple[str, ...]]:
        return {tuple(path[: i + 1]) for path in paths for i in range(len(path)) if path[i]}

    true, predicted = side(), side()
    counts = node_counts(true, predicted)
    assert counts.true.tolist() == [len(nodes(paths)) for paths in true]
    assert counts.predicted.tolist() == [len(nodes(paths)) for paths in predicted]
    both = zip(true, predicted, strict=True)
    assert counts.shared.tolist() == [len(nodes(one) & nodes(other)) for one, other in both]


# Laws.


@given(labelled(empty=True), st.sampled_from(AVERAGES), st.sampled_from(sorted(SCORES)))
def test_bounds_and_one_on_equality(rows: tuple[list[Path], list[Path]], average: str, name: str) -> None:
    true, predicted = rows
    assert 0 <= ours(name, true, predicted, average) <= 1
    if all(true):
        assert ours(name, true, true, average) == 1


@given(labelled(empty=True), st.sampled_from(AVERAGES), st.randoms(use_true_random=False))
def test_order_and_names_do_not_matter(
    rows: tuple[list[Path], list[Path]], average: str, random: Any
) -> None:
    true, predicted = rows
    order = list(range(len(true)))
    random.shuffle(order)
    names = sorted({name for path in true + predicted for name in path})
    others = [f"x{i}" for i in range(len(names))]
    random.shuffle(others)
    new = dict(zip(names, others, strict=True))
    for name in SCORES:
        expected = pytest.approx(ours(name, true, predicted, average), abs=EXACT)
        assert ours(name, [true[i] for i in order], [predicted[i] for i in order], average) == expected
        renamed = [[[new[each] for each in path] for path in side] for side in rows]
        assert ours(name, *renamed, average) == expected


@given(labelled(empty=True), st.sampled_from(AVERAGES), st.sampled_from(["warn", 0, 1]))
def test_recall_is_precision_exchanged(
    rows: tuple[list[Path], list[Path]], average: str, filling: Any
) -> None:
    true, predicted = rows
    assert ours("recall", true, predicted, average, zero_division=filling) == ours(
        "precision", predicted, true, average, zero_division=filling
    )
    assert ours("f1", true, predicted, average) == ours("f1", predicted, true, average)


@given(labelled(), st.sampled_from(AVERAGES), st.data())
def test_a_nearer_prediction_never_lowers(
    rows: tuple[list[Path], list[Path]], average: str, data: st.DataObject
) -> None:
    """Nearer: at least as many nodes shared with the truth, and no more edges away from it."""
    true, predicted = rows
    at = data.draw(st.integers(0, len(true) - 1))
    candidates = [path[: i + 1] for path in true + predicted for i in range(len(path))]
    other = data.draw(st.sampled_from(candidates))
    exchanged = [*predicted[:at], other, *predicted[at + 1 :]]
    before, after = (int(node_counts([true[at]], [p]).shared[0]) for p in (predicted[at], other))
    distance = [len(true[at]) + len(p) - 2 * s for p, s in ((predicted[at], before), (other, after))]
    assume(after >= before and distance[1] <= distance[0])
    for name in ("recall", "f1"):
        assert ours(name, true, exchanged, average) >= ours(name, true, predicted, average) - EXACT
    if len(other) <= len(predicted[at]):
        before_, after_ = (ours("precision", true, side, average) for side in (predicted, exchanged))
        assert after_ >= before_ - EXACT


@given(labelled())
def test_each_node_towards_the_truth_raises_f1(rows: tuple[list[Path], list[Path]]) -> None:
    for path in rows[0]:
        steps = [ours("f1", [path], [path[:i]], "macro") for i in range(len(path) + 1)]
        assert steps == sorted(set(steps))
        assert steps[-1] == 1


@given(labelled(), st.sampled_from(sorted(SCORES)))
def test_of_one_sample_micro_is_macro(rows: tuple[list[Path], list[Path]], name: str) -> None:
    for true, predicted in zip(*rows, strict=True):
        assert ours(name, [true], [predicted], "micro") == ours(name, [true], [predicted], "macro")


# scikit-learn, where both define the same: one level.


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abcd")), min_size=1, max_size=20))
def test_on_one_level_everything_is_accuracy(pairs: list[tuple[str, str]]) -> None:
    true, predicted = ([pair[side] for pair in pairs] for side in (0, 1))
    rows = [[[label] for label in side] for side in (true, predicted)]
    for name in SCORES:
        for average in AVERAGES:
            assert ours(name, *rows, average) == pytest.approx(accuracy_score(true, predicted), abs=EXACT)
    assert ours("recall", *rows, "micro") == pytest.approx(
        recall_score(true, predicted, average="micro", zero_division=0), abs=EXACT
    )
    # Our macro average is over samples; scikit-learn's is over classes: the mean of ours by class.
    by_class = [
        ours(
            "recall", *([row for row, t in zip(side, true, strict=True) if t == c] for side in rows), "macro"
        )
        for c in sorted(set(true))
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # answers that are nobody's truth
        assert np.mean(by_class) == pytest.approx(balanced_accuracy_score(true, predicted), abs=EXACT)


# The oracle of the facts file.

THREE = {
    "melanoma": ("malignant", "malignant melanoma"),
    "basal cell carcinoma": ("malignant", "malignant epidermal"),
    "squamous cell carcinoma": ("malignant", "malignant epidermal"),
    "actinic keratosis": ("malignant", "malignant epidermal"),
    "halo nevus": ("benign", "benign melanocyte"),
    "psoriasis": ("non-neoplastic", "inflammatory"),
    "eczema": ("non-neoplastic", "inflammatory"),
    "scabies": ("non-neoplastic", "inflammatory"),
    "dariers disease": ("non-neoplastic", "genodermatoses"),
}


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("name", SCORES)
def test_the_oracle_of_fitzpatrick17k(name: str, average: str) -> None:
    truth = ["melanoma", "psoriasis", "halo nevus", "squamous cell carcinoma", "eczema", "scabies"]
    answer = ["basal cell carcinoma", "eczema", "melanoma", "actinic keratosis", "eczema", "dariers disease"]
    rows = [[[*THREE[label], label] for label in side] for side in (truth, answer)]
    assert ours(name, *rows, average) == pytest.approx(0.5, abs=EXACT)


# Undefined scores.


def test_one_warning_that_counts_and_points_here() -> None:
    with pytest.warns(UndefinedScoreWarning) as caught:
        assert f1([["a"], ["b"], ["c"]], [["a"], ["c"], ["d"]], average="macro") == pytest.approx(1 / 3)
    assert len(caught) == 1
    assert "F1 is undefined in 2 of 3 samples" in str(caught[0].message)
    assert caught[0].filename == __file__


def test_nan_leaves_samples_out_of_the_average() -> None:
    true, predicted = [["a"], ["b"], ["c", "d"]], [["a"], [], ["c", "e"]]
    assert precision(true, predicted, "macro", math.nan) == 0.75
    assert precision(true, predicted, "macro", 1) == pytest.approx(2.5 / 3)
    assert precision(true, predicted, "macro", 0) == pytest.approx(1.5 / 3)
    assert math.isnan(f1([["a"]], [["b"]], "macro", math.nan))


# Mistakes of the caller.

SHAPE = "expected one row per sample, and in each row a path of labels from the top level down"


@pytest.mark.parametrize(
    ("true", "predicted", "message"),
    [
        ([["a"], ["b"]], [["a"]], "y_true has 2 rows and y_pred has 1; give one row per sample"),
        ([], [], "no samples to score"),
        (["a", "b"], [["a"], ["b"]], f"y_true: found 'a' in row 0; {SHAPE}"),
        ([["a"], ["b"]], [["a"], "b"], f"y_pred: found 'b' in row 1; {SHAPE}"),
        ([1, 2], [[1], [2]], "y_true: found 1 in row 0"),
        (np.array(["a", "b"]), [["a"], ["b"]], "y_true: found an array of 1 dimensions"),
        (np.zeros((1, 1, 1, 1)), [["a"]], "y_true: found an array of 4 dimensions"),
        ("ab", [["a"]], "y_true: found 'ab'"),
        (None, [["a"]], "y_true: found None"),
        ([["a", ["b"]]], [["a"]], "y_true: found 'a' in row 0"),
        ([[["a"]], [["a", ["b"]]]], [["a"], ["a"]], r"y_true: found \['b'\] as a label in row 1"),
        ([["a"], [{}]], [["a"], ["a"]], "y_true: found {} as a label in row 1"),
        ([{"a"}], [["a"]], "y_true: found {'a'} in row 0"),
        ([["a"], ["b", None]], [["a"], ["b"]], 'None in row 1 is no label; use text or numbers, and ""'),
        (np.array([[0.0, 1.0], [0.0, np.nan]]), [[0], [0]], "y_true: nan in row 1 is no label"),
        (np.array([["a"]], dtype="S"), [["a"]], "b'a' in row 0 is no label"),
        (np.array([["a", "b"]]), np.array([["a"]]), "y_true has 2 levels and y_pred has 1; if both begin"),
        (np.array([[["a", "b"]]]), np.array([["a"]]), "y_true has 2 levels and y_pred has 1"),
    ],
)
def test_mistakes_are_named(true: Any, predicted: Any, message: str) -> None:
    for score in SCORES.values():
        with pytest.raises(ValueError, match=message):
            score(true, predicted)


def test_unknown_options_are_named() -> None:
    for score in SCORES.values():
        with pytest.raises(
            ValueError, match="expected 'micro' or 'macro', found 'makro'; did you mean 'macro'"
        ):
            score([["a"]], [["a"]], average="makro")
        with pytest.raises(ValueError, match="'micro' or 'macro', found None"):
            score([["a"]], [["a"]], average=None)
        for wrong in (2, 0.5, "ignore", None):
            with pytest.raises(ValueError, match="zero_division: expected 'warn', 0, 1 or nan"):
                score([["a"]], [["a"]], zero_division=wrong)
