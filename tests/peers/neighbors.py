"""Peers of :mod:`jaxloss.losses.neighbors`, imported only when called."""

import pytest

from jaxloss.losses import neighbors
from tests.oracles import Row
from tests.peers.metric import each


def pml(loss, options, embeddings, labels, power):
    distances = pytest.importorskip("pytorch_metric_learning.distances")

    distance = distances.LpDistance(normalize_embeddings=False, power=power)
    return each(loss, options, embeddings, labels, distance=distance)


def pml_nca(embeddings, labels, temperature):
    return pml("NCALoss", {"softmax_scale": 1 / temperature}, embeddings, labels, power=2)


def pml_lifted_structure(embeddings, labels, margin):
    return pml("LiftedStructureLoss", {"neg_margin": margin}, embeddings, labels, power=1)


def pml_generalized_lifted(embeddings, labels, margin):
    options = {"neg_margin": margin}
    return pml("GeneralizedLiftedStructureLoss", options, embeddings, labels, power=1)


PEERS = [
    Row(neighbors.soft_nearest_neighbor, pml_nca, {"temperature": 3.0}),
    Row(neighbors.lifted_structure, pml_lifted_structure, {"margin": 1.7}),
    Row(neighbors.generalized_lifted_structure, pml_generalized_lifted, {"margin": -1.7}),
]
