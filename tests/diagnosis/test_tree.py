from __future__ import annotations

import math

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinflow_plugins.diagnosis.tree import TreeIndex, shared_nodes

ROOT = -1


@st.composite
def parents_of_trees(draw: st.DrawFn, most: int = 14) -> list[int]:
    """Parents in any order of nodes: a tree is grown, then its nodes change places."""
    count = draw(st.integers(1, most))
    grown = [draw(st.integers(-1, i - 1)) for i in range(count)]
    place = draw(st.permutations(range(count)))
    parents = [0] * count
    for node, parent in enumerate(grown):
        parents[place[node]] = ROOT if parent == ROOT else place[parent]
    return parents


def as_graph(parents: list[int]) -> nx.DiGraph:
    graph = nx.DiGraph()
    graph.add_node(ROOT)
    graph.add_edges_from((parent, node) for node, parent in enumerate(parents))
    return graph


def all_pairs(count: int) -> tuple[np.ndarray, np.ndarray]:
    every = np.arange(-1, count)
    return every[:, None], every[None, :]


# What networkx says of the same tree.


@given(parents_of_trees())
def test_ancestors_and_distances_are_those_of_networkx(parents: list[int]) -> None:
    tree, graph = TreeIndex.from_parents(parents), as_graph(parents)
    nodes = range(-1, len(parents))
    lowest = {
        frozenset(pair): node for pair, node in nx.tree_all_pairs_lowest_common_ancestor(graph, root=ROOT)
    }
    lengths = dict(nx.all_pairs_shortest_path_length(graph.to_undirected()))
    a, b = all_pairs(len(parents))
    assert tree.lca(a, b).tolist() == [[lowest[frozenset({i, j})] for j in nodes] for i in nodes]
    assert tree.distance(a, b).tolist() == [[lengths[i][j] for j in nodes] for i in nodes]
    assert tree.depth.tolist() == [lengths[ROOT][i] for i in nodes if i >= 0]
    common = {i: nx.ancestors(graph, i) | {i} for i in nodes}
    assert tree.shared(a, b).tolist() == [
        [len((common[i] & common[j]) - {ROOT}) for j in nodes] for i in nodes
    ]


@given(parents_of_trees())
def test_paths_heights_and_descendants_are_those_of_networkx(parents: list[int]) -> None:
    tree, graph = TreeIndex.from_parents(parents), as_graph(parents)
    for node in range(len(parents)):
        below = nx.descendants(graph, node)
        path = nx.shortest_path(graph, ROOT, node)[1:]
        assert tree.paths[node].tolist() == path + [-1] * (tree.height - len(path))
        assert set(np.flatnonzero(tree.descendants[node])) == below | {node}
        assert tree.within(np.arange(len(parents)), node).tolist() == tree.descendants[node].tolist()
        lengths = nx.single_source_shortest_path_length(graph, node)
        assert tree.heights[node] == max(lengths.values())
    assert tree.height == nx.dag_longest_path_length(graph)


@given(parents_of_trees(), st.data())
def test_subtree_sums_and_information_content(parents: list[int], data: st.DataObject) -> None:
    tree, graph = TreeIndex.from_parents(parents), as_graph(parents)
    counts = data.draw(st.lists(st.integers(0, 5), min_size=len(parents), max_size=len(parents)))
    sums = [sum(counts[i] for i in nx.descendants(graph, node) | {node}) for node in range(len(parents))]
    assert tree.subtree_sum(counts).tolist() == sums
    if not sum(counts):
        with pytest.raises(ValueError, match="no samples"):
            tree.ic(counts)
        return
    content = tree.ic(counts)
    expected = [-math.log(s / sum(counts)) if s else math.inf for s in sums]
    assert content == pytest.approx(expected, abs=1e-12)
    assert not np.signbit(content).any()
    for node, parent in enumerate(parents):
        assert parent == ROOT or content[node] >= content[parent]


# Heights as mistakes are measured by.


@given(parents_of_trees())
def test_the_height_of_the_ancestor_is_an_ultrametric(parents: list[int]) -> None:
    tree = TreeIndex.from_parents(parents)
    every = np.arange(len(parents))
    d = tree.lca_height(every[:, None], every)
    assert (d == d.T).all()
    assert ((d == 0) == np.eye(len(parents), dtype=bool)).all()
    assert (d[:, None, :] <= np.maximum(d[:, :, None], d[None, :, :])).all()
    assert (tree.lca_height(np.arange(-1, len(parents)), -1) == tree.height).all()


@given(st.integers(1, 3), st.integers(1, 4))
def test_with_leaves_at_one_depth_it_is_that_depth_less_what_is_shared(width: int, deep: int) -> None:
    parents: list[int] = []
    level = [ROOT]
    for _ in range(deep):
        start = len(parents)
        parents += [above for above in level for _ in range(width)]
        level = list(range(start, len(parents)))
    tree = TreeIndex.from_parents(parents)
    a, b = all_pairs(len(parents))
    expected = np.where((a == b) & (a >= 0), 0, deep - tree.shared(a, b))
    assert (tree.lca_height(a, b) == expected).all()


def test_heights_in_a_ragged_tree_are_the_longest_way_down() -> None:
    # 0 has the leaf 1 and the long branch 2-3-4; 5 is a leaf below the root.
    tree = TreeIndex.from_parents([-1, 0, 0, 2, 3, -1])
    assert tree.heights.tolist() == [3, 0, 2, 1, 0, 0]
    assert tree.height == 4
    assert tree.lca_height([1, 1, 4, 4, 1, 2], [4, 0, 3, 5, -1, 2]).tolist() == [3, 3, 1, 4, 4, 0]
    own = [10.0, 0.0, 5.0, 1.0, 0.0, 0.0, 99.0]
    assert tree.lca_height([1, 4, 4, 5], [4, 3, -1, 5], own).tolist() == [10, 1, 99, 0]
    with pytest.raises(ValueError, match="expected 7 heights, one per node and the root's last"):
        tree.lca_height(0, 1, own[:-1])


# Lin's similarity.


@given(parents_of_trees(), st.data())
def test_lin_is_bounded_symmetric_and_one_only_on_itself(parents: list[int], data: st.DataObject) -> None:
    tree = TreeIndex.from_parents(parents)
    counts = data.draw(st.lists(st.integers(0, 5), min_size=len(parents), max_size=len(parents)))
    content = tree.ic(counts, smoothing=1.0)
    a, b = all_pairs(len(parents))
    found = tree.lin(a, b, content)
    assert ((found >= 0) & (found <= 1)).all()
    assert (found == found.T).all()
    assert (found[0] == 0).all()  # no concept
    assert (found[1:, 1:].diagonal() == 1).all()
    assert (found[tree.lca(a, b) == ROOT] == 0).all()
    # Smoothing leaves no two nodes of one branch with the same content.
    assert (found[(a != b) & (a >= 0) & (b >= 0)] < 1).all()


def test_lin_by_hand_and_where_it_is_not_defined() -> None:
    # 0: {1, 2}, 3: {4}; 8 samples
    tree = TreeIndex.from_parents([-1, 0, 0, -1, 3])
    content = tree.ic([0, 2, 2, 0, 4])
    assert content == pytest.approx(np.log([2, 4, 4, 2, 2]), abs=1e-12)
    assert tree.lin([1, 1, 4], [2, 0, 3], content) == pytest.approx([0.5, 2 / 3, 1], abs=1e-12)
    # Node 2 holds no sample: an answer of which nothing is known earns nothing, but is itself.
    unseen = tree.ic([0, 4, 0, 0, 4])
    assert unseen[2] == math.inf
    assert tree.lin([1, 2, 2], [2, 2, -1], unseen).tolist() == [0, 1, 0]
    # Nor does one whose common ancestor holds none either.
    assert tree.lin([3, 4], [4, 4], tree.ic([0, 4, 0, 0, 0])).tolist() == [0, 1]
    # All samples in one branch: its content is 0, and 0/0 is no similarity.
    alone = tree.ic([4, 0, 4, 0, 0])
    assert alone[0] == 0
    assert tree.lin([0, 0, 1], [0, 2, 0], alone).tolist() == [1, 0, 0]
    with pytest.raises(ValueError, match=r"content: expected one per node, shape \(5,\)"):
        tree.lin(0, 1, [1.0])


# Paths of integers.


def test_shared_nodes_stops_where_paths_part() -> None:
    true = np.array([[0, 1, 2], [0, 1, -1], [0, 1, 2], [-1, -1, -1]])
    pred = np.array([[0, 5, 2], [0, 1, -1], [0, 1, -1], [-1, -1, -1]])
    assert shared_nodes(true, pred).tolist() == [1, 2, 2, 0]
    assert shared_nodes(true, pred[:, :1]).tolist() == [1, 1, 1, 0]
    assert shared_nodes(true[:, None], pred[None]).shape == (4, 4)


@given(parents_of_trees())
def test_shapes_follow_numpy(parents: list[int]) -> None:
    tree = TreeIndex.from_parents(parents)
    for function in (tree.shared, tree.distance, tree.lca_height, tree.lca, tree.within):
        assert function(0, -1).shape == ()
        assert function([[0], [-1]], [0, 0, 0]).shape == (2, 3)
        assert function([], []).shape == (0,)


def test_nothing_is_shared_with_no_concept() -> None:
    tree = TreeIndex.from_parents([-1, 0])
    assert tree.shared([-1, -1, 1], [-1, 1, -1]).tolist() == [0, 0, 0]
    assert tree.distance([-1, 1], [-1, -1]).tolist() == [0, 2]  # it stands at the root
    assert tree.lca_height([-1, 1, -1], [-1, -1, 0]).tolist() == [2, 2, 2]
    assert tree.within([-1, -1, 1], [-1, 1, -1]).tolist() == [False] * 3


@given(parents_of_trees(), st.randoms(use_true_random=False))
def test_numbering_does_not_matter(parents: list[int], random: object) -> None:
    place = list(range(len(parents)))
    random.shuffle(place)  # type: ignore[attr-defined]
    moved = [0] * len(parents)
    for node, parent in enumerate(parents):
        moved[place[node]] = ROOT if parent == ROOT else place[parent]
    tree, other = TreeIndex.from_parents(parents), TreeIndex.from_parents(moved)
    a, b = all_pairs(len(parents))
    new = np.array([*place, ROOT])
    for name in ("shared", "distance", "lca_height"):
        assert (getattr(tree, name)(a, b) == getattr(other, name)(new[a], new[b])).all()


def test_an_empty_tree_and_a_long_chain() -> None:
    empty = TreeIndex.from_parents([])
    assert len(empty) == empty.height == 0
    assert empty.shared(-1, [-1, -1]).tolist() == [0, 0]
    assert empty.lca(-1, -1) == ROOT
    assert empty.descendants.shape == (0, 0)
    chain = TreeIndex.from_parents(np.arange(-1, 499))
    assert chain.height == 500
    assert chain.heights.tolist() == list(range(499, -1, -1))
    assert chain.distance(0, 499) == 499


def test_the_arrays_cannot_be_changed() -> None:
    tree = TreeIndex.from_parents([-1, 0])
    for array in (tree.parents, tree.paths, tree.depth, tree.heights, tree.descendants):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


@pytest.mark.parametrize(
    ("parents", "message"),
    [
        ([0], "a cycle, each node below the next: 0 -> 0"),
        ([-1, 2, 1], "a cycle, each node below the next: (1 -> 2 -> 1|2 -> 1 -> 2)"),
        ([1, 2, 1, -1], "a cycle, each node below the next: (1 -> 2 -> 1|2 -> 1 -> 2)"),  # 0 hangs on it
        ([-1, 7, -2], "a node from 0 to 2, but node 1 has parent 7, node 2 has parent -2"),
        ([0.5], "one number per node, found float64"),
        ([True], "one number per node, found bool"),
        ([[0]], r"one number per node, found int64 of shape \(1, 1\)"),
    ],
)
def test_what_is_no_tree_is_refused(parents: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TreeIndex.from_parents(parents)


def test_nodes_and_counts_that_do_not_fit_are_refused() -> None:
    tree = TreeIndex.from_parents([-1, 0])
    with pytest.raises(ValueError, match="nodes from 0 to 1, or -1 for no concept, found -2 to 2"):
        tree.shared([-2, 2], 0)
    with pytest.raises(ValueError, match="numbers of nodes, found an array of float64"):
        tree.distance(0.0, 1)
    with pytest.raises(ValueError, match=r"counts: expected one per node, shape \(2,\), found \(3,\)"):
        tree.ic([1, 2, 3])
    with pytest.raises(ValueError, match="not negative"):
        tree.ic([1, -2])
    with pytest.raises(ValueError, match="smoothing: expected at least 0"):
        tree.ic([1, 2], smoothing=-1)


# The oracle of the facts file: Fitzpatrick17k's own three levels, nodes named by level.

FITZPATRICK = {
    "malignant": {
        "malignant melanoma": ["melanoma", "malignant melanoma"],
        "malignant epidermal": ["basal cell carcinoma", "squamous cell carcinoma", "actinic keratosis"],
    },
    "benign": {"benign melanocyte": ["halo nevus"]},
    "non-neoplastic": {
        "inflammatory": ["psoriasis", "eczema", "scabies"],
        "genodermatoses": ["dariers disease"],
    },
}


def test_mistakes_by_the_heights_of_fitzpatrick17k() -> None:
    parents: list[int] = []
    label: dict[str, int] = {}
    for nine_groups in FITZPATRICK.values():
        three = len(parents)
        parents.append(ROOT)
        for labels in nine_groups.values():
            nine = len(parents)
            parents.append(three)
            for name in labels:
                label[name] = len(parents)
                parents.append(nine)
    tree = TreeIndex.from_parents(parents)
    truth = [
        "melanoma", "psoriasis", "halo nevus", "squamous cell carcinoma", "eczema", "scabies"
    ]  # fmt: skip
    answer = [
        "basal cell carcinoma", "eczema", "melanoma", "actinic keratosis", "eczema", "dariers disease"
    ]  # fmt: skip
    a, b = [label[name] for name in truth], [label[name] for name in answer]
    heights = tree.lca_height(a, b)
    assert heights.tolist() == [2, 1, 3, 1, 0, 2]
    assert heights.mean() == 1.5
    assert heights[heights > 0].mean() == 1.8
    assert tree.shared(a, b).sum() / tree.depth[b].sum() == 0.5
