"""The U-Net equals the authors' networks, has their names, takes any size and depends on every input."""

import json

import pytest
import torch
from authors_unet import ASSETS, reference
from torch.nn import functional as F

from daclip_lab.errors import InputError
from daclip_lab.models.unet import ConditionalUNet, LinearAttention

ATTENTIVE = ("downs.3.2", "mid_attn", "ups.0.2")  # the blocks that cross-attend to the content
UNUSED = ("attn2.to_q.weight", "attn2.to_k.weight", "norm2.weight", "norm2.bias")


@pytest.fixture(scope="module", params=["unet", "unet_wild", "unet_plain"])
def each(request):
    return reference(request.param)


@pytest.fixture(scope="module")
def unet():
    return reference("unet")


def predict(net, arrays, **changes):
    arrays = arrays | changes
    with torch.no_grad():
        conditions = net.prepare(arrays["image_context"], arrays["degradation_context"])
        return net(arrays["xt"], arrays["mu"], arrays["t"], conditions)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_output_equals_the_reference(each):
    net, arrays = each
    torch.testing.assert_close(predict(net, arrays), arrays["output"], atol=1e-4, rtol=0)


def test_names_and_shapes_are_those_of_the_released_network():
    with torch.device("meta"):
        net = ConditionalUNet()
    shapes = {name: list(value.shape) for name, value in net.state_dict().items()}
    assert shapes == json.loads((ASSETS / "unet_shapes.json").read_text())
    assert len(shapes) == 224
    assert sum(p.numel() for p in net.parameters()) == 48_975_747


def test_wild_network_is_at_half_the_size():
    with torch.device("meta"):
        paper = ConditionalUNet(embed_dim=768, use_degradation=False).state_dict()
        wild = ConditionalUNet(embed_dim=768, use_degradation=False, scale=0.5).state_dict()
    assert {name: tuple(wild[name].shape) for name in wild.keys() - paper.keys()} == {
        "downsample.weight": (64, 64, 4, 4),
        "downsample.bias": (64,),
        "upsample.1.weight": (64, 64, 3, 3),
        "upsample.1.bias": (64,),
    }
    assert paper.keys() <= wild.keys()
    assert not any(name.startswith(("text_mlp", "prompt")) for name in wild)


@pytest.mark.parametrize(("h", "w"), [(16, 16), (9, 33), (17, 16), (47, 31), (64, 80)])
def test_keeps_any_size(each, h, w):
    net, arrays = each
    output = predict(net, arrays, xt=noise(2, 3, h, w), mu=noise(2, 3, h, w, seed=1))
    assert output.shape == (2, 3, h, w)
    assert output.isfinite().all()


def test_padding_reflects_the_right_and_lower_edge(unet):
    net, arrays = unet
    xt, mu = noise(2, 3, 29, 42), noise(2, 3, 29, 42, seed=1)
    padded = [F.pad(image, (0, 6, 0, 3), mode="reflect") for image in (xt, mu)]
    whole = predict(net, arrays, xt=padded[0], mu=padded[1])
    torch.testing.assert_close(
        predict(net, arrays, xt=xt, mu=mu), whole[..., :29, :42], atol=1e-5, rtol=0
    )


def test_memory_layout_does_not_matter(unet):
    net, arrays = unet
    last = {key: arrays[key].contiguous(memory_format=torch.channels_last) for key in ("xt", "mu")}
    torch.testing.assert_close(
        predict(net, arrays, **last), predict(net, arrays), atol=1e-4, rtol=0
    )


def test_prepared_vectors_equal_cross_attention_written_out(each):
    """Any query against one key: scores, softmax, values, projection, with several heads."""
    net, arrays = each
    content = arrays["image_context"]
    prepared = net.prepare(content, arrays["degradation_context"])
    if not net.use_content:
        assert prepared[1:] == (None,) * 3
        return
    for name, vector in zip(ATTENTIVE, prepared[1:], strict=True):
        prefix = f"w.{name}.fn.fn.transformer_blocks.0.attn2."
        q, k, v, out = (
            arrays[f"{prefix}{part}.weight"] for part in ("to_q", "to_k", "to_v", "to_out.0")
        )
        heads = q.shape[0] // 32
        tokens = noise(2, 35, q.shape[1])
        queries = (tokens @ q.T).view(2, 35, heads, 32)
        keys = (content @ k.T).view(2, 1, heads, 32)
        values = (content @ v.T).view(2, 1, heads, 32)
        scores = torch.einsum("bihd,bjhd->bhij", queries, keys) / 32**0.5
        mixed = torch.einsum("bhij,bjhd->bihd", scores.softmax(-1), values).reshape(2, 35, -1)
        written_out = mixed @ out.T + arrays[f"{prefix}to_out.0.bias"]
        torch.testing.assert_close(
            vector[:, None].expand(-1, 35, -1), written_out, atol=1e-5, rtol=0
        )


def test_the_unused_weights_change_nothing(unet):
    arrays = unet[1]
    net, _ = reference("unet")
    with torch.no_grad():
        for name, value in net.named_parameters():
            if name.endswith(UNUSED):
                value.add_(1)
    torch.testing.assert_close(predict(net, arrays), predict(*unet), atol=0, rtol=0)


def test_prompt_is_a_softmax_weighting_of_the_learned_vector(unet):
    net, arrays = unet
    w = {key[2:]: value for key, value in arrays.items() if key.startswith("w.")}
    hidden = arrays["degradation_context"] @ w["text_mlp.0.weight"].T + w["text_mlp.0.bias"]
    hidden = hidden * hidden.sigmoid()
    weights = (hidden @ w["text_mlp.2.weight"].T + w["text_mlp.2.bias"]).softmax(1)
    expected = (weights * w["prompt"]) @ w["prompt_mlp.weight"].T + w["prompt_mlp.bias"]
    prompt = net.prepare(arrays["image_context"], arrays["degradation_context"]).prompt
    torch.testing.assert_close(prompt, expected, atol=1e-5, rtol=0)


def test_linear_attention_equals_the_written_out_matrix():
    """Each pixel's output is a weighted sum of all values, per head, before the projection."""
    attention = LinearAttention(32)
    c, h, w = 128, 5, 7
    with torch.no_grad():
        for p in attention.parameters():
            p.copy_(noise(*p.shape))
        attention.to_out[0].bias.zero_()  # else it dominates the output, which is small
        x = noise(1, 32, h, w, seed=3)
        q, k, v = (attention.to_qkv.weight.view(3, c, 32) @ x.view(32, h * w)).unbind(0)
        outputs = []
        for head in range(4):
            rows = slice(32 * head, 32 * head + 32)
            weights = k[rows].softmax(1).T @ q[rows].softmax(0)  # from pixel, to pixel
            outputs.append(v[rows] @ weights / (32**0.5 * h * w))
        y = attention.to_out[0].weight.view(32, c) @ torch.cat(outputs)
        variance = y.var(0, correction=0, keepdim=True)
        y = (y - y.mean(0)) / (variance + 1e-5).sqrt() * attention.to_out[1].g.view(32, 1)
        torch.testing.assert_close(attention(x, None)[0].flatten(1), y, atol=1e-4, rtol=0)


def test_gradient_reaches_every_parameter_that_can_learn():
    """What only a query would need cannot learn from one token; the rest learns."""
    net, arrays = reference("unet")
    blocks = [f"{name}.fn.fn.transformer_blocks.0." for name in ATTENTIVE]
    unused = {block + name for block in blocks for name in UNUSED}
    conditions = net.prepare(arrays["image_context"], arrays["degradation_context"])
    net(arrays["xt"], arrays["mu"], arrays["t"], conditions).square().mean().backward()
    for name, p in net.named_parameters():
        learns = p.grad is not None and p.grad.abs().max() > 0
        assert learns == (name not in unused), name


@pytest.mark.parametrize("key", ["xt", "mu", "t", "image_context", "degradation_context"])
def test_output_depends_on_every_input(unet, key):
    net, arrays = unet
    changed = predict(net, arrays, **{key: arrays[key].flip(0)})
    assert (changed - arrays["output"]).abs().max() > 1e-3


def test_without_the_content_attention_is_linear_at_all_levels():
    net = ConditionalUNet(channels=32, embed_dim=16, use_content=False)
    assert not any("transformer_blocks" in name for name in net.state_dict())
    assert sum(isinstance(module, LinearAttention) for module in net.modules()) == 9


def test_an_unused_embedding_is_ignored():
    net = ConditionalUNet(channels=32, embed_dim=16, use_degradation=False, use_content=False)
    assert net.prepare(None, None) == net.prepare(noise(1, 16), noise(1, 16)) == (None,) * 4


def test_no_embedding_stands_for_zeros(unet):
    net, arrays = unet
    zeros = dict.fromkeys(("image_context", "degradation_context"), torch.zeros(2, 32))
    torch.testing.assert_close(
        predict(net, arrays, image_context=None, degradation_context=None),
        predict(net, arrays, **zeros),
    )


def test_one_row_of_conditions_serves_a_whole_batch(unet):
    net, arrays = unet
    one = {key: arrays[key][:1] for key in ("image_context", "degradation_context")}
    repeated = {key: value.expand(2, -1) for key, value in one.items()}
    torch.testing.assert_close(
        predict(net, arrays, **one), predict(net, arrays, **repeated), atol=1e-4, rtol=0
    )


def test_bfloat16_autocast_stays_close(each):
    net, arrays = each
    with torch.autocast("cpu", torch.bfloat16):
        output = predict(net, arrays)
    assert output.dtype == torch.bfloat16
    error = (output.float() - arrays["output"]).square().mean().sqrt()
    assert error < 0.03 * arrays["output"].std()


def test_other_widths_and_scales_are_refused():
    with pytest.raises(InputError, match="48"):
        ConditionalUNet(channels=48)
    with pytest.raises(InputError, match="scale is 2"):
        ConditionalUNet(scale=2)
