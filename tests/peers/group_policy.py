"""Losses of answers that are rewarded as a whole of the peers."""

import numpy as np
import pytest

from jaxloss import group_policy
from tests.oracles import Row
from tests.oracles.group_policy import near

OPTIONS = {
    "clip_low": "epsilon_low",
    "clip_high": "epsilon_high",
    "gain_slope": "sapo_temperature_pos",
    "loss_slope": "sapo_temperature_neg",
    "gain_power": "vespo_k_pos",
    "gain_rate": "vespo_lambda_pos",
    "loss_power": "vespo_k_neg",
    "loss_rate": "vespo_lambda_neg",
}


def liger(loss_type, level="token"):
    """A loss of its static functions in plain torch: the mean of one answer at a time."""

    def peer(log_p, old, advantages, **options):
        torch = pytest.importorskip("torch")
        chunked = pytest.importorskip("liger_kernel.chunked_loss.grpo_loss")
        names = dict(OPTIONS)
        names["ratio_cap"] = "epsilon_high" if loss_type == "cispo" else "delta"
        losses = [
            chunked.LigerFusedLinearGRPOFunction.ppo_loss_fn(
                torch.tensor(now[None]),
                torch.ones(1, len(now)),
                torch.tensor(advantage[None]),
                torch.ones(1, len(now)),
                old_per_token_logps=torch.tensor(before[None]),
                beta=0.0,
                loss_type=loss_type,
                importance_sampling_level=level,
                **{names[option]: value for option, value in options.items()},
            )[0]
            for now, before, advantage in zip(log_p, old, advantages, strict=True)
        ]
        return np.array(losses).reshape(log_p.shape if level == "token" else -1)

    peer.__name__ = f"{loss_type}_{level}"
    return peer


def single_tokens():
    """One answer per token, so that the mean over an answer is the loss of a token."""
    now, old, advantages = near()
    return now.reshape(-1, 1), old.reshape(-1, 1), np.repeat(advantages, 6)


CLIPS = {"clip_low": 0.1, "clip_high": 0.15, "ratio_cap": 1.3}
SMALL = {"clip_low": 0.03, "clip_high": 0.06}
VESPO = {"gain_power": 1.5, "gain_rate": 0.7, "loss_power": 0.8, "loss_rate": 1.2}
PEERS = [
    Row(group_policy.grpo, liger("bnpo"), CLIPS, single_tokens),
    Row(group_policy.cispo, liger("cispo"), {"ratio_cap": 1.1}, single_tokens),
    Row(group_policy.sapo, liger("sapo"), {"gain_slope": 0.7, "loss_slope": 2.0}, single_tokens),
    Row(group_policy.vespo, liger("vespo"), VESPO, single_tokens),
    Row(group_policy.gspo, liger("grpo", "sequence"), SMALL, near),
]
