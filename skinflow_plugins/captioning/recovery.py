"""Whether the diagnoses that a judge named from a caption are the diagnosis of the image."""

from __future__ import annotations

from collections.abc import Sequence

from skinflow_plugins.diagnosis.taxonomy import Taxonomy


def passes(runs: Sequence[Sequence[str]], diagnosis: str, taxonomy: Taxonomy) -> bool:
    """Whether more than half of a judge's runs name the diagnosis; False without any run."""
    hits = sum(recovered_rank(run, diagnosis, taxonomy) is not None for run in runs)
    return 2 * hits > len(runs)


def recovered_rank(names: Sequence[str], diagnosis: str, taxonomy: Taxonomy) -> int | None:
    """The rank, from 1, of the first name that is the diagnosis; None where none is.

    A form of the diagnosis counts when it is no label itself. A broader term, and another label, do not.
    """
    truth = taxonomy.label(diagnosis)
    for rank, name in enumerate(names, 1):
        found = taxonomy.resolve(name)
        if truth is None or found is None:
            continue
        form = found.kind == "answer" and taxonomy.subtype(found, truth)
        if form or taxonomy.same(found, truth):
            return rank
    return None
