"""No library here has losses on routers; see ``tests/oracles/routing.py``."""

PEERS = []
