"""Distillation of the peers."""

import numpy as np
import pytest

from jaxloss import distillation
from tests.oracles import Row


def torch_kl(student, teacher, temperature):
    """Torch takes logarithms of both, and leaves the square of the temperature to the caller."""
    torch = pytest.importorskip("torch")

    s, t = (torch.log_softmax(torch.as_tensor(z) / temperature, -1) for z in (student, teacher))
    divergence = torch.nn.functional.kl_div(s, t, log_target=True, reduction="none")
    return temperature**2 * divergence.sum(-1).numpy()


def liger_jensen_shannon(student, teacher, teacher_share):
    """The sum over a batch of one."""
    torch = pytest.importorskip("torch")
    chunked = pytest.importorskip("liger_kernel.chunked_loss.jsd_loss")

    loss = chunked.LigerFusedLinearJSDFunction.distillation_loss_fn
    rows = zip(torch.as_tensor(student), torch.as_tensor(teacher), strict=True)
    return np.array([loss(s[None], t[None], beta=teacher_share) for s, t in rows])


PEERS = [
    Row(distillation.kl, torch_kl, {"temperature": 3.0}),
    Row(distillation.jensen_shannon, liger_jensen_shannon, {"teacher_share": 0.3}),
]
