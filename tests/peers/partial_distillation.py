"""Partial distillation of the peers."""

PEERS = []
