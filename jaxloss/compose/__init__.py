"""Losses made of losses: functions that take losses and return one."""

from jaxloss.compose.weighting import WeightedSum as WeightedSum
from jaxloss.compose.weighting import weighted as weighted
