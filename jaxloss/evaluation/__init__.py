"""What a model is worth: exact means, honest comparisons, landscapes and gradients."""

from jaxloss.evaluation.comparing import Compared as Compared
from jaxloss.evaluation.comparing import Comparison as Comparison
from jaxloss.evaluation.comparing import compare as compare
from jaxloss.evaluation.evaluating import Evaluation as Evaluation
from jaxloss.evaluation.evaluating import evaluate as evaluate
from jaxloss.evaluation.evaluating import evaluate_each as evaluate_each
from jaxloss.evaluation.exact import ExactMean as ExactMean
from jaxloss.evaluation.exact import Summary as Summary
from jaxloss.evaluation.exact import exact_mean as exact_mean
from jaxloss.evaluation.measuring import Examples as Examples
