"""The stage `tune`: a trained system is tuned by rewards, or by expected n-grams."""

from collections.abc import Callable

from dsacap.captioner.interface import Captioner
from dsacap.common.files import read_json
from dsacap.config.training import Rewards
from dsacap.runs.inputs import Inputs
from dsacap.runs.layout import Layout, manifest_of
from dsacap.runs.models import load_reconstruction, load_text_encoder
from dsacap.stages.fitting import Prepared, fit, training_examples


def tune_system(layout: Layout, system: str, seed: int) -> dict:
    """Tune a trained system.

    Returns:
        Facts for the manifest. They count the images of training and tuning together. The cost is
        that of both, and of the generator that rewards the system, unless that is a published
        pipeline of unknown cost.

    Raises:
        UserError: The system is not tuned from another.
    """
    facts = fit(layout, system, seed, prepared_tuning, "tune", keep="last")
    folder = layout.system(layout.config.base_of(system), seed)
    before = read_json(manifest_of(folder))["facts"]
    spent = before["train_cpu_seconds"] + facts["train_cpu_seconds"]
    if layout.config.tuning_of(system).reconstructs:
        spent += read_json(manifest_of(layout.generator))["facts"].get("train_cpu_seconds", 0)
    return {
        **facts,
        "images_seen": before["images_seen"] + facts["images_seen"],
        "train_cpu_seconds": round(spent, 1),
        "tune_cpu_seconds": facts["train_cpu_seconds"],
    }


def prepared_tuning(inputs: Inputs, system: str, seed: int) -> Prepared:
    """Load the trained system that a row is tuned from, its examples, and its objective."""
    config = inputs.layout.config
    base = config.base_of(system)
    captioner = inputs.captioner(base, seed)
    store = (
        inputs.seen_by(system, seed, tuned_from=base)
        if config.sees_pixels(base)
        else inputs.seen_by(system)
    )
    examples = training_examples(inputs, system, seed)
    return Prepared(captioner, examples, store, _objective(inputs, captioner, system, seed))


def _objective(inputs: Inputs, captioner: Captioner, system: str, seed: int) -> Callable:
    from dsacap.training.ngram_objective import NgramObjective
    from dsacap.training.reinforce import Reinforce
    from dsacap.training.rewards import RewardSum

    config = inputs.layout.config
    settings, base = config.tuning_of(system), config.base_of(system)
    if settings.rewards is None:
        return NgramObjective(captioner, settings)
    judges = _judges(inputs, settings.rewards)
    reward = RewardSum(settings.rewards, inputs.examples("train"), judges)
    return Reinforce(captioner, inputs.captioner(base, seed), settings, reward, inputs.vocabulary)


def _judges(inputs: Inputs, rewards: Rewards) -> dict:
    """The rewards that look at the picture, by name."""
    from dsacap.vision.generators.judges import ClipAlignment, Contrast

    judges: dict = {}
    if rewards.reconstruction or rewards.contrast:
        judges["reconstruction"] = reconstruction = load_reconstruction(inputs.layout)
        ids = [example.image_id for example in inputs.examples("train")]
        judges["contrast"] = Contrast(reconstruction, ids)
    if rewards.clipscore:
        judges["clipscore"] = ClipAlignment(load_text_encoder(inputs.layout), inputs.store)
    return judges
