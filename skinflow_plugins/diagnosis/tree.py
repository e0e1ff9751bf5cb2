"""A tree as arrays of integers: distances, heights and information content of many pairs at once.

Nodes are numbered from 0. The root is unnamed, has no number and is nobody's answer. Where a function takes
nodes, -1 stands for "no concept": it shares nothing with anything, itself included. Where a function gives
back nodes, -1 is the root. Nodes may come in arrays of any shape; two arrays are broadcast against each
other, so truths of shape (n, 1) beside ranked answers of shape (n, k) give (n, k).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

Integers = NDArray[np.int64]
Numbers = NDArray[np.float64]
Mask = NDArray[np.bool_]


def shared_nodes(true_paths: NDArray[np.integer], pred_paths: NDArray[np.integer]) -> Integers:
    """How many nodes two root-first paths share before they part; shape (...) for paths (..., depth).

    Paths are padded with -1, which equals nothing. The count ends at the first level that differs, so numbers
    may be reused on another level or in another branch. Of paths of different width the shorter one counts.
    """
    true_paths, pred_paths = np.asarray(true_paths), np.asarray(pred_paths)
    shape = np.broadcast_shapes(true_paths.shape[:-1], pred_paths.shape[:-1])
    together = np.ones(shape, dtype=np.bool_)
    count = np.zeros(shape, dtype=np.int64)
    for level in range(min(true_paths.shape[-1], pred_paths.shape[-1])):
        here = true_paths[..., level]
        together = together & (here == pred_paths[..., level]) & (here >= 0)
        count += together
    return count


@dataclass(frozen=True, eq=False)
class TreeIndex:
    """A tree below an unnamed root, made by `TreeIndex.from_parents`. The arrays are read-only."""

    parents: NDArray[np.int32]
    """(nodes,): the node above; -1 directly below the root."""
    paths: NDArray[np.int32] = field(repr=False)
    """(nodes, deepest): from the topmost ancestor down to the node itself, then -1."""
    depth: NDArray[np.int32] = field(repr=False)
    """(nodes,): nodes on the path, which are the edges up to the root; 1 directly below it."""
    heights: NDArray[np.int32] = field(repr=False)
    """(nodes,): edges on the longest way down to a leaf; 0 for a leaf."""

    @classmethod
    def from_parents(cls, parents: Sequence[int] | NDArray[np.integer]) -> TreeIndex:
        """The tree in which node i hangs below node `parents[i]`, or directly below the root for -1.

        Raises `ValueError` for a parent that is no node and for a cycle, with all nodes concerned.
        """
        above = _checked(parents)
        count = len(above)
        lines = [np.arange(count, dtype=np.int32)]  # lines[k][i]: the ancestor k edges above i, or -1
        while (lines[-1] >= 0).any():
            lines.append(_above(above, lines[-1]))
        lines.pop()
        upward = np.stack(lines, axis=1) if lines else np.empty((count, 0), dtype=np.int32)
        depth = (upward >= 0).sum(axis=1, dtype=np.int32)
        # Root-first is the line read backwards, from its last node on.
        column = depth[:, None] - 1 - np.arange(upward.shape[1])
        paths = np.where(column >= 0, np.take_along_axis(upward, np.maximum(column, 0), axis=1), -1)
        heights = np.zeros(count, dtype=np.int32)
        for steps, line in enumerate(lines):
            np.maximum.at(heights, line[line >= 0], steps)
        tree = cls(above, paths.astype(np.int32), depth, heights)
        for array in (tree.parents, tree.paths, tree.depth, tree.heights):
            array.setflags(write=False)
        return tree

    def __len__(self) -> int:
        return len(self.parents)

    @property
    def height(self) -> int:
        """The height of the root: the depth of the deepest node; 0 for a tree without nodes."""
        return int(self.paths.shape[1])

    def shared(self, a: ArrayLike, b: ArrayLike) -> Integers:
        """How many nodes lie on both paths, the two nodes themselves included; 0 beside "no concept"."""
        return shared_nodes(self._paths[self._nodes(a)], self._paths[self._nodes(b)])

    def lca(self, a: ArrayLike, b: ArrayLike) -> Integers:
        """The lowest common ancestor, which may be `a` or `b` itself; -1 for the root."""
        return self._last_shared(self._nodes(a), self.shared(a, b))

    def distance(self, a: ArrayLike, b: ArrayLike) -> Integers:
        """Edges from `a` up to the lowest common ancestor and down to `b`; a metric on nodes.

        "No concept" counts as the root here, which is NEARER to the truth than a wrong answer in another
        branch. Where saying nothing must not pay, use `lca_height`, or fill in a number of your own.
        """
        a, b = self._nodes(a), self._nodes(b)
        return self._depth[a] + self._depth[b] - 2 * self.shared(a, b)

    def lca_height(self, a: ArrayLike, b: ArrayLike, height_of: ArrayLike | None = None) -> Numbers:
        """The height of the lowest common ancestor; 0 for a node and itself; the root's beside "no concept".

        The distance d(a, b) of Bertinetto et al. 2020. They define it for leaves, where it is an ultrametric;
        inner nodes follow the same formula, except that a node is at 0 from itself and not at its height. A
        height is the LONGEST way down to a leaf, so in a ragged tree it can exceed both nodes' own way up. In
        a tree whose leaves all have depth D it is D - shared(a, b) for a pair of different nodes. Other
        heights can be given as `height_of`, shape (nodes + 1,) with the root last.
        """
        a, b = self._nodes(a), self._nodes(b)
        heights = self._heights if height_of is None else np.asarray(height_of, dtype=np.float64)
        if heights.shape != (len(self) + 1,):
            raise ValueError(
                f"height_of: expected {len(self) + 1} heights, one per node and the root's last, "
                f"found shape {heights.shape}"
            )
        found = heights[self.lca(a, b)]  # -1, the root, is the last
        return np.where((a == b) & (a >= 0), 0.0, found)

    def within(self, a: ArrayLike, b: ArrayLike) -> Mask:
        """Whether `a` is `b` or lies below it; False where either is "no concept"."""
        b = self._nodes(b)
        found: Mask = (self.lca(a, b) == b) & (b >= 0)
        return found

    @cached_property
    def descendants(self) -> Mask:
        """(nodes, nodes), row a, column b: whether b is `a` or lies below it."""
        found = np.zeros((len(self), len(self)), dtype=np.bool_)
        node, level = np.nonzero(self.paths >= 0)
        found[self.paths[node, level], node] = True
        found.setflags(write=False)
        return found

    def subtree_sum(self, counts: ArrayLike) -> Numbers:
        """(nodes,): the counts of each node and of everything below it, added up."""
        given = np.asarray(counts, dtype=np.float64)
        if given.shape != (len(self),):
            raise ValueError(f"counts: expected one per node, shape ({len(self)},), found {given.shape}")
        if not np.isfinite(given).all() or (given < 0).any():
            raise ValueError("counts: expected finite numbers that are not negative")
        total = np.zeros(len(self))
        for column in self.paths.T:
            here = column >= 0
            total += np.bincount(column[here], weights=given[here], minlength=len(self))
        return total

    def ic(self, counts: ArrayLike, *, smoothing: float = 0.0) -> Numbers:
        """(nodes,): the information content -log(p) in nats, p being the share of the samples in the subtree.

        `counts` are the samples at each node itself; `smoothing` is added to the count of every node. Without
        it a subtree that holds no sample has infinite content. A child never has less than its parent.
        """
        if smoothing < 0:
            raise ValueError(f"smoothing: expected at least 0, found {smoothing}")
        mass = self.subtree_sum(np.asarray(counts, dtype=np.float64) + smoothing)
        total = mass[self.parents < 0].sum()
        if total <= 0:
            raise ValueError("counts: there are no samples, so no node has an information content")
        with np.errstate(divide="ignore"):
            # The minimum: sums of the same shares in another order can exceed 1 by a rounding.
            found: Numbers = -np.log(np.minimum(mass / total, 1.0)) + 0.0  # no negative zero
        return found

    def lin(self, a: ArrayLike, b: ArrayLike, content: ArrayLike) -> Numbers:
        """Lin's similarity 2 IC(lca) / (IC(a) + IC(b)), in [0, 1], from `content`, the result of `ic`.

        1 for a node and itself, whatever its content. 0 beside "no concept", where only the root is shared,
        where the common ancestor holds all samples, and where either content is infinite, so that an answer
        which the samples say nothing about earns nothing.
        """
        a, b = self._nodes(a), self._nodes(b)
        given = np.asarray(content, dtype=np.float64)
        if given.shape != (len(self),):
            raise ValueError(f"content: expected one per node, shape ({len(self)},), found {given.shape}")
        given = np.append(given, 0.0)  # for -1
        both = given[a] + given[b]
        safe = np.isfinite(both) & (both > 0)
        found = np.divide(2 * given[self.lca(a, b)], both, out=np.zeros(both.shape), where=safe)
        return np.where((a == b) & (a >= 0), 1.0, np.minimum(found, 1.0))

    # A last row for "no concept", which -1 picks.

    @cached_property
    def _paths(self) -> NDArray[np.int32]:
        return np.vstack([self.paths, np.full((1, self.height), -1, dtype=np.int32)])

    @cached_property
    def _depth(self) -> Integers:
        return np.append(self.depth, 0).astype(np.int64)

    @cached_property
    def _heights(self) -> Numbers:
        return np.append(self.heights, self.height).astype(np.float64)

    def _last_shared(self, a: Integers, shared: Integers) -> Integers:
        if not self.height:
            return np.full(shared.shape, -1, dtype=np.int64)
        found = self._paths[np.broadcast_to(a, shared.shape), np.maximum(shared - 1, 0)]
        return np.where(shared > 0, found, -1).astype(np.int64)

    def _nodes(self, nodes: ArrayLike) -> Integers:
        given = np.asarray(nodes)
        if given.size == 0:
            return given.astype(np.int64)
        if given.dtype.kind not in "iu":
            raise ValueError(f"expected numbers of nodes, found an array of {given.dtype}")
        if given.min() < -1 or given.max() >= len(self):
            raise ValueError(
                f"expected nodes from 0 to {len(self) - 1}, or -1 for no concept, "
                f"found {given.min()} to {given.max()}"
            )
        return given.astype(np.int64)


def _checked(parents: Sequence[int] | NDArray[np.integer]) -> NDArray[np.int32]:
    given = np.array(parents if len(parents) else [], dtype=None if len(parents) else np.int32)
    if given.ndim != 1 or given.dtype.kind not in "iu":
        raise ValueError(f"parents: expected one number per node, found {given.dtype} of shape {given.shape}")
    strange = np.flatnonzero((given < -1) | (given >= len(given)))
    if strange.size:
        shown = ", ".join(f"node {i} has parent {given[i]}" for i in strange[:10])
        raise ValueError(f"parents: expected -1 or a node from 0 to {len(given) - 1}, but {shown}")
    above = given.astype(np.int32)
    # After more steps up than there are nodes, only what hangs on a cycle has not left the tree by its root.
    far, steps = above, 1
    while steps <= len(above) and (far >= 0).any():
        far, steps = _above(far, far), 2 * steps
    if (far >= 0).any():
        line = [int(far[far >= 0][0])]  # so far up that it lies on the cycle itself
        while (following := int(above[line[-1]])) != line[0]:
            line.append(following)
        shown = " -> ".join(map(str, [*line, line[0]]))
        raise ValueError(
            f"parents: a cycle, each node below the next: {shown}; give one of them another parent"
        )
    return above


def _above(parents: NDArray[np.int32], nodes: NDArray[np.int32]) -> NDArray[np.int32]:
    return np.where(nodes >= 0, parents[nodes], np.int32(-1))
