"""Losses made of losses: functions that take losses and return one, or reduce any."""

from jaxloss.compose.tails import cvar as cvar
from jaxloss.compose.tails import hard_mean as hard_mean
from jaxloss.compose.tails import tilted as tilted
from jaxloss.compose.tails import trimmed_mean as trimmed_mean
from jaxloss.compose.weighting import WeightedSum as WeightedSum
from jaxloss.compose.weighting import weighted as weighted
