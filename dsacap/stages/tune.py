"""This stage tunes a trained system by rewards, or by expected n-grams."""

from dsacap.captioner.interface import Captioner
from dsacap.common.files import read_json
from dsacap.config.training import Rewards
from dsacap.runs.inputs import Inputs
from dsacap.runs.layout import Layout, manifest_of
from dsacap.runs.models import load_reconstruction, load_text_encoder
from dsacap.stages.fitting import Prepared, fit


def tune_system(layout: Layout, system: str, seed: int) -> dict:
    """Tune a trained system.

    Its manifest counts the images of training and tuning together, and adds to their cost that of
    the generator that rewards it, unless that is a published pipeline of unknown cost.
    """
    facts = fit(layout, system, seed, prepared_tuning, "tune", keep="last")
    folder = layout.system(layout.config.systems[system].tuned_from, seed)
    before = read_json(manifest_of(folder))["facts"]
    spent = before["train_cpu_seconds"] + facts["train_cpu_seconds"]
    if layout.config.training_of(system).reconstructs:
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
    base = config.systems[system].tuned_from
    captioner = inputs.captioner(base, seed)
    store = (
        inputs.seen_by(system, seed, tuned_from=base)
        if config.sees_pixels(base)
        else inputs.seen_by(system)
    )
    examples = inputs.examples("train")
    return Prepared(captioner, examples, store, _objective(inputs, captioner, system, seed))


def _objective(inputs: Inputs, captioner: Captioner, system: str, seed: int):
    from dsacap.training.ngram_objective import NgramObjective
    from dsacap.training.reinforce import Reinforce
    from dsacap.training.rewards import RewardSum

    config = inputs.layout.config
    settings, base = config.training_of(system), config.systems[system].tuned_from
    if settings.ngrams:
        return NgramObjective(captioner, settings)
    judges = _judges(inputs, settings.rewards)
    reward = RewardSum(settings.rewards, inputs.examples("train"), judges)
    return Reinforce(captioner, inputs.captioner(base, seed), settings, reward, inputs.vocabulary)


def _judges(inputs: Inputs, rewards: Rewards) -> dict:
    """The rewards that look at the picture, by name."""
    from dsacap.vision.generators.judges import ClipAlignment

    judges: dict = {}
    if rewards.reconstruction:
        judges["reconstruction"] = load_reconstruction(inputs.layout)
    if rewards.clipscore:
        judges["clipscore"] = ClipAlignment(load_text_encoder(inputs.layout), inputs.store)
    return judges
