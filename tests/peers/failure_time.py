"""Likelihoods of failure times of the peers."""

PEERS = []
