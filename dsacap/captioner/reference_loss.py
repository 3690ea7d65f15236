"""The loss over an image's references, for systems that compute the likelihood of each."""

import math

import torch
from torch import Tensor

from dsacap.text.vocabulary import EOS


def reference_loss(log_prob_BR: Tensor, captions_BRL: Tensor, beta: float) -> Tensor:
    """Return the batch's mean of -(1/beta) log mean_r exp(beta loglik_r / (n_r + 1)).

    n_r is the number of words of reference r. At beta 0 it is the mean over r.

    Args:
        log_prob_BR: Log-likelihoods of shape `(batch, references)`.
        captions_BRL: References of shape `(batch, references, length)`, terminated by EOS and
            padded with PAD.
        beta: How sharply the loss selects the most likely reference; at least 0.
    """
    return -soft_maximum(per_word(log_prob_BR, captions_BRL), beta).mean()


def per_word(log_prob_BR: Tensor, captions_BRL: Tensor) -> Tensor:
    """Return loglik_r / (n_r + 1), where the end counts as a word."""
    return log_prob_BR / ((captions_BRL > EOS).sum(-1) + 1)


def soft_maximum(x_BR: Tensor, beta: float) -> Tensor:
    """Return (1/beta) log mean exp(beta x) over R: the mean at beta 0, in the limit the maximum."""
    if beta == 0:
        return x_BR.mean(-1)
    return (torch.logsumexp(beta * x_BR, dim=-1) - math.log(x_BR.shape[-1])) / beta
