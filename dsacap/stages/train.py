"""The stage `train`: a system is trained."""

from dataclasses import replace

import torch

from dsacap.common.files import read_json
from dsacap.runs.inputs import Inputs
from dsacap.runs.layout import Layout, manifest_of
from dsacap.stages.expectation import check_expected
from dsacap.stages.fitting import Prepared, fit, training_examples


def train_system(layout: Layout, system: str, seed: int) -> dict:
    """Train a system.

    Returns:
        Facts for the manifest. The cost of a distilled system includes its teacher's training and
        captions.

    Raises:
        UserError: The system is worse than `expected` of it.
    """
    facts = fit(layout, system, seed, prepared, "train", keep="best")
    check_expected(layout, system, seed, facts)
    if (teacher := layout.config.systems[system].distilled_from) is None:
        return facts
    spent = [
        read_json(manifest_of(layout.system(teacher.system, seed)))["facts"]["train_cpu_seconds"],
        read_json(manifest_of(layout.lessons(system, seed)))["cpu_seconds"],
        facts["train_cpu_seconds"],
    ]
    return facts | {"train_cpu_seconds": round(sum(spent), 1)}


def prepared(inputs: Inputs, system: str, seed: int) -> Prepared:
    """Initialise a system, and load its examples: a distilled one learns its teacher's captions."""
    torch.manual_seed(seed)
    captioner, examples = inputs.captioner(system), training_examples(inputs, system, seed)
    if inputs.layout.config.systems[system].distilled_from:
        lessons = read_json(inputs.layout.lessons(system, seed))
        examples = [
            replace(e, tokens=tuple(lessons[str(e.image_id)]))
            for e in examples
            if any(lessons[str(e.image_id)])
        ]
    return Prepared(captioner, examples, inputs.seen_by(system))
