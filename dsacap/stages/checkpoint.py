"""The stage `checkpoint`: captions by published checkpoints, which read the photos themselves."""

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

    Each batch is stored, so that a run that was killed resumes after the last one.

    Args:
        layout: The layout of the configuration.
        row: The row of `predictions`.
        seed: Not used, since beam search is deterministic. All stages of a row get one.

    Returns:
        Facts for the manifest: the number of images, and of the checkpoint's parameters.

    Raises:
        UserError: The row is a file, or the checkpoint cannot be loaded.
    """
    from dsacap.baselines.pretrained import PretrainedCaptioner

    settings, output = layout.config.predictions[row].checkpoint, layout.predictions(row)
    if settings is None:
        raise UserError(f"predictions.{row}: is a file; it has no checkpoint to caption by")
    images = [example.image for example in load_examples(layout.data, "test")]
    sources = photo_sources(layout, images)
    captioner = PretrainedCaptioner(
        settings.name, settings.revision, device_of(layout.config.device)
    )
    records = []
    for start in progress(range(0, len(images), settings.batch_size), f"caption by {row}", "batch"):
        part = output.with_name(f"part-{start:06d}.json")
        batch = images[start : start + settings.batch_size]
        if not part.exists():
            photos = [
                decode(
                    sources[i.source].read(i.file_name),
                    f"{i.source}/{i.file_name} (image id {i.image_id})",
                )
                for i in batch
            ]
            captions = captioner.caption(photos, beams=settings.beams, max_words=settings.max_words)
            write_json(
                part,
                [
                    {"image_id": i.image_id, "caption": caption}
                    for i, caption in zip(batch, captions, strict=True)
                ],
            )
        records += read_json(part)
    write_json(output, records)
    return {"images": len(images), "parameters": captioner.parameters}
