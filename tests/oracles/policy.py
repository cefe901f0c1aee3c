"""Losses of policies in float64 NumPy, one action at a time."""

import numpy as np

from jaxloss import policy
from tests.oracles import Row


def policy_gradient(log_p, advantages):
    return -np.log(np.exp(log_p) ** advantages)


def ppo_term(log_p, old, advantage, clip_low=0.2, clip_high=0.2, ratio_cap=np.inf):
    ratio = np.exp(log_p) / np.exp(old)
    clipped = min(max(ratio, 1 - clip_low), 1 + clip_high)
    objective = min(ratio * advantage, clipped * advantage)
    return -max(objective, ratio_cap * advantage) if advantage < 0 else -objective


def ppo(log_p, old, advantages, **options):
    losses = np.zeros(log_p.shape)
    for i in np.ndindex(*losses.shape):
        losses[i] = ppo_term(log_p[i], old[i], advantages[i], **options)
    return losses


def clipped_value(values, returns, old_values, clip=0.2):
    near = np.clip(values, old_values - clip, old_values + clip)
    return 0.5 * np.maximum((values - returns) ** 2, (near - returns) ** 2)


def negative_entropy(logits):
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return (p * np.log(p)).sum(-1)


def kl_k1(log_p, reference):
    return np.log(np.exp(log_p) / np.exp(reference))


def kl_k2(log_p, reference):
    return 0.5 * kl_k1(log_p, reference) ** 2


def kl_k3(log_p, reference):
    ratio = np.exp(reference) / np.exp(log_p)
    return ratio - 1 - np.log(ratio)


ROWS = [
    Row(policy.policy_gradient, policy_gradient),
    Row(policy.ppo, ppo),
    Row(policy.ppo, ppo, {"clip_low": 0.3, "clip_high": 0.6, "ratio_cap": 2.5}),
    Row(policy.clipped_value, clipped_value),
    Row(policy.clipped_value, clipped_value, {"clip": 0.7}),
    Row(policy.negative_entropy, negative_entropy),
    Row(policy.kl_k1, kl_k1),
    Row(policy.kl_k2, kl_k2),
    Row(policy.kl_k3, kl_k3),
    Row(policy.kl_k3_straight_through, kl_k3),
]
