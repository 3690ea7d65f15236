"""Captions by published checkpoints, which look at the photos themselves."""

from dsacap.common.errors import UserError
from dsacap.common.files import read_json, write_json
from dsacap.common.machine import device_of
from dsacap.common.progress import progress
from dsacap.data.photos import decode
from dsacap.data.prepared import load_examples
from dsacap.runs.layout import Layout
from dsacap.runs.models import photo_sources


def caption_by_checkpoint(layout: Layout, row: str, seed: int = 0) -> dict:
    """Caption the test photos, in COCO's results format.

    Each batch is stored, so that a run that was killed goes on from there. Beam search draws nothing,
    so the seed, which all stages of a row get, is not used.
    """
    from baselines.pretrained import PretrainedCaptioner

    settings, output = layout.config.predictions[row].checkpoint, layout.predictions(row)
    if settings is None:
        raise UserError(f"predictions.{row}: is a file; there is no checkpoint to caption by")
    images = [example.image for example in load_examples(layout.data, "test")]
    sources = photo_sources(layout, images)
    captioner = PretrainedCaptioner(
        settings.name, settings.revision, device_of(layout.config.device)
    )
    records = []
    for start in progress(range(0, len(images), settings.batch_size), f"caption by {row}", "batch"):
        part, batch = (
            output.with_name(f"part-{start:06d}.json"),
            images[start : start + settings.batch_size],
        )
        if not part.exists():
            photos = [
                decode(
                    sources[i.source].read(i.file_name),
                    f"{i.source}/{i.file_name} (image id {i.image_id})",
                )
                for i in batch
            ]
            said = captioner.caption(photos, beams=settings.beams, max_words=settings.max_words)
            write_json(
                part,
                [
                    {"image_id": i.image_id, "caption": caption}
                    for i, caption in zip(batch, said, strict=True)
                ],
            )
        records += read_json(part)
    write_json(output, records)
    return {"images": len(images), "parameters": captioner.parameters}
