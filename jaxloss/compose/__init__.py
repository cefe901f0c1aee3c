"""Losses made of losses: functions that take losses and return one, or reduce any."""

from jaxloss.compose.balancing import Balancer as Balancer
from jaxloss.compose.balancing import dwa as dwa
from jaxloss.compose.balancing import famo as famo
from jaxloss.compose.balancing import gradnorm as gradnorm
from jaxloss.compose.balancing import uncertainty as uncertainty
from jaxloss.compose.conflicts import cagrad as cagrad
from jaxloss.compose.conflicts import mgda as mgda
from jaxloss.compose.conflicts import nash as nash
from jaxloss.compose.conflicts import pcgrad as pcgrad
from jaxloss.compose.gram import Gram as Gram
from jaxloss.compose.gram import combined as combined
from jaxloss.compose.gram import gram as gram
from jaxloss.compose.gram import term_gradients as term_gradients
from jaxloss.compose.groups import group_dro as group_dro
from jaxloss.compose.groups import group_means as group_means
from jaxloss.compose.groups import worst_group as worst_group
from jaxloss.compose.tails import cvar as cvar
from jaxloss.compose.tails import hard_mean as hard_mean
from jaxloss.compose.tails import tilted as tilted
from jaxloss.compose.tails import trimmed_mean as trimmed_mean
from jaxloss.compose.weighting import WeightedSum as WeightedSum
from jaxloss.compose.weighting import weighted as weighted
