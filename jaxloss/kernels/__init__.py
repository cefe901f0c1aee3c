"""Losses whose logits never exist all at once: fused with the output layer, or in tiles."""

from jaxloss.kernels import contrastive as contrastive
from jaxloss.kernels.linear_distillation import linear_jensen_shannon as linear_jensen_shannon
from jaxloss.kernels.linear_distillation import linear_kl as linear_kl
from jaxloss.kernels.linear_distillation import linear_reverse_kl as linear_reverse_kl
from jaxloss.kernels.linear_distillation import over_two_linear as over_two_linear
from jaxloss.kernels.linear_preference import linear_dpo as linear_dpo
from jaxloss.kernels.linear_preference import over_answers as over_answers
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
from jaxloss.kernels.scores import (
    linear_sequence_log_probabilities as linear_sequence_log_probabilities,
)
from jaxloss.kernels.scores import linear_statistics as linear_statistics
from jaxloss.kernels.statistics import Statistics as Statistics
