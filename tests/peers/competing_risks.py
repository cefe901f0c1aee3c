"""No library of the ``oracles`` extra has these losses."""

PEERS = []
