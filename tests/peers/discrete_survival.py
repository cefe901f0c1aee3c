"""Discrete survival likelihoods of the peers."""

PEERS = []
