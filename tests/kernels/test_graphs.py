"""torch.compile and torch.export keep our operations whole; torch's own checks of an operation pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from skinflow_kernels import activated_means, router_gains, segment_means, virtual_width_linear

Make = Callable[..., dict[str, Any]]
OPS = torch.ops.skinflow
TESTS = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic")


@pytest.fixture
def nondeterministic() -> None:
    """torch.empty without NaN: torch's checks compare the memory of results that nobody has written yet."""
    torch.use_deterministic_algorithms(False)


def checked(operation: Any, arguments: tuple[Any, ...], *but: str) -> None:
    torch.library.opcheck(operation, arguments, test_utils=[test for test in TESTS if test not in but])


@pytest.mark.usefixtures("nondeterministic")
@pytest.mark.parametrize("backend", ["torch", "triton"])
def test_torchs_own_checks_of_the_layer(backend: str, layer: Make, by_triton: Callable[[], None]) -> None:
    made = layer([5, 0, 3], columns=6, rows=5, bands=2)
    checked(OPS.virtual_width.default, (*made.values(), backend, False))
    wants = [True] * 7
    fixed = [tensor.detach() for tensor in made.values()]
    checked(OPS.virtual_width_backward.default, (torch.randn(8, 5), *fixed, wants, backend))


@pytest.mark.usefixtures("nondeterministic")
@pytest.mark.parametrize("triton", [False, True])
def test_torchs_own_checks_of_the_descriptor(triton: bool, by_triton: Callable[[], None]) -> None:
    if triton:
        by_triton()
    segments, keep = torch.tensor([0, 5, 5, 8]), torch.rand(8) < 0.7
    x, gate = torch.randn(8, 6, requires_grad=True), torch.randn(8, 6, requires_grad=True)
    checked(OPS.segment_means.default, (x, segments, keep))
    if triton:
        checked(OPS.activated_means.default, (x, gate, segments, keep, "silu"))
        weights = [torch.randn(3, 4, requires_grad=True), torch.randn(2, 4, requires_grad=True)]
        biases = [torch.randn(3, requires_grad=True), torch.randn(2, requires_grad=True)]
        means, reduce = torch.randn(3, 6, requires_grad=True), torch.randn(4, 6, requires_grad=True)
        norm = torch.randn(4, requires_grad=True)
        checked(OPS.router_gains.default, (means, reduce, norm, weights, biases, [1.0, 0.0]))


def small_layer(
    x: Tensor, gate: Tensor, segments: Tensor, made: dict[str, Tensor], router: list[Tensor]
) -> Tensor:
    """What a dynamic MLP does with our operations."""
    hidden, means = activated_means(x, gate, segments, activation="silu")
    means = means + segment_means(x, segments)
    reduce, norm, weight, bias = router
    delta = router_gains(means, reduce, norm, [weight], [bias], [0.0])[0]
    return virtual_width_linear(hidden, segments, made["weight"], made["bases"], delta, made["bias"])


@pytest.fixture
def parts(layer: Make) -> Callable[..., tuple[Any, ...]]:
    made = layer([4, 3], columns=6, rows=5, bands=2)
    router = [torch.randn(4, 6), torch.randn(4), torch.randn(2, 4), torch.randn(2)]

    def make(lengths: list[int]) -> tuple[Any, ...]:
        tokens, ends = sum(lengths), torch.tensor([0, *lengths]).cumsum(0)
        x, gate = (torch.randn(tokens, 6, requires_grad=True) for _ in range(2))
        return x, gate, ends, made, router

    return make


@pytest.mark.parametrize("triton", [False, True])
def test_a_compiled_graph_is_not_broken(
    triton: bool, parts: Callable[..., tuple[Any, ...]], by_triton: Callable[[], None]
) -> None:
    if triton:
        by_triton()
    torch._dynamo.reset()
    # fullgraph: a break would be an error. Without a C++ compiler, so that it runs everywhere.
    compiled = torch.compile(small_layer, fullgraph=True, backend="aot_eager", dynamic=True)
    for lengths in ([4, 3], [1, 9], [2, 2, 2]):
        arguments = parts(lengths)
        inputs = [*arguments[:2], arguments[3]["weight"], arguments[3]["bases"]]
        expected, found = small_layer(*arguments), compiled(*arguments)
        torch.testing.assert_close(found, expected)
        pairs = zip(
            torch.autograd.grad(found.square().sum(), inputs),
            torch.autograd.grad(expected.square().sum(), inputs),
            strict=True,
        )
        for one, other in pairs:
            torch.testing.assert_close(one, other)


def test_an_exported_program_has_the_operations_in_it(parts: Callable[..., tuple[Any, ...]]) -> None:
    arguments = parts([4, 3])

    class Module(torch.nn.Module):
        def forward(self, x: Tensor, gate: Tensor, segments: Tensor) -> Tensor:
            return small_layer(x, gate, segments, *arguments[3:])

    program = torch.export.export(Module(), tuple(t.detach() for t in arguments[:3]))
    called = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert {"skinflow.virtual_width.default", "skinflow.segment_means.default"} <= called
    torch.testing.assert_close(program.module()(*arguments[:3]), small_layer(*arguments))


def test_the_shape_of_a_wrong_call_is_refused_while_compiling(layer: Make) -> None:
    made = layer([4, 3]) | {"bias": torch.zeros(36)}
    torch._dynamo.reset()
    compiled = torch.compile(virtual_width_linear, fullgraph=True, backend="aot_eager")
    with pytest.raises(Exception, match=r"bias has shape \(36,\); expected \(37,\)"):
        compiled(**made)


def test_there_is_no_second_derivative(layer: Make) -> None:
    made = layer([4, 3])
    first = torch.autograd.grad(virtual_width_linear(**made).sum(), made["x"], create_graph=True)[0]
    with pytest.raises(RuntimeError):
        first.sum().backward()
