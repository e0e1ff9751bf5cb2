"""Routers: the published gates, the identity at the start, fp32 throughout, one leaf module."""

import pickle

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad
from torch.nn.functional import relu

from skinflow_plugins.vision import GATES, Gains, Router

BLOCK = {"gate": (24, 40), "up": (24, 40), "down": (40, 24)}


def single(bands: int = 4, **options) -> Router:
    torch.manual_seed(0)
    return Router(24, {"": (24, 40)}, bands, **options)


def block(**options) -> Router:
    torch.manual_seed(0)
    return Router(24, BLOCK, 3, **options)


def awake(router: Router) -> Router:
    """With heads that are not zero."""
    with torch.no_grad():
        for index, parameter in enumerate(router.parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(index)))
    return router


@pytest.mark.parametrize("make", [single, block])
def test_the_start_is_the_identity_for_any_image(make) -> None:
    router = make()
    for gains in router(100 * torch.randn(5, 24)).values():
        assert torch.equal(gains.band_delta, torch.zeros(5, router.bands))
        assert torch.equal(gains.input_gain, torch.ones_like(gains.input_gain))
        assert torch.equal(gains.output_gain, torch.ones_like(gains.output_gain))


def test_shapes_by_target() -> None:
    found = awake(block())(torch.randn(2, 24))
    assert list(found) == ["gate", "up", "down"]
    for name, (inputs, outputs) in BLOCK.items():
        gains = found[name]
        assert gains.band_delta.shape == (2, 3)
        assert gains.input_gain.shape == (2, inputs)
        assert gains.output_gain.shape == (2, outputs)
    assert not torch.equal(found["gate"].band_delta, found["up"].band_delta)


def test_the_gates_are_the_published_ones() -> None:
    """2 * sigmoid of linear heads over relu(rms_norm(fc m)), with the published names of the parameters."""
    fc, norm = nn.Linear(24, 16, bias=False), nn.RMSNorm(16, eps=1e-6)
    heads = {"channel_fc": nn.Linear(16, 24), "filter_fc": nn.Linear(16, 40), "kernel_fc": nn.Linear(16, 4)}
    nn.init.normal_(norm.weight)
    router = single()
    names = {"input": "channel_fc", "output": "filter_fc", "band": "kernel_fc"}
    loaded = {"reduce_weight": fc.weight, "norm_weight": norm.weight}
    for ours, theirs in names.items():
        loaded |= {f"{ours}_weight": heads[theirs].weight, f"{ours}_bias": heads[theirs].bias}
    router.load_state_dict(loaded)  # strict: these are all its parameters

    descriptor = torch.randn(3, 24)
    hidden = relu(norm(fc(descriptor)))
    published = {name: 2 * torch.sigmoid(head(hidden)) for name, head in heads.items()}
    found = router(descriptor)[""]
    torch.testing.assert_close(found.input_gain, published["channel_fc"])
    torch.testing.assert_close(found.output_gain, published["filter_fc"])
    torch.testing.assert_close(found.band_delta + 1, published["kernel_fc"])


def test_small_gains_keep_their_digits() -> None:
    router = single()
    with torch.no_grad():
        router.band_bias.fill_(1e-9)
    assert router(torch.randn(1, 24))[""].band_delta[0, 0].item() == pytest.approx(5e-10, rel=1e-6)


@pytest.mark.parametrize("gates", [("band",), ("band", "input"), ("output", "band"), GATES])
def test_only_the_wanted_gates_have_parameters(gates) -> None:
    router = single(gates=gates)
    heads = {name.rpartition("_")[0] for name, _ in router.named_parameters()} - {"reduce", "norm"}
    assert heads == set(gates)
    assert router.gates == tuple(gate for gate in GATES if gate in gates)
    found: Gains = router(torch.randn(1, 24))[""]
    assert (found.input_gain is None) == ("input" not in gates)
    assert (found.output_gain is None) == ("output" not in gates)


@pytest.mark.parametrize(("reduction", "width"), [(1, 320), (16, 20), (64, 16), (10_000, 16)])
def test_the_hidden_width(reduction: int, width: int) -> None:
    router = Router(320, {"": (320, 8)}, 2, reduction=reduction)
    assert router.reduce_weight.shape == (width, 320)


@pytest.mark.parametrize("gates", [(), ("input",), ("band", "colour")])
def test_unknown_gates(gates) -> None:
    with pytest.raises(ValueError, match="expected 'band' and any of 'input' and 'output'"):
        single(gates=gates)


def test_no_reduction() -> None:
    with pytest.raises(ValueError, match="reduction is 0; expected 1 or more"):
        single(reduction=0)


@pytest.mark.parametrize("make", [single, block])
def test_a_leaf_whose_parameters_are_its_own(make) -> None:
    router = make()
    assert list(router.children()) == []  # PEFT's modules_to_save takes leaves whole
    prefixes = {"", "gate_", "up_", "down_"} if make is block else {""}
    assert all(name.count(".") == 0 for name in router.state_dict())
    assert {"band_weight", "band_bias"} <= {
        name.removeprefix(prefix) for name in router.state_dict() for prefix in prefixes
    }


def test_gradients_of_every_parameter() -> None:
    router = awake(block())
    gains = router(torch.randn(6, 24))
    sum(part.square().sum() for each in gains.values() for part in each).backward()
    without = [name for name, each in router.named_parameters() if each.grad is None or not each.grad.any()]
    assert without == []


def test_heads_at_zero_get_gradients_and_the_first_layer_none() -> None:
    router = single()
    (router(torch.randn(3, 24))[""].band_delta * torch.randn(3, 4)).sum().backward()
    assert router.band_weight.grad.any()
    assert not router.reduce_weight.grad.any()


def test_numerical_derivatives() -> None:
    """In float32, where the router computes: so with a wide step and a wide tolerance."""
    router = awake(single(gates=("band",)))
    descriptor, direction = torch.randn(2, 24), torch.randn(2, 4)

    def of(values: dict[str, torch.Tensor]) -> torch.Tensor:
        return (functional_call(router, values, (descriptor,))[""].band_delta * direction).sum()

    found = grad(of)({name: value.detach() for name, value in router.named_parameters()})
    for name, value in router.named_parameters():
        step = 1e-2 * torch.randn_like(value)
        plus, minus = (of({name: value.detach() + sign * step}).item() for sign in (1, -1))
        assert (found[name] * step).sum().item() == pytest.approx((plus - minus) / 2, rel=2e-2, abs=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_computes_in_fp32_whatever_its_dtype(dtype: torch.dtype) -> None:
    router = awake(single()).to(dtype)
    wide = single()
    wide.load_state_dict({name: value.float() for name, value in router.state_dict().items()})
    descriptor = torch.randn(3, 24)
    for found, expected in zip(router(descriptor)[""], wide(descriptor)[""], strict=True):
        assert found.dtype == torch.float32
        assert torch.equal(found, expected)


def test_autocast_changes_nothing() -> None:
    router, descriptor = awake(single()), torch.randn(3, 24)
    expected = router(descriptor)[""]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = router(descriptor)[""]
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_made_in_fp32_under_another_default() -> None:
    torch.set_default_dtype(torch.bfloat16)
    try:
        router = single()
    finally:
        torch.set_default_dtype(torch.float32)
    assert {parameter.dtype for parameter in router.parameters()} == {torch.float32}


def test_meta_and_back() -> None:
    router = Router(24, {"": (24, 40)}, 4, device="meta")
    assert router.reduce_weight.is_meta
    router.to_empty(device="cpu")
    router.reset_parameters()
    assert torch.equal(router(torch.randn(2, 24))[""].band_delta, torch.zeros(2, 4))
    assert router.reduce_weight.std() > 0


def test_copies_and_its_text() -> None:
    router = awake(block())
    copied = pickle.loads(pickle.dumps(router))
    descriptor = torch.randn(2, 24)
    assert torch.equal(copied(descriptor)["down"].output_gain, router(descriptor)["down"].output_gain)
    assert "bands=3" in repr(router)
    assert "targets=['gate', 'up', 'down']" in repr(router)
    assert "targets" not in repr(single())
