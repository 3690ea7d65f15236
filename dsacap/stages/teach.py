"""This stage has a teacher caption the train split for the system that is distilled from it."""

from dsacap.common.files import write_json
from dsacap.runs.inputs import Inputs
from dsacap.runs.layout import Layout
from dsacap.stages.caption import captions_of_split


def teach(layout: Layout, system: str, seed: int) -> dict:
    """Write the teacher's captions of the train images, which a distilled system learns from."""
    teacher = layout.config.systems[system].distilled_from
    inputs = Inputs(layout)
    captioner = inputs.captioner(teacher.system, seed)
    lessons = captions_of_split(
        inputs,
        inputs.seen_by(teacher.system, seed),
        captioner,
        "train",
        inputs.decodings(teacher.system)[teacher.decoding],
        f"teach {system} by {teacher.system} {teacher.decoding}",
    )
    write_json(layout.lessons(system, seed), lessons)
    return {"teacher": teacher.system, "decoding": teacher.decoding, "images": len(lessons)}
