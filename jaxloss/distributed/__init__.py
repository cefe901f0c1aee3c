"""Losses over a mesh of devices, each of which does its share and no more."""

from jaxloss.distributed.batches import in_ring as in_ring
from jaxloss.distributed.sharding import sharded as sharded
