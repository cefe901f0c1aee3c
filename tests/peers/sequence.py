"""Peers of :mod:`jaxloss.losses.sequence`, imported only when called."""

PEERS = []
