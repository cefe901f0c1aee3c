"""Losses on how likely two answers have become of the peers."""

from jaxloss import preference_variants
from tests.oracles import Row
from tests.peers.preference import liger

PEERS = [
    Row(preference_variants.nca, liger("nca_pair"), {"scale": 0.7}),
    Row(preference_variants.bco_pair, liger("bco_pair"), {"scale": 0.7}),
    Row(preference_variants.sppo, liger("sppo_hard"), {"scale": 0.7}),
    Row(preference_variants.apo_zero, liger("apo_zero"), {"scale": 0.7}),
    Row(preference_variants.apo_down, liger("apo_down"), {"scale": 0.7}),
]
