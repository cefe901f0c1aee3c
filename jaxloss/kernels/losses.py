r"""Losses between hidden states and labels, fused with the output layer in between.

Each is the loss of the same name on ``hidden @ kernel + bias``, without these logits ever existing
all at once: for a large vocabulary they would be by far the largest array of a training step. For
any other loss on logits see :func:`jaxloss.kernels.over_linear`.

What they share: the products are taken in the dtype of ``hidden`` and added up in float32; a
``kernel`` in another dtype is cast, and gets its gradient in its own. Totals are differentiable in
both modes, and more than once. Of a loss per token (``reduction="none"``) there is no forward mode;
the loss on ``hidden @ kernel + bias`` has it.
"""

from typing import Any

from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real

from jaxloss.core.checks import check_not_negative
from jaxloss.core.classes import times
from jaxloss.core.compiling import compiled
from jaxloss.core.exponentials import complement, discounted
from jaxloss.core.focal import focused
from jaxloss.core.inputs import Scalar
from jaxloss.core.reducing import Reduction
from jaxloss.kernels.plans import Plan
from jaxloss.kernels.reducing import head, reduced


@compiled("classes", "plan", "memory", "reduction")
def linear_softmax_cross_entropy(
    hidden: Float[ArrayLike, "*batch features"],
    kernel: Float[ArrayLike, "features vocabulary"],
    labels: Int[ArrayLike, "*batch"],
    *,
    bias: Float[ArrayLike, " vocabulary"] | None = None,
    label_smoothing: Scalar | None = None,
    z_loss: Scalar | None = None,
    softcap: Scalar | None = None,
    temperature: Scalar | None = None,
    classes: int | None = None,
    plan: Plan | None = None,
    memory: int | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Softmax cross-entropy of an output layer, whose logits never exist all at once.

    .. math::
        \ell = \log \sum_c e^{z_c} - (1 - \epsilon)\, z_y - \frac{\epsilon}{C} \sum_c z_c
            + \lambda \Big( \log \sum_c e^{z_c} \Big)^2, \qquad
        z = \frac{s}{\tau} \tanh \frac{h W + b}{s}

    The value and all gradients take three matrix products; two, if the kernel is held constant. It
    is :func:`~jaxloss.losses.classification.softmax_cross_entropy` of the logits, whose value and
    gradient it keeps to the digits of a float32. The unreduced shape is ``*batch``.

    Args:
        kernel: :math:`W`, one row per feature, as flax has it. Tied to an embedding with one row
            per token it is ``embedding.T``, which costs nothing.
        bias: :math:`b`. A bias of ``-inf`` excludes a class.
        label_smoothing: :math:`\epsilon`, the probability mass taken from the label and spread
            evenly over all :math:`C` classes; in [0, 1].
        z_loss: :math:`\lambda`, the weight of the squared log-normalizer, which keeps logits from
            drifting away; not negative.
        softcap: :math:`s`, which logits stay below; positive.
        temperature: :math:`\tau`, positive.
        classes: :math:`C`, how many columns of the kernel exist; the rest is padding, of which
            nothing is ever seen.
        plan: which part of the logits exists at a time; without it, one that suits the shapes.
        memory: how many bytes of temporary memory the plan may take; an error says if none can.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`. A label whose
            ``where`` is false may hold any integer, and its hidden state anything; any other label
            outside [0, C) gives NaN.

    Example:
        >>> hidden, kernel = jnp.ones((3, 8)), jnp.zeros((8, 1000))
        >>> linear_softmax_cross_entropy(hidden, kernel, jnp.array([1, 2, 3]))  # log 1000
        Array(6.907755..., dtype=float32)

    Reference:
        Wijmans et al., "Cut Your Losses in Large-Vocabulary Language Models", 2025.
    """
    name = "linear_softmax_cross_entropy"
    layer = head(name, hidden, kernel, labels, bias=bias, softcap=softcap, temperature=temperature,
                 classes=classes, plan=plan, memory=memory, where=where)  # fmt: skip
    wanted = ("nll",)
    wanted += () if label_smoothing is None else ("even_nll",)
    wanted += () if z_loss is None else ("log_sum_exp",)
    options = {"label_smoothing": label_smoothing, "z_loss": z_loss}
    return reduced(layer, _cross_entropy, wanted, options, weights, reduction)


@compiled("classes", "plan", "memory", "reduction")
def linear_softmax_focal(
    hidden: Float[ArrayLike, "*batch features"],
    kernel: Float[ArrayLike, "features vocabulary"],
    labels: Int[ArrayLike, "*batch"],
    *,
    bias: Float[ArrayLike, " vocabulary"] | None = None,
    gamma: Scalar = 2.0,
    softcap: Scalar | None = None,
    temperature: Scalar | None = None,
    classes: int | None = None,
    plan: Plan | None = None,
    memory: int | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Softmax focal loss of an output layer, whose logits never exist all at once.

    .. math::
        \ell = -(1 - p_y)^\gamma \log p_y, \qquad p = \operatorname{softmax}(z)

    It is :func:`~jaxloss.losses.classification.softmax_focal` of the logits.
    The unreduced shape is ``*batch``.

    Args:
        gamma: :math:`\gamma`, how strongly easy tokens fade; not negative.
        bias, softcap, temperature, classes, plan, memory, where, weights, reduction: as in
            :func:`linear_softmax_cross_entropy`.

    Example:
        >>> hidden, kernel, labels = jnp.ones((3, 8)), jnp.zeros((8, 2)), jnp.array([0, 1, 1])
        >>> linear_softmax_focal(hidden, kernel, labels)  # (1/2)^2 log 2
        Array(0.1732868, dtype=float32)

    Reference:
        Lin et al., "Focal Loss for Dense Object Detection", 2017.
    """
    name = "linear_softmax_focal"
    layer = head(name, hidden, kernel, labels, bias=bias, softcap=softcap, temperature=temperature,
                 classes=classes, plan=plan, memory=memory, where=where)  # fmt: skip
    return reduced(layer, _focal, ("nll",), {"gamma": gamma}, weights, reduction)


@compiled("classes", "plan", "memory", "reduction")
def linear_poly(
    hidden: Float[ArrayLike, "*batch features"],
    kernel: Float[ArrayLike, "features vocabulary"],
    labels: Int[ArrayLike, "*batch"],
    *,
    bias: Float[ArrayLike, " vocabulary"] | None = None,
    linear_weight: Scalar = 1.0,
    softcap: Scalar | None = None,
    temperature: Scalar | None = None,
    classes: int | None = None,
    plan: Plan | None = None,
    memory: int | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Poly-1 loss of an output layer, whose logits never exist all at once.

    .. math::
        \ell = -\log p_y + \epsilon\, (1 - p_y), \qquad p = \operatorname{softmax}(z)

    It is :func:`~jaxloss.losses.noise.poly` of the logits.
    The unreduced shape is ``*batch``.

    Args:
        linear_weight: :math:`\epsilon`, at least -1.
        bias, softcap, temperature, classes, plan, memory, where, weights, reduction: as in
            :func:`linear_softmax_cross_entropy`.

    Example:
        >>> hidden, kernel, labels = jnp.ones((3, 8)), jnp.zeros((8, 2)), jnp.array([0, 1, 1])
        >>> linear_poly(hidden, kernel, labels, linear_weight=2.0)  # log 2 + 2/2
        Array(1.69314..., dtype=float32)

    Reference:
        Leng et al., "PolyLoss: A Polynomial Expansion Perspective of Classification Loss
        Functions", 2022.
    """
    name = "linear_poly"
    layer = head(name, hidden, kernel, labels, bias=bias, softcap=softcap, temperature=temperature,
                 classes=classes, plan=plan, memory=memory, where=where)  # fmt: skip
    return reduced(layer, _poly, ("nll",), {"linear_weight": linear_weight}, weights, reduction)


@compiled("classes", "plan", "memory", "reduction")
def linear_generalized_cross_entropy(
    hidden: Float[ArrayLike, "*batch features"],
    kernel: Float[ArrayLike, "features vocabulary"],
    labels: Int[ArrayLike, "*batch"],
    *,
    bias: Float[ArrayLike, " vocabulary"] | None = None,
    power: Scalar = 0.7,
    softcap: Scalar | None = None,
    temperature: Scalar | None = None,
    classes: int | None = None,
    plan: Plan | None = None,
    memory: int | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Generalized cross-entropy of an output layer, whose logits never exist all at once.

    .. math::
        \ell = \frac{1 - p_y^q}{q}, \qquad p = \operatorname{softmax}(z)

    It is :func:`~jaxloss.losses.noise.generalized_cross_entropy` of the logits.
    The unreduced shape is ``*batch``.

    Args:
        power: :math:`q`, in [0, 1].
        bias, softcap, temperature, classes, plan, memory, where, weights, reduction: as in
            :func:`linear_softmax_cross_entropy`.

    Example:
        >>> hidden, kernel, labels = jnp.ones((3, 8)), jnp.zeros((8, 2)), jnp.array([0, 1, 1])
        >>> linear_generalized_cross_entropy(hidden, kernel, labels, power=0.5)
        Array(0.585786..., dtype=float32)

    Reference:
        Zhang and Sabuncu, "Generalized Cross Entropy Loss for Training Deep Neural Networks with
        Noisy Labels", 2018.
    """
    name = "linear_generalized_cross_entropy"
    layer = head(name, hidden, kernel, labels, bias=bias, softcap=softcap, temperature=temperature,
                 classes=classes, plan=plan, memory=memory, where=where)  # fmt: skip
    power = check_not_negative(name, "power", power)
    return reduced(layer, _generalized, ("nll",), {"power": power}, weights, reduction)


@compiled("classes", "plan", "memory", "reduction")
def linear_brier(
    hidden: Float[ArrayLike, "*batch features"],
    kernel: Float[ArrayLike, "features vocabulary"],
    labels: Int[ArrayLike, "*batch"],
    *,
    bias: Float[ArrayLike, " vocabulary"] | None = None,
    softcap: Scalar | None = None,
    temperature: Scalar | None = None,
    classes: int | None = None,
    plan: Plan | None = None,
    memory: int | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Brier score of an output layer, whose logits never exist all at once.

    .. math::
        \ell = \sum_c (p_c - [c = y])^2, \qquad p = \operatorname{softmax}(z)

    It is :func:`~jaxloss.losses.scoring.brier` of the softmax of the logits: bounded by 2,
    however sure a mistake is.
    The unreduced shape is ``*batch``.

    Args:
        bias, softcap, temperature, classes, plan, memory, where, weights, reduction: as in
            :func:`linear_softmax_cross_entropy`.

    Example:
        >>> hidden, kernel, labels = jnp.ones((3, 8)), jnp.zeros((8, 2)), jnp.array([0, 1, 1])
        >>> linear_brier(hidden, kernel, labels)
        Array(0.5, dtype=float32)

    Reference:
        Brier, "Verification of Forecasts Expressed in Terms of Probability", 1950.
    """
    name = "linear_brier"
    layer = head(name, hidden, kernel, labels, bias=bias, softcap=softcap, temperature=temperature,
                 classes=classes, plan=plan, memory=memory, where=where)  # fmt: skip
    return reduced(layer, _brier, ("nll", "rivals"), {}, weights, reduction)


@compiled("classes", "plan", "memory", "reduction")
def linear_confidence_penalty(
    hidden: Float[ArrayLike, "*batch features"],
    kernel: Float[ArrayLike, "features vocabulary"],
    labels: Int[ArrayLike, "*batch"],
    *,
    bias: Float[ArrayLike, " vocabulary"] | None = None,
    entropy_weight: Scalar = 0.1,
    softcap: Scalar | None = None,
    temperature: Scalar | None = None,
    classes: int | None = None,
    plan: Plan | None = None,
    memory: int | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Cross-entropy of an output layer minus a share of its entropy, without all logits at once.

    .. math::
        \ell = -\log p_y - \beta H(p), \qquad H(p) = -\sum_c p_c \log p_c

    Keeps a model from being surer than it needs to be, as label smoothing does, but asks nothing
    about which other classes it prefers. It may be negative.
    The unreduced shape is ``*batch``.

    Args:
        entropy_weight: :math:`\beta`, not negative.
        bias, softcap, temperature, classes, plan, memory, where, weights, reduction: as in
            :func:`linear_softmax_cross_entropy`.

    Example:
        >>> hidden, kernel, labels = jnp.ones((3, 8)), jnp.zeros((8, 2)), jnp.array([0, 1, 1])
        >>> linear_confidence_penalty(hidden, kernel, labels)  # (1 - 0.1) log 2
        Array(0.62383..., dtype=float32)

    Reference:
        Pereyra et al., "Regularizing Neural Networks by Penalizing Confident Output
        Distributions", 2017.
    """
    name = "linear_confidence_penalty"
    layer = head(name, hidden, kernel, labels, bias=bias, softcap=softcap, temperature=temperature,
                 classes=classes, plan=plan, memory=memory, where=where)  # fmt: skip
    return reduced(
        layer,
        _confidence_penalty,
        ("nll", "entropy"),
        {"entropy_weight": entropy_weight},
        weights,
        reduction,
    )


def _cross_entropy(found: Any, options: Any) -> Float[Array, "*rows"]:
    loss = found.nll
    if (smoothing := options["label_smoothing"]) is not None:
        loss = times(1 - smoothing, loss) + times(smoothing, found.even_nll)
    if options["z_loss"] is not None:
        loss = loss + options["z_loss"] * found.log_sum_exp**2
    return loss


def _focal(found: Any, options: Any) -> Float[Array, "*rows"]:
    return focused(found.nll, options["gamma"])


def _poly(found: Any, options: Any) -> Float[Array, "*rows"]:
    return found.nll + options["linear_weight"] * complement(found.nll)


def _generalized(found: Any, options: Any) -> Float[Array, "*rows"]:
    return discounted(found.nll, options["power"])


def _brier(found: Any, options: Any) -> Float[Array, "*rows"]:
    return found.rivals + complement(found.nll) ** 2


def _confidence_penalty(found: Any, options: Any) -> Float[Array, "*rows"]:
    return found.nll - options["entropy_weight"] * found.entropy
