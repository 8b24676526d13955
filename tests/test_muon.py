"""Muon beside PyTorch's own, beside Adam, and gone on from its state."""

from functools import partial

import pytest
import torch

from cuda_ext import Adam, Muon, ParameterGroup, weight_count
from cuda_ext.mlp import split_weights
from cuda_ext.muon import orthogonalised, rows

SHAPES = [(24, 24), (16, 90), (90, 16)]


def _parameters(seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(12, 30), (12, 30), (20, 3, 3, 3), (7,), (40, 8)]
    return [torch.randn(shape, generator=generator) for shape in shapes]


def _gradients(step):
    return _parameters(100 + step)


def _muon(parameters):
    weights = [p for p in parameters if p.dim() > 1]
    others = [p for p in parameters if p.dim() == 1]
    return Muon([ParameterGroup(others, 0.01), ParameterGroup(weights, 0.02, matrices=rows)])


def _run(optimiser, parameters, steps, first=0):
    for step in range(first, first + steps):
        for p, gradient in zip(parameters, _gradients(step), strict=True):
            optimiser.gradient(p).add_(gradient)
        optimiser.step(0.5)


@pytest.mark.parametrize("shape", SHAPES)
def test_singular_values_become_about_one_and_directions_stay(shape):
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(1))
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    found = left.mT @ orthogonalised(matrices) @ right.mT
    values = found.diagonal(dim1=1, dim2=2)
    assert values.min() > 0.6 and values.max() < 1.3
    torch.testing.assert_close(found, torch.diag_embed(values), atol=1e-4, rtol=0)


def test_large_matrices_in_bfloat16(monkeypatch):
    monkeypatch.setattr("cuda_ext.muon.bfloat16_is_faster", lambda device: device == "cpu")
    matrices = torch.randn(2, 160, 130, generator=torch.Generator().manual_seed(1))
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    found = left.mT @ orthogonalised(matrices) @ right.mT
    values = found.diagonal(dim1=1, dim2=2)
    assert values.min() > 0.6 and values.max() < 1.3
    assert (found - torch.diag_embed(values)).abs().max() < 0.03


def test_what_a_matrix_lacks_stays_zero():
    matrix = torch.outer(torch.arange(1.0, 7.0), torch.ones(5))[None]
    assert torch.linalg.svdvals(orthogonalised(matrix))[0, 1:].max() < 1e-4
    assert not orthogonalised(torch.zeros(1, 4, 6)).any()


def test_steps_are_those_of_pytorch():
    """Which computes in bfloat16."""
    ours, theirs = _parameters(), [torch.nn.Parameter(p.flatten(1)) for p in _parameters() if p.dim() > 1]
    before = [p.detach().clone() for p in theirs]
    reference = torch.optim.Muon(theirs, lr=0.01, weight_decay=0.0, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    for step in range(3):
        for p, gradient in zip(theirs, (g for g in _gradients(step) if g.dim() > 1), strict=True):
            p.grad = gradient.flatten(1)
        reference.step()
    _run(_muon(ours), ours, 3)
    for p, q, start in zip((p for p in ours if p.dim() > 1), theirs, before, strict=True):
        moved, wanted = p.flatten(1) - start, q.detach() - start
        assert (moved - wanted).norm() < 0.03 * wanted.norm()


def test_memory_layout_of_a_layer_does_not_matter():
    ours, theirs = _parameters(), _parameters()
    theirs[2] = theirs[2].contiguous(memory_format=torch.channels_last)
    _run(_muon(ours), ours, 2)
    _run(_muon(theirs), theirs, 2)
    torch.testing.assert_close(theirs[2], ours[2], atol=1e-5, rtol=0)


def test_other_parameters_take_the_steps_of_adam():
    ours, theirs = _parameters(), _parameters()
    _run(_muon(ours), ours, 4)
    _run(Adam([ParameterGroup(theirs, 0.01)]), theirs, 4)
    assert torch.equal(ours[3], theirs[3])


def test_a_state_is_gone_on_from_to_the_bit():
    whole, parts = _parameters(), _parameters()
    _run(_muon(whole), whole, 6)
    first = _muon(parts)
    _run(first, parts, 2)
    second = _muon(parts)
    second.load_state({name: tensor.clone() for name, tensor in first.state().items()})
    _run(second, parts, 4, first=2)
    assert all(torch.equal(p, q) for p, q in zip(whole, parts, strict=True))
    assert "second.1" not in first.state()


def test_matrices_of_a_flat_parameter_move_as_if_they_were_apart():
    widths, generator = (10, 24, 24, 6), torch.Generator().manual_seed(3)
    flat = torch.randn(weight_count(widths), generator=generator)
    apart = [part.clone() for part in split_weights(flat, widths)]
    whole = Muon([ParameterGroup([flat], 0.02, matrices=partial(split_weights, widths=widths))])
    single = Muon([ParameterGroup(apart, 0.02, matrices=rows)])
    for _ in range(3):
        gradient = torch.randn(len(flat), generator=generator)
        whole.gradient(flat).copy_(gradient)
        for p, part in zip(apart, split_weights(gradient, widths), strict=True):
            single.gradient(p).copy_(part)
        whole.step()
        single.step()
    torch.testing.assert_close(flat, torch.cat([p.flatten() for p in apart]))


def test_matrices_decay_by_a_share_of_their_rate_and_nothing_else_does():
    """Decoupled: what is taken off does not depend on the gradient, and has no part in the momentum."""
    kept, faded = _parameters(), _parameters()
    plain, decaying = (
        Muon([ParameterGroup(p[:1], 0.02, matrices=rows, matrix_decay=decay)])
        for p, decay in ((kept, 0.0), (faded, 0.3))
    )
    start = kept[0].clone()
    for p, optimiser in ((kept, plain), (faded, decaying)):
        optimiser.gradient(p[0]).add_(_gradients(0)[0])
        optimiser.step(0.5)
    torch.testing.assert_close(kept[0] - faded[0], 0.02 * 0.5 * 0.3 * start)
    torch.testing.assert_close(plain.buffers(kept[0])[1], decaying.buffers(faded[0])[1])
