"""The dynamic MLP alone: what base it had, by which kernels it runs, and how often it reads its tokens."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.activations import ACT2FN
from transformers.models.clip.modeling_clip import CLIPMLP
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLMLP
from transformers.models.siglip.modeling_siglip import SiglipMLP

from skinflow_kernels import ACTIVATIONS, band_thresholds, triton_support
from skinflow_kernels.backends import VARIABLE
from skinflow_plugins.models.dynamic import DynamicSettings
from skinflow_plugins.models.dynamic.mlp import _KERNELS, DynamicMLP
from skinflow_plugins.models.seam import PACKED_GATED, VisionSeam, rows

WIDE, DEEP, BANDS = 16, 24, 2
SEGMENTS = torch.tensor([0, 5, 6, 20], dtype=torch.int32)
KINDS: dict[str, tuple[type[nn.Module], str, VisionSeam]] = {
    "gated silu": (Qwen2_5_VLMLP, "silu", PACKED_GATED),
    "quick gelu": (CLIPMLP, "quick_gelu", rows()),
    "gelu by tanh": (SiglipMLP, "gelu_pytorch_tanh", rows()),
    "gelu": (SiglipMLP, "gelu", rows()),
    "an activation without a kernel": (SiglipMLP, "relu", rows()),
}


def mlp(kind: str, projections: tuple[str, ...] | None = None, router: Any = "projection") -> DynamicMLP:
    """A dynamic MLP of this kind whose routers are no identity."""
    torch.manual_seed(0)
    base, activation, seam = KINDS[kind]
    config = SimpleNamespace(hidden_size=WIDE, intermediate_size=DEEP, hidden_act=activation)
    made = base(config, bias=True) if base is Qwen2_5_VLMLP else base(config)
    up, down = band_thresholds(DEEP, WIDE, BANDS), band_thresholds(WIDE, DEEP, BANDS)
    settings = DynamicSettings(
        layers=(0,),
        projections=projections or seam.chosen("all"),
        bands=BANDS,
        thresholds={"gate": up, "up": up, "down": down},
        router=router,
    )
    found = DynamicMLP(made, seam, settings)
    for name, parameter in found.named_parameters():
        if "dve_router" in name:
            nn.init.normal_(parameter, std=0.5)
    return found


class Count(TorchDispatchMode):
    """How often each of our operations ran."""

    def __init__(self) -> None:
        super().__init__()
        self.of: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "skinflow":
            self.of[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


def output_and_gradients(made: DynamicMLP, x: Tensor, *arguments: Any, **keywords: Any) -> dict[str, Tensor]:
    x = x.detach().requires_grad_()
    y = made(x, *arguments, **keywords)
    inputs = {"x": x} | dict(made.named_parameters())
    d = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    return {"output": y} | dict(zip(inputs, torch.autograd.grad(y, list(inputs.values()), d), strict=True))


@pytest.fixture
def triton(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    if not triton_support.interpreted():
        pytest.skip("Triton is compiled in this session, and the tokens of this test are on the CPU")
    return monkeypatch


@pytest.mark.parametrize(
    ("kind", "projections", "router"),
    [
        *((kind, None, "projection") for kind in KINDS),
        ("gated silu", ("up",), "projection"),
        ("gelu", ("down",), "projection"),
        ("gated silu", None, "block"),
    ],
)
def test_the_kernels_compute_what_pytorch_does(
    kind: str, projections: tuple[str, ...] | None, router: str, triton: pytest.MonkeyPatch
) -> None:
    made = mlp(kind, projections, router)
    x = torch.randn(20, WIDE)
    expected = output_and_gradients(made, x, SEGMENTS)
    triton.setenv(VARIABLE, "triton")
    for name, found in output_and_gradients(made, x, SEGMENTS).items():
        torch.testing.assert_close(found, expected[name], rtol=1e-4, atol=1e-4, msg=name)


@pytest.mark.parametrize(
    ("kind", "router"),
    [
        ("gelu by tanh", "projection"),
        ("gelu by tanh", "block"),
        ("an activation without a kernel", "projection"),
    ],
)
def test_padding_does_not_count_in_the_kernels_either(
    kind: str, router: str, triton: pytest.MonkeyPatch
) -> None:
    made = mlp(kind, router=router)
    x, keep = torch.randn(2, 5, WIDE), torch.tensor([[True] * 5, [True, True, False, False, False]])
    expected = output_and_gradients(made, x, keep=keep)
    triton.setenv(VARIABLE, "triton")
    x[1, 2:] = 1e4
    found = made(x, keep=keep)
    torch.testing.assert_close(found[keep], expected["output"][keep], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["silu", "gelu", "gelu_pytorch_tanh", "quick_gelu"])
def test_a_kernel_stands_for_the_same_activation(name: str) -> None:
    x = torch.linspace(-8, 8, 1001, dtype=torch.float64)
    kernel = ACTIVATIONS[_KERNELS[type(ACT2FN[name]).__name__]]
    assert torch.equal(kernel(x), ACT2FN[name](x))


@pytest.mark.parametrize(
    ("projections", "router", "passes"),
    [
        (None, "projection", {"segment_means": 1, "activated_means": 1, "router_gains": 3}),
        (("gate", "up"), "projection", {"segment_means": 1, "router_gains": 2}),
        (("down",), "projection", {"activated_means": 1, "router_gains": 1}),
        (None, "block", {"segment_means": 1, "router_gains": 1}),
    ],
)
def test_gate_and_up_share_one_mean_and_that_of_down_costs_no_pass(
    projections: tuple[str, ...] | None, router: str, passes: dict[str, int], triton: pytest.MonkeyPatch
) -> None:
    made, x = mlp("gated silu", projections, router), torch.randn(20, WIDE)
    triton.setenv(VARIABLE, "triton")
    with torch.no_grad(), Count() as count:
        made(x, SEGMENTS)
    del count.of["virtual_width"]
    assert count.of == passes


def test_an_input_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="tokens have 23 channels; expected 16"):
        mlp("gelu")(torch.randn(20, 23), SEGMENTS)


def test_rows_and_packed_tokens_are_the_same_function() -> None:
    made = mlp("gated silu")
    x = torch.randn(2, 5, WIDE)
    packed = made(x.view(10, WIDE), torch.tensor([0, 5, 10]))
    torch.testing.assert_close(made(x), packed.view(2, 5, WIDE))
