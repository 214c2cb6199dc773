"""Training losses against plain computations."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from recblr.config import RecBLRConfig
from recblr.errors import ConfigError
from recblr.model import RecBLR
from recblr.objective import Objective, sampled_cross_entropy

N, V, D = 30, 50, 8


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(N, D, generator=generator, requires_grad=True)
    embedding = torch.randn(V + 1, D, generator=generator, requires_grad=True)
    return hidden, embedding, torch.randint(1, V + 1, (N,), generator=generator)


def plain(hidden, embedding, targets, smoothing=0.0):
    return F.cross_entropy(hidden @ embedding[1:].T, targets - 1, reduction="sum", label_smoothing=smoothing)


def assert_same_with_gradients(found, expected, *inputs):
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(loss, inputs, retain_graph=True) for loss in (found, expected)]
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_full_softmax(batch, smoothing):
    hidden, embedding, targets = batch
    found = Objective(label_smoothing=smoothing)(hidden, embedding, targets)
    assert_same_with_gradients(found, plain(hidden, embedding, targets, smoothing), hidden, embedding)


def test_items_of_one_length(batch):
    hidden, embedding, targets = batch
    scaled = embedding / embedding.norm(dim=1, keepdim=True) * 2.5
    found = Objective(item_norm=2.5)(hidden, embedding, targets)
    assert_same_with_gradients(found, plain(hidden, scaled, targets), hidden, embedding)


def test_a_model_with_scaled_items_ranks_as_it_was_trained():
    torch.manual_seed(0)
    model = RecBLR(RecBLRConfig(n_items=V, dim=16)).eval()
    items, offsets = torch.randint(1, V + 1, (12,)), torch.tensor([0, 5, 12])
    with torch.no_grad():
        query, _ = model.query(items, offsets)
        expected = query @ F.normalize(model.embedding.weight, dim=1).T * 2.5
        model.scale_items(2.5)
        scaled_query, _ = model.query(items, offsets)
        torch.testing.assert_close(scaled_query, query)
        torch.testing.assert_close(model.scores(scaled_query)[:, 1:], expected[:, 1:])


def test_all_items_as_negatives_are_the_full_softmax(batch):
    hidden, embedding, targets = batch
    negatives = torch.arange(1, V + 1)
    found = sampled_cross_entropy(hidden, embedding[targets], embedding[negatives], targets, negatives, 0.0)
    assert_same_with_gradients(found, plain(hidden, embedding, targets), hidden, embedding)


def test_the_correction_makes_the_denominator_unbiased(batch):
    hidden, embedding, targets = batch
    n_negatives, draws = 10, 4000
    torch.manual_seed(1)
    ratio = torch.zeros(N)
    with torch.no_grad():
        true = (hidden @ embedding[1:].T).exp().sum(dim=1)
        own = (hidden * embedding[targets]).sum(dim=1)
        for _ in range(draws):
            negatives = torch.randint(1, V + 1, (n_negatives,))
            each = [
                sampled_cross_entropy(
                    hidden[n : n + 1],
                    embedding[targets[n : n + 1]],
                    embedding[negatives],
                    targets[n : n + 1],
                    negatives,
                    math.log(V / n_negatives),
                )
                for n in range(3)
            ]
            ratio[:3] += (torch.stack(each) + own[:3]).exp() / true[:3]
    torch.testing.assert_close(ratio[:3] / draws, torch.ones(3), atol=0.05, rtol=0)


def test_the_sampled_loss_draws_by_the_seed_and_needs_few_scores(batch):
    hidden, embedding, targets = batch
    objective = Objective("sampled", negatives=7)
    losses = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        losses.append(objective(hidden, embedding, targets).item())
    assert losses[0] == losses[1] != losses[2]
    (gradient,) = torch.autograd.grad(objective(hidden, embedding, targets), [embedding])
    assert (gradient.abs().sum(dim=1) > 0).sum() <= len(targets.unique()) + 7


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "hinge"}, "loss is 'hinge': give one of softmax, sampled"),
        ({"negatives": 0}, "negatives is 0: give at least 1"),
        ({"correction": 1.5}, "correction is 1.5: give a number from 0 to 1"),
        ({"label_smoothing": 1.0}, "label_smoothing is 1.0: give a probability below 1"),
        ({"item_norm": -1.0}, "item_norm is -1.0: give 0 or a positive number"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Objective(**settings)
