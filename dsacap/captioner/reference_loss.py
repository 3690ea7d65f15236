"""The loss over the references of an image, for systems that say how likely each of them is."""

import math

import torch
from torch import Tensor

from dsacap.text.vocabulary import EOS


def reference_loss(log_prob_BR: Tensor, captions_BRL: Tensor, beta: float) -> Tensor:
    """-(1/beta) log mean_r exp(beta loglik_r / (n_r + 1)), the mean over the batch; at beta 0 the mean over r.

    n_r is the number of words of reference r, closed by EOS and filled with PAD.
    """
    words_of_BR = (captions_BRL > EOS).sum(-1)
    return -soft_maximum(log_prob_BR / (words_of_BR + 1), beta).mean()


def soft_maximum(x_BR: Tensor, beta: float) -> Tensor:
    """(1/beta) log mean exp(beta x) over R: the mean at beta 0, the maximum at beta infinity."""
    if beta == 0:
        return x_BR.mean(-1)
    return (torch.logsumexp(beta * x_BR, dim=-1) - math.log(x_BR.shape[-1])) / beta
