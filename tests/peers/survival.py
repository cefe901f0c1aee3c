"""The partial likelihoods of lifelines: sums over a batch, so all of it on the first example."""

PEERS = []
