"""None of the peers corrects labels."""

from tests.oracles import Row

PEERS: list[Row] = []
