"""Distillation of features of the peers."""

PEERS = []
