"""Losses made of losses: functions that take losses and return one, or reduce any."""

from jaxloss.compose.difficulty import difficulty_density as difficulty_density
from jaxloss.compose.difficulty import harmonized as harmonized
from jaxloss.compose.difficulty import superloss as superloss
from jaxloss.compose.fenchel_young import fenchel_young as fenchel_young
from jaxloss.compose.perturbing import gumbel as gumbel
from jaxloss.compose.perturbing import perturbed_maximum as perturbed_maximum
from jaxloss.compose.tails import cvar as cvar
from jaxloss.compose.tails import hard_mean as hard_mean
from jaxloss.compose.tails import tilted as tilted
from jaxloss.compose.tails import trimmed_mean as trimmed_mean
from jaxloss.compose.weighting import WeightedSum as WeightedSum
from jaxloss.compose.weighting import weighted as weighted
