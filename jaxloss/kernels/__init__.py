"""Losses fused with the output layer that makes the logits, which then never exist all at once."""

from jaxloss.kernels.losses import linear_brier as linear_brier
from jaxloss.kernels.losses import linear_confidence_penalty as linear_confidence_penalty
from jaxloss.kernels.losses import (
    linear_generalized_cross_entropy as linear_generalized_cross_entropy,
)
from jaxloss.kernels.losses import linear_poly as linear_poly
from jaxloss.kernels.losses import linear_softmax_cross_entropy as linear_softmax_cross_entropy
from jaxloss.kernels.losses import linear_softmax_focal as linear_softmax_focal
from jaxloss.kernels.over import over_linear as over_linear
from jaxloss.kernels.plans import Plan as Plan
from jaxloss.kernels.scores import linear_entropy as linear_entropy
from jaxloss.kernels.scores import linear_log_probabilities as linear_log_probabilities
from jaxloss.kernels.scores import linear_predictions as linear_predictions
from jaxloss.kernels.scores import linear_statistics as linear_statistics
from jaxloss.kernels.statistics import Statistics as Statistics
