"""Losses of policies of the peers; see ``tests/peers/group_policy.py`` for those on answers."""

PEERS = []
