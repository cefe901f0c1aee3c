"""Losses with the signatures of the plain ones, streamed or in tiles."""

from jaxloss.kernels import contrastive as contrastive
