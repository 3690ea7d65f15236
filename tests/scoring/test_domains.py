"""Scores of domains: those of a file with the domain's images alone."""

from dsacap.scoring.domains import score_domains
from dsacap.scoring.frequencies import frequencies_of
from dsacap.scoring.score import score_tokenised
from dsacap.scoring.signature import GIVEN, scored_against

REFERENCES = {
    1: ["a red dog runs", "a dog"],
    2: ["two cats sleep", "cats on a bed"],
    3: ["a red bird"],
    4: ["a bird flies home"],
}
CAPTIONS = {1: ["a red dog", "x"], 2: ["a cat", "y"], 3: ["a red bird", "z"], 4: ["a bird", "w"]}
DOMAIN_OF = {1: "out-domain", 2: "in-domain", 3: "out-domain"}  # 4 has none


def test_a_domain_is_scored_as_if_it_were_alone():
    others = frequencies_of({9: ["a red square"], 8: ["a green dog"], 7: ["blue"]})
    for frequencies in (None, others):

        def score(references, candidates, frequencies=frequencies):
            scored = scored_against(references, GIVEN)
            return score_tokenised(
                references,
                {"": candidates},
                set(),
                None,
                scored,
                with_held_out=False,
                with_meteor=False,
                frequencies=frequencies,
            )[""]

        found = score_domains(REFERENCES, CAPTIONS, DOMAIN_OF, score)
        assert list(found) == ["in-domain", "out-domain"]
        alone = score({i: REFERENCES[i] for i in (1, 3)}, {i: CAPTIONS[i][:1] for i in (1, 3)})
        assert found["out-domain"] == alone["quality"]
        assert "|images:2|" in found["out-domain"]["CIDEr"]["signature"]
        in_domain = found["in-domain"]["CIDEr"]  # of one image
        assert (in_domain["value"] is None) == (frequencies is None)
