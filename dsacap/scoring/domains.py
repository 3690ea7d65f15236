"""Scores of the parts of a data set, such as nocaps' in-domain, near-domain and out-domain images.

A domain is scored as if it were a file of its own, as is usual for nocaps: CIDEr takes its document
frequencies from the domain's references, unless others are given.
"""

from collections.abc import Callable, Mapping
from typing import Any

from dsacap.scoring.score import Captions


def score_domains(
    references: Captions,
    tokenised: Captions,
    domain_of: Mapping[int, str],
    score: Callable[[Captions, Captions], Mapping[str, Any]],
) -> dict[str, dict[str, Any]]:
    """Score the images of each domain.

    Args:
        references: Tokenised references by image id.
        tokenised: Tokenised captions by image id, of which the first one is scored.
        domain_of: The domain of each image that has one.
        score: Scores captions against references, both by image id, as `score_tokenised` does for
            one decoding.

    Returns:
        Domain -> metric -> score, in alphabetical order.
    """
    found = {}
    for domain in sorted(set(domain_of.values())):
        images = [i for i in tokenised if domain_of.get(i) == domain]
        parts = score({i: references[i] for i in images}, {i: tokenised[i][:1] for i in images})
        found[domain] = parts["quality"]
    return found
