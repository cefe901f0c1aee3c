"""Peers of :mod:`jaxloss.losses.prototypes`: their codes are repositories, not libraries."""

PEERS = []
