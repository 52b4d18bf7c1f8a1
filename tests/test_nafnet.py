"""The conditional NAFNet takes any size, starts as the identity, and depends on time and both embeddings."""

import pytest
import torch

from daclip_lab.models.nafnet import ConditionalNAFNet, common_means, local_mean


def build(randomize=None, window=32):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = ConditionalNAFNet(
            embed_dim=12,
            width=8,
            encoder=(1, 1),
            middle=1,
            decoder=(1, 1),
            conditioning_dim=16,
            window=window,
        )
    return (randomize(net, std=0.2) if randomize else net).eval()


@pytest.fixture
def net(randomize):
    return build(randomize)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def predict(net, state, degraded, t=50, content=None, degradation=None):
    with torch.no_grad():
        times = torch.full((len(state),), t)
        return net(state, degraded, times, net.prepare(content, degradation))


@pytest.mark.parametrize(("h", "w"), [(16, 16), (17, 33), (64, 64), (100, 70), (1, 1), (3, 50)])
def test_any_size_keeps_its_size(net, h, w):
    state, degraded = noise(2, 3, h, w), noise(2, 3, h, w, seed=1)
    out = predict(net, state, degraded, 50, noise(2, 12), noise(2, 12, seed=1))
    assert out.shape == (2, 3, h, w)
    assert torch.isfinite(out).all()


def test_it_starts_as_the_identity():
    state, degraded = noise(2, 3, 20, 20), noise(2, 3, 20, 20, seed=1)
    assert torch.equal(predict(build(), state, degraded, 7, noise(2, 12), noise(2, 12)), degraded)


def test_padding_is_invisible_inside(net):
    """What is padded at the right and below is what replication of the last pixels would have been anyway."""
    state, degraded = noise(1, 3, 30, 27), noise(1, 3, 30, 27, seed=1)
    padded = [torch.nn.functional.pad(x, (0, 5, 0, 2), mode="replicate") for x in (state, degraded)]
    torch.testing.assert_close(
        predict(net, state, degraded), predict(net, *padded)[..., :30, :27], atol=1e-6, rtol=1e-5
    )


def test_each_image_of_a_batch_stands_alone(net):
    state, degraded = noise(3, 3, 16, 24), noise(3, 3, 16, 24, seed=1)
    content, degradation = noise(3, 12, seed=2), noise(3, 12, seed=3)
    t = torch.tensor([1, 40, 100])
    with torch.no_grad():
        together = net(state, degraded, t, net.prepare(content, degradation))
        for i in range(3):
            one = slice(i, i + 1)
            alone = net(
                state[one], degraded[one], t[one], net.prepare(content[one], degradation[one])
            )
            torch.testing.assert_close(together[one], alone, atol=1e-5, rtol=1e-5)


def test_it_depends_on_state_degraded_time_and_both_embeddings(net):
    state, degraded = noise(1, 3, 16, 16), noise(1, 3, 16, 16, seed=1)
    content, degradation = noise(1, 12, seed=2), noise(1, 12, seed=3)
    base = predict(net, state, degraded, 50, content, degradation)
    for other in (
        predict(net, state + 0.1, degraded, 50, content, degradation),
        predict(net, state, degraded, 51, content, degradation),
        predict(net, state, degraded, 50, content + 1, degradation),
        predict(net, state, degraded, 50, content, degradation + 1),
        predict(net, state, degraded, 50, degradation, content),
    ):
        assert (other - base).abs().max() > 1e-5
    brighter = predict(net, state + 0.1, degraded + 0.1, 50, content, degradation)
    assert (brighter - 0.1 - base).abs().max() > 1e-5


def test_embeddings_of_zeros_and_none_tell_nothing(net):
    state, degraded = noise(2, 3, 16, 16), noise(2, 3, 16, 16, seed=1)
    zeros, content = torch.zeros(2, 12), noise(2, 12)
    assert torch.equal(
        predict(net, state, degraded), predict(net, state, degraded, 50, zeros, zeros)
    )
    assert torch.equal(
        predict(net, state, degraded, 50, content),
        predict(net, state, degraded, 50, content, zeros),
    )


def test_every_parameter_is_reached_by_the_gradient(net):
    out = net(
        noise(2, 3, 32, 32),
        noise(2, 3, 32, 32, seed=1),
        torch.tensor([3, 90]),
        net.prepare(noise(2, 12, seed=2), noise(2, 12, seed=3)),
    )
    out.square().mean().backward()
    for name, p in net.named_parameters():
        assert p.grad is not None, name
        assert p.grad.any(), name


def test_training_gets_off_the_ground_from_the_zeros():
    """Layers that start at zero one behind another must not block the embeddings for ever."""
    net = build().train()
    state, degraded = noise(2, 3, 16, 16), noise(2, 3, 16, 16, seed=1)
    start = [p.clone() for p in net.parameters()]
    descent = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(8):
        descent.zero_grad()
        out = net(state, degraded, torch.tensor([5, 60]), net.prepare(noise(2, 12), noise(2, 12)))
        (out - 0.5 * degraded).square().mean().backward()
        descent.step()
    for (name, p), before in zip(net.named_parameters(), start, strict=True):
        assert not torch.equal(p, before), name


# ---- the local mean ----


def brute_force(x, window):
    """The mean over a window around every pixel; windows at the border are moved inside."""
    h, w = x.shape[-2:]
    kh, kw = min(window, h), min(window, w)
    out = torch.empty_like(x)
    for i in range(h):
        for j in range(w):
            top = min(max(i - (h - kh) // 2 if kh == h else i - (kh - 1) // 2, 0), h - kh)
            left = min(max(j - (w - kw) // 2 if kw == w else j - (kw - 1) // 2, 0), w - kw)
            out[..., i, j] = x[..., top : top + kh, left : left + kw].mean((-2, -1))
    return out


@pytest.mark.parametrize("window", [12, 13, 100])
def test_local_mean_of_a_small_image_is_its_mean(window):
    x = noise(2, 5, 12, 9)
    assert torch.equal(local_mean(x, window), x.mean((2, 3), keepdim=True))


@pytest.mark.parametrize(("h", "w"), [(12, 17), (20, 5), (4, 30)])
@pytest.mark.parametrize("window", [3, 7])
def test_local_mean_is_a_box_mean(h, w, window):
    x = noise(2, 3, h, w)
    ours = local_mean(x, window).expand_as(x)
    torch.testing.assert_close(ours, brute_force(x, window), atol=1e-5, rtol=1e-5)


def test_an_even_window_is_centred_to_half_a_pixel():
    x = noise(1, 2, 15, 18)
    ours, lower = local_mean(x, 4), brute_force(x, 4)
    upper = brute_force(x.flip(-1, -2), 4).flip(-1, -2)

    def near(a):
        return torch.allclose(ours, a, atol=1e-5)

    assert near(lower) or near(upper)


def test_channel_means_of_an_image_as_large_as_the_window_are_global():
    """There the network is the published NAFNet: at every level, a window covers the image."""
    windowed, whole = (build(randomize=None, window=window) for window in (32, None))
    whole.load_state_dict(windowed.state_dict())
    stages = (*whole.encoder, whole.middle, *whole.decoder)
    assert [block.mean.cell for stage in stages for block in stage] == [2, 4, 8, 4, 2]
    state, degraded = noise(1, 3, 32, 32), noise(1, 3, 32, 32, seed=1)
    assert torch.equal(predict(windowed, state, degraded), predict(whole, state, degraded))


# ---- common means ----


@pytest.fixture
def unbounded(randomize):
    return build(randomize, window=None)


def test_the_means_of_one_call_change_nothing_in_it(unbounded):
    images = noise(2, 3, 40, 64), noise(2, 3, 40, 64, seed=1)
    alone = predict(unbounded, *images)

    def look():
        predict(unbounded, *images)
        yield 40 * 64

    with common_means(unbounded, look):
        torch.testing.assert_close(predict(unbounded, *images), alone)
    assert torch.equal(predict(unbounded, *images), alone)


def test_under_common_means_a_part_equals_the_whole(unbounded):
    """Nothing but the means looks far, so half an image, away from the cut, cannot know that it is a half."""
    images = noise(1, 3, 32, 192), noise(1, 3, 32, 192, seed=1) + torch.linspace(-2, 2, 192)
    halves = [[image[..., place] for image in images] for place in (slice(96), slice(96, None))]

    def look():
        for half in halves:
            predict(unbounded, *half)
            yield 32 * 96

    alone = predict(unbounded, *halves[0])
    with common_means(unbounded, look):
        whole, left = predict(unbounded, *images), predict(unbounded, *halves[0])
    torch.testing.assert_close(left[..., :56], whole[..., :56], atol=1e-5, rtol=1e-5)
    assert (left - alone).abs().max() > 1e-3  # and its own means were others


def test_means_are_let_go_when_a_call_fails(unbounded):
    images = noise(2, 3, 40, 64), noise(2, 3, 40, 64, seed=1)
    alone = predict(unbounded, *images)

    def look():
        predict(unbounded, *images)
        raise KeyboardInterrupt
        yield

    with pytest.raises(KeyboardInterrupt), common_means(unbounded, look):
        pass
    assert torch.equal(predict(unbounded, *images), alone)
