"""No installed peer has these."""

PEERS = []
