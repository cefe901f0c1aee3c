"""Losses of answers that are rewarded as a whole in float64 NumPy, token by token."""

import numpy as np

from jaxloss import group_policy
from tests.oracles import Row


def ppo(ratio, advantage, clip_low, clip_high, ratio_cap=np.inf):
    clipped = min(max(ratio, 1 - clip_low), 1 + clip_high)
    objective = min(ratio * advantage, clipped * advantage)
    return -max(objective, ratio_cap * advantage) if advantage < 0 else -objective


def by_token(log_p, term):
    losses = np.zeros(log_p.shape)
    for b, t in np.ndindex(*losses.shape):
        losses[b, t] = term(b, t)
    return losses


def grpo(log_p, old, advantages, clip_low=0.2, clip_high=0.2, ratio_cap=np.inf):
    ratio = np.exp(log_p - old)
    return by_token(
        log_p, lambda b, t: ppo(ratio[b, t], advantages[b], clip_low, clip_high, ratio_cap)
    )


def gspo(log_p, old, advantages, clip_low=3e-4, clip_high=4e-4, ratio_cap=np.inf):
    ratios = np.exp(log_p - old).prod(-1) ** (1 / log_p.shape[-1])
    pairs = zip(ratios, advantages, strict=True)
    return [ppo(ratio, advantage, clip_low, clip_high, ratio_cap) for ratio, advantage in pairs]


def gmpo(log_p, old, advantages, clip_low=0.33, clip_high=0.49):
    objectives = -grpo(log_p, old, advantages, clip_low, clip_high)
    mean = np.abs(objectives).prod(-1) ** (1 / log_p.shape[-1])
    return -np.sign(advantages) * mean


def cispo(log_p, old, advantages, ratio_cap=5.0):
    weight = np.minimum(np.exp(log_p) / np.exp(old), ratio_cap)
    return -weight * advantages[:, None] * log_p


def sapo(log_p, old, advantages, gain_slope=1.0, loss_slope=1.05):
    def term(b, t):
        slope = gain_slope if advantages[b] > 0 else loss_slope
        ratio = np.exp(log_p[b, t] - old[b, t])
        return -4 / slope / (1 + np.exp(-slope * (ratio - 1))) * advantages[b]

    return by_token(log_p, term)


def vespo(log_p, old, advantages, gain_power=2.0, gain_rate=3.0, loss_power=3.0, loss_rate=2.0):
    def term(b, t):
        k, rate = (gain_power, gain_rate) if advantages[b] > 0 else (loss_power, loss_rate)
        w = np.exp((log_p[b] - old[b]).sum())
        return -np.exp(rate) * w**k * np.exp(-rate * w) * advantages[b] * log_p[b, t]

    return by_token(log_p, term)


def near():
    """Policies that are not far from each other, so that not all is clipped."""
    random = np.random.default_rng(0)
    old = -random.uniform(0.5, 4, size=(8, 6))
    now = old + random.normal(size=old.shape) * 0.2
    return tuple(x.astype(np.float32) for x in (now, old, random.normal(size=8)))


WIDE = {"clip_low": 0.03, "clip_high": 0.06, "ratio_cap": 1.05}
VESPO = {"gain_power": 1.5, "gain_rate": 0.7, "loss_power": 0.8, "loss_rate": 1.2}
CASES = [
    (group_policy.grpo, grpo, {}),
    (group_policy.grpo, grpo, {"clip_low": 0.1, "clip_high": 0.15, "ratio_cap": 1.3}),
    (group_policy.gspo, gspo, {}),
    (group_policy.gspo, gspo, WIDE),
    (group_policy.gmpo, gmpo, {}),
    (group_policy.gmpo, gmpo, {"clip_low": 0.1, "clip_high": 0.15}),
    (group_policy.cispo, cispo, {}),
    (group_policy.cispo, cispo, {"ratio_cap": 1.1}),
    (group_policy.sapo, sapo, {}),
    (group_policy.sapo, sapo, {"gain_slope": 0.7, "loss_slope": 2.0}),
    (group_policy.vespo, vespo, {}),
    (group_policy.vespo, vespo, VESPO),
]
ROWS = [Row(*case, inputs=near) for case in CASES]
