"""Relational distillation of the peers."""

PEERS = []
