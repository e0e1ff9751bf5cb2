"""How near a wrong answer is: hierarchical precision and recall, distances, similarity."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from skinflow_plugins.diagnosis.evaluation.concept_table import ConceptTable, Tree
from skinflow_plugins.diagnosis.evaluation.rankings import Rankings
from skinflow_plugins.diagnosis.evaluation.statistic import Family, Floats, Statistic, mean, quotient


def hierarchy(rankings: Rankings, table: ConceptTable) -> Family:
    """Precision, recall, F1, mistake severity and distance@k in each tree of the taxonomy."""
    found = [each for name, tree in table.trees.items() for each in _in_tree(rankings, name, tree)]
    text = (
        "Precision, recall and F1 of the sets of nodes from the root down to the first diagnosis and to "
        "the label (Kiritchenko); micro over all nodes, macro as the mean over answers. Severity is the "
        "height of the lowest common ancestor over first diagnoses that miss, distance@k its mean over the "
        "listed ones (Bertinetto); what names nothing counts as the root. Clinical: our tree; source: the "
        "data set's own groups."
    )
    return Family("hierarchy", "Nearness in the hierarchy", text, found)


def _in_tree(rankings: Rankings, name: str, tree: Tree) -> Iterator[Statistic]:
    truth = tree.node[rankings.labels]
    counts = truth >= 0
    listed = np.where(rankings.concepts >= 0, tree.node[rankings.concepts], -1)
    first = listed[:, 0]
    shared = np.where(counts, tree.index.shared(first, truth), 0).astype(float)
    predicted = np.where(counts & (first >= 0), tree.index.depth[first], 0).astype(float)
    true = np.where(counts, tree.index.depth[truth], 0).astype(float)
    key, title, n = f"hierarchy.{name}", f"({name} tree)", int(counts.sum())
    for part, below in (("precision", predicted), ("recall", true), ("f1", (predicted + true) / 2)):
        columns = np.stack([shared, below], 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            own = np.where(below > 0, shared / below, 0.0)
        word = "F1" if part == "f1" else part
        yield Statistic(
            f"{key}.{part}_micro", f"Hierarchical {word}, micro {title}", columns, n, unit="score"
        )
        yield mean(f"{key}.{part}_macro", f"Hierarchical {word}, macro {title}", own, counts)
    height = tree.height(listed, truth[:, None])
    missed = counts & (first != truth)
    yield mean(
        f"{key}.severity", f"Mistake severity {title}", height[:, 0], missed, better="lower", unit="edges"
    )
    # An answer in which nothing stands is as far as can be; ranks beyond a list's end do not count.
    written = rankings.written.copy()
    written[:, 0] |= ~written.any(1)
    for k in range(1, rankings.k + 1):
        there = written[:, :k] & counts[:, None]
        columns = np.stack([(height[:, :k] * there).sum(1), there.sum(1)], 1).astype(float)
        # The mean of each answer's mean, so that a longer list weighs no more.
        columns = np.stack([np.where(columns[:, 1] > 0, quotient(columns), 0.0), columns[:, 1] > 0], 1)
        yield Statistic(
            f"{key}.distance@{k}", f"Hierarchical distance@{k} {title}", columns.astype(float), n,
            better="lower", unit="edges",
        )  # fmt: skip


def information_content(tree: Tree, counts: Floats) -> Floats:
    """The information content of each node; a node without labels below has that of the nearest one above.

    So a form of a disease that is no label itself is as near as the disease.
    """
    content = tree.index.ic(counts)
    for node in np.argsort(tree.index.depth, kind="stable"):
        above = tree.index.parents[node]
        if not np.isfinite(content[node]):
            content[node] = content[above] if above >= 0 else 0.0
    return content


def similarity(rankings: Rankings, table: ConceptTable, prior: Floats) -> Family:
    """Lin's similarity of the first diagnosis, plain and corrected for chance.

    `prior` (concepts,) are the label counts that the information content and the chance are taken from; they
    stay as they are when the samples are drawn again.
    """
    tree = table.trees["clinical"]
    counts = np.zeros(len(tree.index))
    np.add.at(counts, tree.node, prior)
    content = information_content(tree, counts)
    truth, first = tree.node[rankings.labels], rankings.concepts[:, 0]
    node = np.where(first >= 0, tree.node[first], -1)
    lin = tree.index.lin(node, truth, content)
    seen = np.flatnonzero(counts)
    weight = counts[seen] / counts.sum()
    chance = float(weight @ tree.index.lin(seen[:, None], seen, content) @ weight)
    plain = mean("similarity.lin@1", "Lin similarity of the first diagnosis", lin)

    def corrected(sums: Floats) -> Floats:
        value = quotient(sums)
        return (value - chance) / (1 - chance) if chance < 1 else np.full_like(value, np.nan)

    title = "Lin similarity, corrected for chance"
    better = Statistic(
        "similarity.chance_corrected@1", title, plain.columns, plain.n, corrected, unit="score"
    )
    text = (
        "How much of the information of the two diagnoses is shared, by how rare their lowest common "
        "ancestor is among the labels. Common headings earn little, so a constant answer gains little; "
        "corrected for chance, 0 is what answers drawn from the labels reach "
        f"({chance:.3f} uncorrected) and 1 is always right."
    )
    return Family("similarity", "Information-weighted similarity", text, (plain, better))
