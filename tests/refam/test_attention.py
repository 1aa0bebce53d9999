import pytest
import torch

from refam.attention import AttentionMean


def blocks(count, patches=12, tokens=5, heads=3, width=8):
    generator = torch.Generator().manual_seed(0)
    return [
        (
            3 * torch.randn(patches, heads, width, generator=generator),
            torch.randn(tokens, heads, width, generator=generator),
        )
        for _ in range(count)
    ]


def explicit(query, key):
    """One head, one patch and one token at a time, in fp64: [heads, P, N] logits."""
    query, key = query.double(), key.double()
    return torch.tensor(
        [
            [
                [float(query[p, h] @ key[n, h]) / query.shape[-1] ** 0.5 for n in range(len(key))]
                for p in range(len(query))
            ]
            for h in range(query.shape[1])
        ],
        dtype=torch.float64,
    )


def test_probabilities_are_averaged_after_the_softmax_of_each_head():
    read = blocks(4)
    mean = AttentionMean()
    for query, key in read:
        mean.add(query, key)
    expected = torch.stack([explicit(query, key).softmax(-1).mean(0) for query, key in read]).mean(0)
    assert torch.allclose(mean.result().double(), expected, atol=1e-6)
    assert torch.allclose(mean.result().sum(-1), torch.ones(12), atol=1e-6)


def test_logits_are_averaged_before_one_softmax():
    read = blocks(4)
    mean = AttentionMean("logits")
    for query, key in read:
        mean.add(query, key)
    expected = torch.stack([explicit(query, key).mean(0) for query, key in read]).mean(0).softmax(-1)
    assert torch.allclose(mean.result().double(), expected, atol=1e-6)


def test_half_precision_inputs_are_read_in_fp32():
    ((query, key),) = blocks(1)
    mean = AttentionMean()
    mean.add(100 * query.bfloat16(), key.bfloat16())
    assert mean.result().dtype == torch.float32
    assert torch.allclose(mean.result().sum(-1), torch.ones(12), atol=1e-6)


def test_nothing_read_is_an_error():
    with pytest.raises(RuntimeError, match="No block was read"):
        AttentionMean().result()
