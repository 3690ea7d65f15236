"""The stage `teach`: a teacher captions the train split for the system distilled from it."""

from dsacap.common.files import write_json
from dsacap.runs.inputs import Inputs
from dsacap.runs.layout import Layout
from dsacap.stages.caption import captions_of_split


def teach(layout: Layout, system: str, seed: int) -> dict:
    """Write the teacher's captions of the train images, which a distilled system learns from.

    Returns:
        Facts for the manifest: the teacher, its decoding, and the number of images.

    Raises:
        UserError: The system has no teacher.
    """
    teacher = layout.config.teacher_of(system)
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
