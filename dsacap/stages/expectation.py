"""The check of a trained system's CIDEr against the expected one.

A fault in features, vocabulary or training lowers all systems alike, and a GPU would train the rest
of them for hours before anybody reads a table. So the run ends here; a warning would scroll away.
Nothing is lost: the checkpoint stays, and the same command goes on from there within seconds.
"""

from dsacap.common.errors import UserError
from dsacap.runs.inputs import Inputs
from dsacap.runs.layout import Layout


def check_expected(layout: Layout, system: str, seed: int, facts: dict) -> None:
    """Compare a trained system's CIDEr on validation images with the expected one.

    Args:
        layout: The layout of the configuration.
        system: The system.
        seed: The seed of the row.
        facts: What its training returned.

    Raises:
        UserError: It is lower. The message says what to look at, and how to continue all the same.
    """
    config = layout.config
    expected, cider = config.systems[system].expected, 100 * facts["val_CIDEr"]
    if expected is None or cider >= expected.cider:
        return
    inputs, encoder, settings = Inputs(layout), config.encoder, config.training_of(system)
    validated = min(settings.validation_images, len(inputs.examples("val")))
    epochs = facts["images_seen"] / (settings.images or len(inputs.examples("train")))
    views = f"{encoder.views} view{'s' if encoder.views > 1 else ''}"
    what = encoder.name or encoder.features or "trained here"
    weights = f"{what}, {encoder.pretrained}" if encoder.pretrained else what
    raise UserError(
        f"{system}: CIDEr is {cider:.1f} on {validated:,} validation images, and at least"
        f" {expected.cider:g} was expected ({expected.source}). What lowers it would lower all"
        " systems, so no other is trained. Look at\n"
        f"  features: encoder ({weights}), grid, sha256 of the weights;"
        f" {inputs.store.tokens} tokens of {inputs.store.channels} channels, {views}\n"
        f"  vocabulary: text.min_count and max_words; {len(inputs.vocabulary.words):,} words\n"
        f"  training: steps ({epochs:.1f} epochs), learning_rate, ema, the model's dropout;"
        f" the curve is in {layout.system(system, seed) / 'train.jsonl'}\n"
        f"The training is kept: to go on all the same, lower systems.{system}.expected.cider or"
        " remove `expected`, and run the same command again"
    )
