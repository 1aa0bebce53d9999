import torch

from refam.training.muon import Muon, orthogonalise


def test_orthogonalised_matrices_keep_their_directions_and_lose_their_scale():
    torch.manual_seed(0)
    matrices = torch.randn(3, 8, 20) * torch.tensor([0.01, 1.0, 100.0])[:, None, None]
    result = orthogonalise(matrices)
    assert ((torch.linalg.svdvals(result) > 0.6) & (torch.linalg.svdvals(result) < 1.3)).all()
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    cosine = torch.nn.functional.cosine_similarity(result.flatten(1), (left @ right).flatten(1))
    assert (cosine > 0.97).all()


def test_steps_are_those_of_torchs_muon():
    torch.manual_seed(0)
    ours = [torch.nn.Parameter(torch.randn(shape)) for shape in ((6, 10), (10, 6), (6, 10))]
    theirs = [torch.nn.Parameter(parameter.detach().clone()) for parameter in ours]
    steps = (
        Muon(ours, lr=0.05, weight_decay=0.1),
        torch.optim.Muon(theirs, lr=0.05, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
    )
    start = [parameter.detach().clone() for parameter in ours]
    for _ in range(3):
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn_like(mine)
            other.grad = mine.grad.clone()
        for optimizer in steps:
            optimizer.step()
    for mine, other, before in zip(ours, theirs, start, strict=True):
        moved = (other - before).norm()
        assert (mine - other).norm() < 0.05 * moved  # theirs computes in bfloat16
