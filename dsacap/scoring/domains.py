"""Scores of the parts of a data set, such as nocaps' in-domain, near-domain and out-domain images.

A domain is scored as if it were a file of its own, as is usual for nocaps: CIDEr takes its document
frequencies from the domain's references, unless others are given.
"""

from collections.abc import Mapping
from typing import Any

from dsacap.scoring.frequencies import Frequencies
from dsacap.scoring.score import Captions, Spice, score_tokenised
from dsacap.scoring.signature import scored_against


def score_domains(
    references: Captions,
    tokenised: Captions,
    domain_of: Mapping[int, str],
    tokenizer: str | None = None,
    *,
    spice: Spice = "off",
    with_meteor: bool = True,
    frequencies: Frequencies | None = None,
) -> dict[str, dict[str, Any]]:
    """Score the images of each domain, SPIDEr included.

    Args:
        references: Tokenised references by image id.
        tokenised: Tokenised captions by image id, of which the first one is scored.
        domain_of: The domain of each image that has one.
        tokenizer: See `scored_against`.
        spice: See `score_tokenised`.
        with_meteor: See `score_tokenised`.
        frequencies: See `score_tokenised`.

    Returns:
        Domain -> metric -> score, in alphabetical order; see `score_tokenised`.
    """
    found = {}
    for domain in sorted(set(domain_of.values())):
        images = [i for i in tokenised if domain_of.get(i) == domain]
        of_domain = {i: references[i] for i in images}
        parts = score_tokenised(
            of_domain,
            {domain: {i: tokenised[i][:1] for i in images}},
            set(),
            None,
            scored_against(of_domain, tokenizer),
            spice=spice,
            with_held_out=False,
            with_spider=True,
            with_meteor=with_meteor,
            frequencies=frequencies,
        )
        found[domain] = parts[domain]["quality"]
    return found
