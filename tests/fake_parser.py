"""A stand-in for the Java that parses captions and scores their tuples."""

from dsacap.common.errors import UserError
from dsacap.scoring.metrics import spice


class FakeJava:
    """Takes each word for an object, without synonyms, and records the captions it parsed."""

    def __init__(self):
        self.parsed = []

    def call(self, job, **arguments):
        return getattr(self, job)(**arguments)

    def spice_tuples(self, captions, jars, annotators):
        self.parsed += captions
        if "fails" in captions:
            raise UserError("Java fails")
        return [[[word] for word in caption.split()] for caption in captions]

    def spice_scores(self, images, jars):
        return [self._score(*({word for (word,) in side} for side in sides)) for sides in images]

    @staticmethod
    def _score(predicted, true):
        f = 2 * len(predicted & true) / (len(predicted) + len(true)) if predicted | true else 0
        known = {"f": f, "pr": 0.5, "re": 0.25}
        undefined = dict.fromkeys(known)
        scores = {"All": known, **dict.fromkeys(spice.CATEGORIES, undefined)}
        return {**scores, "Object": known if true else undefined}
