"""Differentiable losses for JAX, and training that knows when to stop.

Each family is a module: ``from jaxloss import regression; regression.huber(predictions, targets)``.
``python -m jaxloss`` lists them all.
"""

import importlib
import importlib.util
import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for editors; at run time a module is imported when it is first used
    from jaxloss import catalogue as catalogue
    from jaxloss import compose as compose
    from jaxloss import evaluation as evaluation
    from jaxloss import kernels as kernels
    from jaxloss import plotting as plotting
    from jaxloss import training as training
    from jaxloss.core.reducing import PartialMean as PartialMean
    from jaxloss.core.reducing import partial_mean as partial_mean
    from jaxloss.losses import agreement as agreement
    from jaxloss.losses import auc as auc
    from jaxloss.losses import bounded as bounded
    from jaxloss.losses import box as box
    from jaxloss.losses import calibration as calibration
    from jaxloss.losses import class_margin as class_margin
    from jaxloss.losses import classification as classification
    from jaxloss.losses import competing_risks as competing_risks
    from jaxloss.losses import contrastive as contrastive
    from jaxloss.losses import counts as counts
    from jaxloss.losses import crps as crps
    from jaxloss.losses import crps_limits as crps_limits
    from jaxloss.losses import crps_shapes as crps_shapes
    from jaxloss.losses import discrete_survival as discrete_survival
    from jaxloss.losses import distillation as distillation
    from jaxloss.losses import divergence as divergence
    from jaxloss.losses import ensemble as ensemble
    from jaxloss.losses import evidential as evidential
    from jaxloss.losses import failure_time as failure_time
    from jaxloss.losses import feature_distillation as feature_distillation
    from jaxloss.losses import fenchel_young as fenchel_young
    from jaxloss.losses import group_policy as group_policy
    from jaxloss.losses import hierarchical as hierarchical
    from jaxloss.losses import imbalance as imbalance
    from jaxloss.losses import language as language
    from jaxloss.losses import likelihood as likelihood
    from jaxloss.losses import long_tail as long_tail
    from jaxloss.losses import margin as margin
    from jaxloss.losses import metric as metric
    from jaxloss.losses import mixture as mixture
    from jaxloss.losses import multilabel as multilabel
    from jaxloss.losses import neighbors as neighbors
    from jaxloss.losses import noise as noise
    from jaxloss.losses import noise_correction as noise_correction
    from jaxloss.losses import ordinal as ordinal
    from jaxloss.losses import pairs as pairs
    from jaxloss.losses import pairwise_ranking as pairwise_ranking
    from jaxloss.losses import partial_distillation as partial_distillation
    from jaxloss.losses import policy as policy
    from jaxloss.losses import positive_unlabeled as positive_unlabeled
    from jaxloss.losses import power_divergence as power_divergence
    from jaxloss.losses import preference as preference
    from jaxloss.losses import preference_variants as preference_variants
    from jaxloss.losses import prototypes as prototypes
    from jaxloss.losses import proxy as proxy
    from jaxloss.losses import ranking as ranking
    from jaxloss.losses import ranking_metric as ranking_metric
    from jaxloss.losses import redescending as redescending
    from jaxloss.losses import reference_free as reference_free
    from jaxloss.losses import region as region
    from jaxloss.losses import regression as regression
    from jaxloss.losses import relational_distillation as relational_distillation
    from jaxloss.losses import relative as relative
    from jaxloss.losses import robust as robust
    from jaxloss.losses import routing as routing
    from jaxloss.losses import scoring as scoring
    from jaxloss.losses import self_supervised as self_supervised
    from jaxloss.losses import sequence as sequence
    from jaxloss.losses import survival as survival
    from jaxloss.losses import tagging as tagging
    from jaxloss.losses import unpaired_preference as unpaired_preference
    from jaxloss.losses import warping as warping


def __getattr__(name: str) -> object:
    """Import a family of losses, a subpackage, or ``PartialMean``, when it is first asked for."""
    if name in ("PartialMean", "partial_mean"):
        return getattr(importlib.import_module("jaxloss.core.reducing"), name)
    for module in (f"jaxloss.{name}", f"jaxloss.losses.{name}"):
        if not name.startswith("_") and importlib.util.find_spec(module):
            return importlib.import_module(module)
    raise AttributeError(f"module 'jaxloss' has no attribute {name!r}")


def __dir__() -> list[str]:
    losses = importlib.import_module("jaxloss.losses")
    modules = [*pkgutil.iter_modules(__path__), *pkgutil.iter_modules(losses.__path__)]
    names = {module.name for module in modules if not module.name.startswith("_")}
    return sorted(names | {"PartialMean", "partial_mean"})
