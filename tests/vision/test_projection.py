"""FDProjection: nn.Linear at the start, the published formula once trained, each token by its own image."""

import copy
import io
import pickle
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.nn.functional import linear, relu, rms_norm

from skinflow_kernels import split_bands
from skinflow_plugins.vision import FDProjection, Gains, image_means

SIZES = [(24, 40), (40, 24), (13, 17), (16, 16), (1, 5), (7, 1)]
PUBLISHED = {"input": "channel_fc", "output": "filter_fc", "band": "kernel_fc"}


def projection(inputs: int = 24, outputs: int = 40, bands: int = 4, *, awake: bool = True, **options):
    """A projection; `awake`, with a router whose heads are not zero."""
    torch.manual_seed(0)
    made = FDProjection(inputs, outputs, bands=bands, **options)
    if awake and made.dve_router is not None:
        wake(made)
    return made


def wake(made: FDProjection, seed: int = 1) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in made.dve_router.named_parameters():
            if name not in ("reduce_weight", "norm_weight"):
                value.copy_(0.5 * torch.randn(value.shape, generator=generator))


def tokens(*lengths: int, inputs: int = 24, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    ends = torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)
    return torch.randn(sum(lengths), inputs, generator=generator).to(dtype), ends


def bands_of(rows: int, columns: int, thresholds: tuple[int, ...]) -> Tensor:
    """The band of every bin, straight from its squared radius."""
    u, v = torch.arange(rows), torch.arange(columns // 2 + 1)
    key = (torch.minimum(u, rows - u) * columns).square()[:, None] + (v * rows).square()
    return sum((key >= threshold).long() for threshold in thresholds) + torch.zeros_like(key)


def published(made: FDProjection, x: Tensor, segments: Tensor) -> Tensor:
    """The published module's forward: a loop over images, each with its own irfft2 of the gated spectrum."""
    p = {name.removeprefix("dve_router."): value for name, value in made.named_parameters()}
    band = bands_of(*made.weight.shape, made.thresholds)
    found = []
    for some in x.split(segments.diff().tolist()):
        h = relu(rms_norm(linear(some.mean(0), p["reduce_weight"]), (16,), p["norm_weight"], eps=1e-6))
        c, f, a = (2 * torch.sigmoid(linear(h, p[f"{g}_weight"], p[f"{g}_bias"])) for g in PUBLISHED)
        weight = torch.fft.irfft2(a[band] * torch.fft.rfft2(made.weight), s=made.weight.shape)
        found.append(linear(some, weight * c * f[:, None], made.bias))
    return torch.cat(found)


# ------------------------------------------------------------------------------------------------------------
# The start


@pytest.mark.parametrize(("inputs", "outputs"), SIZES)
@pytest.mark.parametrize("bands", [1, 2, 5])
def test_at_the_start_every_images_weight_is_the_weight_bit_for_bit(inputs, outputs, bands) -> None:
    if inputs * outputs < 10 and bands > 2:
        pytest.skip("fewer radii than bands")
    made = projection(inputs, outputs, bands, awake=False, bias=False)
    probe = torch.eye(inputs).repeat(3, 1)
    mixed = made(probe, torch.tensor([0, inputs, 2 * inputs, 3 * inputs]))
    for each in mixed.split(inputs):
        assert torch.equal(each.T, made.weight)


def test_at_the_start_it_computes_what_the_linear_does() -> None:
    made = projection(awake=False)
    x, segments = tokens(5, 1, 30)
    torch.testing.assert_close(made(x, segments), linear(x, made.weight, made.bias))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_starts_at_the_same_bits_too(dtype: torch.dtype) -> None:
    made = projection(awake=False, bias=False, dtype=dtype)
    mixed = made(torch.eye(24, dtype=dtype)[None])
    assert torch.equal(mixed[0].T, made.weight)


# ------------------------------------------------------------------------------------------------------------
# The function


@pytest.mark.parametrize("bands", [2, 4, 7])
@pytest.mark.parametrize(("inputs", "outputs"), [(24, 40), (40, 24), (13, 17)])
def test_outputs_and_all_gradients_are_the_published_ones(inputs: int, outputs: int, bands: int) -> None:
    made = projection(inputs, outputs, bands)
    x, segments = tokens(5, 1, 9, inputs=inputs)
    x.requires_grad_()
    direction = torch.randn(15, outputs, generator=torch.Generator().manual_seed(3))
    wanted = {"x": x, **dict(made.named_parameters())}

    ours, theirs = made(x, segments), published(made, x, segments)
    assert not torch.allclose(ours, linear(x, made.weight, made.bias), atol=1e-2)  # the routers matter
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    found = torch.autograd.grad((ours * direction).sum(), list(wanted.values()))
    expected = torch.autograd.grad((theirs * direction).sum(), list(wanted.values()))
    for name, a, b in zip(wanted, found, expected, strict=True):
        assert b.any(), name
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


def test_numerical_derivatives_of_tokens_weight_bias_and_gains() -> None:
    made = FDProjection(5, 6, bands=3, router=False, dtype=torch.float64)
    segments = torch.tensor([0, 3, 4])
    generator = torch.Generator().manual_seed(0)

    def wide(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

    def of(x: Tensor, weight: Tensor, bias: Tensor, delta: Tensor, c: Tensor, f: Tensor) -> Tensor:
        given = {"weight": weight.clone(), "bias": bias}  # gradcheck writes past autograd's version counter
        return torch.func.functional_call(made, given, (x, segments), {"gains": Gains(delta, c, f)})

    assert gradcheck(of, (wide(4, 5), wide(6, 5), wide(6), wide(2, 3), wide(2, 5), wide(2, 6)))


def test_the_gradient_is_there_when_only_the_router_is_trained() -> None:
    made = projection()
    made.weight.requires_grad_(False)
    made.bias.requires_grad_(False)
    made(*tokens(4, 6)).square().sum().backward()
    assert all(each.grad.any() for each in made.dve_router.parameters())
    assert made.weight.grad is None


# ------------------------------------------------------------------------------------------------------------
# Images and tokens


def test_each_image_is_as_if_alone() -> None:
    made = projection()
    x, segments = tokens(5, 1, 9)
    together = made(x, segments)
    for number, (start, end) in enumerate(pairwise(segments.tolist())):
        alone = made(x[start:end], torch.tensor([0, end - start]))
        torch.testing.assert_close(together[start:end], alone, msg=f"image {number}")
    assert not torch.allclose(together, made(x, torch.tensor([0, 15])))


def test_rows_are_images() -> None:
    made = projection()
    x, segments = tokens(6, 6, 6)
    rows = made(x.view(3, 6, 24))
    assert rows.shape == (3, 6, 40)
    assert torch.equal(rows.view(18, 40), made(x, segments))


def test_rows_that_are_not_contiguous() -> None:
    made = projection()
    x = tokens(18)[0].view(6, 3, 24).transpose(0, 1)
    torch.testing.assert_close(made(x), made(x.contiguous()))


@pytest.mark.parametrize("packed", [True, False])
def test_padding_plays_no_part(packed: bool) -> None:
    made = projection()
    x = tokens(6, 6)[0].view(2, 6, 24)
    keep = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    other = x.clone()
    other[1, 4:] = torch.inf  # not even what is no number

    def of(some: Tensor) -> Tensor:
        if packed:
            return made(some.view(12, 24), torch.tensor([0, 6, 12]), keep=keep.view(12)).view(2, 6, 40)
        return made(some, keep=keep)

    real = of(x)[keep]
    assert torch.equal(of(other)[keep], real)
    torch.testing.assert_close(real[6:], made(x[1:, :4])[0])
    assert not torch.allclose(made(x)[keep], real)


def test_an_image_of_padding_alone_has_no_gain_beyond_the_biases() -> None:
    made = projection()
    x = tokens(4)[0].view(1, 4, 24)
    nothing = made.gains(x, keep=torch.zeros(1, 4, dtype=torch.bool))
    assert torch.isfinite(nothing.band_delta).all()
    assert torch.equal(image_means(x, keep=torch.zeros(1, 4, dtype=torch.bool)), torch.zeros(1, 24))


def test_image_means() -> None:
    x, segments = tokens(5, 1, 9)
    means = image_means(x, segments)
    torch.testing.assert_close(means, torch.stack([x[:5].mean(0), x[5], x[6:].mean(0)]))
    assert image_means(x.bfloat16(), segments).dtype == torch.float32


def test_an_empty_image_changes_nothing() -> None:
    made = projection()
    x, segments = tokens(5, 0, 9)
    found = made(x, segments)
    torch.testing.assert_close(found, made(*tokens(5, 9)))
    found.sum().backward()
    assert all(torch.isfinite(each.grad).all() for each in made.parameters())


def test_no_tokens_at_all() -> None:
    made = projection()
    assert made(torch.empty(0, 24), torch.tensor([0])).shape == (0, 40)


@pytest.mark.parametrize(
    ("shape", "segments", "message"),
    [
        ((6, 24), None, "a packed input of 6 tokens came without segments"),
        ((6, 24), [0, 5], "segments adds up to 5 tokens, while the input has 6"),
        ((6, 24), [0, 4, 3, 6], "segments decreases at index 2"),
        ((6, 24), [1, 6], "segments starts at 1; expected 0"),
        ((2, 3, 24), [0, 3, 6], "has its segments already"),
        ((6, 23), [0, 6], "tokens have 23 channels; expected 24"),
        ((2, 3, 23), None, "tokens have 23 channels; expected 24"),
        ((24,), None, "expected .tokens, channels. or .images, tokens, channels., found .24,."),
        ((1, 2, 3, 24), None, "expected .tokens, channels. or"),
    ],
)
def test_inputs_that_do_not_fit(shape, segments, message: str) -> None:
    given = None if segments is None else torch.tensor(segments)
    with pytest.raises(ValueError, match=message):
        projection()(torch.zeros(shape), given)


def test_segments_that_are_no_integers() -> None:
    with pytest.raises(ValueError, match=r"segments has dtype torch.float32"):
        projection()(torch.zeros(6, 24), torch.tensor([0.0, 6.0]))


def test_more_bands_than_radii() -> None:
    with pytest.raises(
        ValueError, match="bands=9 for a 4 x 4 weight: its frequency plane has 6 distinct radii"
    ):
        FDProjection(4, 4, bands=9)
    with pytest.raises(ValueError, match="found 2 thresholds, expected 3 for 4 bands"):
        FDProjection(24, 40, bands=4, thresholds=(1, 2))


def test_given_thresholds_hold() -> None:
    usual = projection()
    other = FDProjection.from_linear(usual, 4, thresholds=(40**2, 2 * 40**2, 3 * 40**2))
    other.dve_router = usual.dve_router
    x, segments = tokens(5, 6)
    assert other.thresholds == (1600, 3200, 4800)
    assert not torch.allclose(other(x, segments), usual(x, segments))


# ------------------------------------------------------------------------------------------------------------
# Dtypes


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 3e-2), (torch.float16, 4e-3)])
def test_half_precision(dtype: torch.dtype, tolerance: float) -> None:
    made, wide = projection(dtype=dtype), projection()
    wide.load_state_dict(made.state_dict())
    x, segments = tokens(5, 9, dtype=dtype)
    x.requires_grad_()
    found = made(x, segments)
    assert found.dtype == dtype
    assert {each.dtype for each in made.dve_router.parameters()} == {torch.float32}
    assert made.gains(x, segments).band_delta.dtype == torch.float32
    torch.testing.assert_close(found.float(), wide(x.float(), segments), rtol=tolerance, atol=tolerance)
    found.float().square().sum().backward()
    assert x.grad.dtype == made.weight.grad.dtype == dtype
    assert made.dve_router.band_weight.grad.dtype == torch.float32


def test_a_model_cast_to_bf16_with_its_router() -> None:
    made = projection().to(torch.bfloat16)
    x, segments = tokens(5, 9, dtype=torch.bfloat16)
    assert made.gains(x, segments).band_delta.dtype == torch.float32
    assert made(x, segments).dtype == torch.bfloat16


def test_autocast() -> None:
    made = projection()
    x, segments = tokens(5, 9)
    expected, gains = made(x, segments), made.gains(x, segments)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = made(x, segments)
        assert torch.equal(made.gains(x, segments).band_delta, gains.band_delta)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=3e-2, atol=3e-2)
    found.float().sum().backward()
    assert made.weight.grad.dtype == torch.float32


# ------------------------------------------------------------------------------------------------------------
# Bases


def fresh(made: FDProjection) -> Tensor:
    """What a projection with the same state and no memory computes."""
    again = FDProjection(
        made.in_features, made.out_features, bands=made.bands, frozen_bases=made.frozen_bases
    )
    again.load_state_dict(made.state_dict())
    return again(*tokens(5, 9))


def test_bases_are_kept_between_forwards() -> None:
    made = projection()
    made(*tokens(5, 9))
    first = made.bases()
    made(*tokens(3))
    assert made.bases() is first


@pytest.mark.parametrize(
    "fused", [False, True]
)  # transformers' default is fused, and past autograd's counter
def test_bases_follow_an_optimizer(fused: bool) -> None:
    made = projection()
    optimizer = torch.optim.AdamW(made.parameters(), lr=0.1, fused=fused)
    for _ in range(2):
        optimizer.zero_grad()
        made(*tokens(5, 9)).square().sum().backward()
        optimizer.step()
        assert torch.equal(made.bases(), split_bands(made.weight.detach(), made.thresholds))
        torch.testing.assert_close(made(*tokens(5, 9)), fresh(made))


def test_bases_follow_load_state_dict() -> None:
    made, other = projection(), projection(awake=False)
    nn.init.normal_(other.weight)
    other(*tokens(5, 9))
    other.load_state_dict(made.state_dict())
    assert torch.equal(other(*tokens(5, 9)), made(*tokens(5, 9)))


def test_bases_follow_a_swap_of_data_and_a_new_parameter() -> None:
    made = projection()
    made(*tokens(5, 9))
    made.weight.data = torch.randn(40, 24)
    torch.testing.assert_close(made(*tokens(5, 9)), fresh(made))
    made.weight = nn.Parameter(torch.randn(40, 24))
    torch.testing.assert_close(made(*tokens(5, 9)), fresh(made))


def test_a_new_weight_at_the_address_of_an_old_one_is_seen() -> None:
    made = projection()
    address, hits = 0, 0
    for _ in range(50):
        made(*tokens(5, 9))
        address = made.weight.data_ptr()
        made.weight.data = torch.empty(
            0
        )  # as an offloader does; the memory is free for the next of this size
        made.weight.data = torch.randn(40, 24)
        hits += made.weight.data_ptr() == address
        assert torch.equal(made.bases(), split_bands(made.weight.detach(), made.thresholds))
    if not hits:
        pytest.skip("the allocator never gave an address twice")


def test_bases_follow_a_cast() -> None:
    made = projection()
    made(*tokens(5, 9))
    made.double()
    assert made.bases().dtype == torch.float64


def test_refresh_sees_what_was_written_past_autograd() -> None:
    made = projection()
    made(*tokens(5, 9))
    made.weight.data.copy_(torch.randn(40, 24))
    made.refresh()
    torch.testing.assert_close(made(*tokens(5, 9)), fresh(made))


def test_a_first_forward_in_inference_mode_does_not_spoil_training() -> None:
    made = projection()
    with torch.inference_mode():
        first = made(*tokens(5, 9))
    found = made(*tokens(5, 9))
    assert torch.equal(found.detach(), first)
    found.sum().backward()
    assert made.weight.grad.any()
    assert made.dve_router.band_weight.grad.any()


def test_frozen_bases_stay_and_travel_in_the_state() -> None:
    made = projection(frozen_bases=True)
    start = made.bases().clone()
    optimizer = torch.optim.SGD(made.parameters(), lr=0.1)
    made(*tokens(5, 9)).square().sum().backward()
    before = made.weight.detach().clone()
    optimizer.step()
    assert not torch.equal(made.weight, before)
    assert torch.equal(made.bases(), start)
    assert torch.equal(made.base_weight, before)
    torch.testing.assert_close(made(*tokens(5, 9)), fresh(made))

    following = projection()
    following.load_state_dict({k: v for k, v in made.state_dict().items() if k != "base_weight"})
    assert not torch.allclose(following(*tokens(5, 9)), made(*tokens(5, 9)))
    frozen = made.base_weight.clone()
    with torch.no_grad():
        made.base_weight.mul_(2)
    torch.testing.assert_close(made.bases(), 2 * split_bands(frozen, made.thresholds))


def test_frozen_bases_take_the_plain_gradient() -> None:
    """dW = sum over images of G, without a transform: bases are constants."""
    made = projection(frozen_bases=True, gates=("band",))
    x, segments = tokens(5, 9)
    y = made(x, segments)
    (weight,) = torch.autograd.grad(y.sum(), made.weight)
    torch.testing.assert_close(weight, x.sum(0).expand(40, 24))


# ------------------------------------------------------------------------------------------------------------
# As a module


def test_state_dict_names() -> None:
    names = set(projection().state_dict())
    assert {name for name in names if not name.startswith("dve_router.")} == {"weight", "bias"}
    assert {name.removeprefix("dve_router.") for name in names} - {"weight", "bias"} == {
        "reduce_weight",
        "norm_weight",
        *(f"{gate}_{kind}" for gate in PUBLISHED for kind in ("weight", "bias")),
    }
    assert set(projection(frozen_bases=True).state_dict()) - names == {"base_weight"}
    assert set(projection(router=False, bias=False).state_dict()) == {"weight"}


def test_a_plain_linears_state_lacks_only_the_router() -> None:
    found = projection().load_state_dict(nn.Linear(24, 40).state_dict(), strict=False)
    assert found.unexpected_keys == []
    assert all(name.startswith("dve_router.") for name in found.missing_keys)


def test_swift_must_not_take_it_for_a_linear() -> None:
    made = projection()
    assert isinstance(made, nn.Linear)
    assert not [each for each in type(made).__mro__[:1] if "linear" in each.__name__.lower()]


def test_from_linear_shares_the_parameters() -> None:
    plain = nn.Linear(24, 40, dtype=torch.bfloat16).eval()
    made = FDProjection.from_linear(plain, 3, reduction=2)
    assert made.weight is plain.weight
    assert made.bias is plain.bias
    assert made.bands == 3
    assert not made.training
    assert torch.equal(made.gains(tokens(4, dtype=torch.bfloat16)[0][None]).band_delta, torch.zeros(1, 3))
    assert FDProjection.from_linear(nn.Linear(24, 40, bias=False)).bias is None


def test_from_linear_on_meta() -> None:
    made = FDProjection.from_linear(nn.Linear(24, 40, device="meta"), frozen_bases=True)
    assert all(each.is_meta for each in made.state_dict().values())
    real = projection(frozen_bases=True)
    made.load_state_dict(real.state_dict(), assign=True)
    assert torch.equal(made(*tokens(5, 9)), real(*tokens(5, 9)))


@pytest.mark.parametrize("frozen", [False, True])
def test_copies_carry_no_bases(frozen: bool) -> None:
    made = projection(frozen_bases=frozen)
    expected = made(*tokens(5, 9))
    held = made.bases()
    file = io.BytesIO()
    torch.save(made, file)
    file.seek(0)
    copies = [copy.deepcopy(made), pickle.loads(pickle.dumps(made)), torch.load(file, weights_only=False)]
    for each in copies:
        assert each._bases is None
        assert torch.equal(each(*tokens(5, 9)), expected)
        assert each.weight is not made.weight
    assert made.bases() is held
    assert all("_bases" not in name for name in made.state_dict())


def test_gains_of_a_shared_router_are_given() -> None:
    made = projection(router=False)
    x, segments = tokens(5, 9)
    with pytest.raises(ValueError, match="has no router of its own; its block must pass `gains`"):
        made(x, segments)
    plain = Gains(torch.zeros(2, 4))
    torch.testing.assert_close(made(x, segments, gains=plain), linear(x, made.weight, made.bias))
    delta = torch.full((2, 4), 0.25)  # the same for every band: the weight as a whole
    found = made(x, segments, gains=Gains(delta))
    torch.testing.assert_close(found, linear(x, 1.25 * made.weight, made.bias))


def test_its_text() -> None:
    assert "bands=4" in repr(projection())
    assert "frozen_bases" in repr(projection(frozen_bases=True))


def test_moving_drops_the_bases() -> None:
    made = projection()
    made(*tokens(5, 9))
    made.double()
    assert made._bases is None
