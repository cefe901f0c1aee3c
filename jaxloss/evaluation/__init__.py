"""What a model is worth: exact means, honest comparisons, landscapes and gradients."""

from jaxloss.evaluation.calibration import Calibration as Calibration
from jaxloss.evaluation.calibration import calibration as calibration
from jaxloss.evaluation.comparing import Compared as Compared
from jaxloss.evaluation.comparing import Comparison as Comparison
from jaxloss.evaluation.comparing import compare as compare
from jaxloss.evaluation.evaluating import Evaluation as Evaluation
from jaxloss.evaluation.evaluating import evaluate as evaluate
from jaxloss.evaluation.evaluating import evaluate_each as evaluate_each
from jaxloss.evaluation.exact import ExactMean as ExactMean
from jaxloss.evaluation.exact import Summary as Summary
from jaxloss.evaluation.exact import exact_mean as exact_mean
from jaxloss.evaluation.gradients import Conflict as Conflict
from jaxloss.evaluation.gradients import GradientCheck as GradientCheck
from jaxloss.evaluation.gradients import check_gradient as check_gradient
from jaxloss.evaluation.gradients import gradient_conflict as gradient_conflict
from jaxloss.evaluation.gradients import zero_gradients as zero_gradients
from jaxloss.evaluation.landscapes import Landscape as Landscape
from jaxloss.evaluation.landscapes import filter_normalized as filter_normalized
from jaxloss.evaluation.landscapes import landscape as landscape
from jaxloss.evaluation.landscapes import random_directions as random_directions
from jaxloss.evaluation.measuring import Examples as Examples
