"""What a graft changed: every replaced projection with its parameters, and the overhead in percent."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class ReplacedProjection:
    """One linear that became dynamic; `layer` counts from 0, `router_parameters` are those added for it."""

    layer: int
    projection: str
    key: str
    in_features: int
    out_features: int
    parameters: int
    router_parameters: int

    @property
    def overhead(self) -> float:
        """Added parameters in percent of the linear's own."""
        return 100 * self.router_parameters / self.parameters


@dataclass(frozen=True)
class GraftReport:
    """A whole graft. `shared_parameters` are those of routers that serve a block; counts are of parameters.

    `new_bytes` were written, `linked_bytes` belong to the base; `seconds` is how long it took.
    """

    base: str
    out: str
    family: str
    link: str
    bands: int
    projections: tuple[ReplacedProjection, ...]
    shared_parameters: int
    tower_parameters: int
    model_parameters: int
    new_bytes: int
    linked_bytes: int
    seconds: float

    @property
    def added(self) -> int:
        """All parameters that the graft added."""
        return sum(each.router_parameters for each in self.projections) + self.shared_parameters

    @property
    def tower_overhead(self) -> float:
        """Added parameters in percent of the vision tower's."""
        return 100 * self.added / self.tower_parameters

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON has it."""
        return asdict(self)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Heads and cells, one line for each projection and one for routers that serve a block."""
        heads = ["layer", "projection", "size", "parameters", "router", "overhead"]
        cells = [
            [
                str(each.layer),
                each.projection,
                f"{each.in_features} -> {each.out_features}",
                f"{each.parameters:,}",
                f"{each.router_parameters:,}" if each.router_parameters else "of the block",
                f"{each.overhead:.2f} %" if each.router_parameters else "",
            ]
            for each in self.projections
        ]
        if self.shared_parameters:
            cells.append(["all", "block routers", "", "", f"{self.shared_parameters:,}", ""])
        return heads, cells

    def summary(self) -> str:
        """Two sentences on the whole."""
        verb = "copied" if self.link == "copy" else "linked"
        return (
            f"{len(self.projections)} projections with {self.bands} bands each; {self.added:,} parameters "
            f"added: {self.tower_overhead:.2f} % of the vision tower, "
            f"{100 * self.added / self.model_parameters:.3f} % of the model.\n"
            f"{self.new_bytes / 2**20:.1f} MB written and {self.linked_bytes / 2**20:.1f} MB {verb} "
            f"in {self.seconds:.1f} s: {self.out}"
        )
