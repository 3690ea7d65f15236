"""The curves of training and tuning for the page, with titles and units in words."""

from collections.abc import Iterable
from typing import Any

from dsacap.common.files import read_jsonl
from dsacap.runs.layout import Layout

_POINTS = 150  # of a curve, about as many as can be distinguished
# quantity -> (title, unit of the vertical axis, factor), in the order in which they are shown
_TRAINING = {
    "val_CIDEr": ("CIDEr on the validation split", "CIDEr (x100)", 100),
    "loss": ("Training loss", "loss, as each system defines it", 1),
    "caption": ("Loss of the caption", "nats per word", 1),
    "denoise": ("Loss of denoising the image", "mean squared error", 1),
    "words": ("Loss of the words", "loss", 1),
    "length": ("Loss of the length", "loss", 1),
    "latent": ("Loss of the latent text", "mean squared error", 1),
    "text": ("Loss of the text encoder", "loss", 1),
}
_TUNING = {
    "val_CIDEr": _TRAINING["val_CIDEr"],
    "loss": ("Loss of tuning", "loss, as each system defines it", 1),
    "reward_cider": ("Reward: CIDEr of the captions drawn", "mean reward", 1),
    "reward_reconstruction": ("Reward: reconstruction of the image", "mean reward", 1),
    "reward_contrast": ("Reward: image told apart from similar ones", "mean reward", 1),
    "reward_coverage": ("Reward: coverage of the references", "mean reward", 1),
    "reward_repeats": ("Reward: few repeated words", "mean reward", 1),
    "expected_overlap": ("Expected overlap of n-grams with the references", "overlap", 1),
    "kl": ("Distance from the system before tuning", "nats per caption", 1),
    "words": ("Length of the captions drawn", "words", 1),
    "repeats": ("Repeated words in the captions drawn", "words per caption", 1),
    "bad_endings": ("Captions drawn that stop short", "share", 1),
    "unique": ("Different captions among those drawn for an image", "share", 1),
    "nats_per_word": ("Surprise of the captions drawn", "nats per word", 1),
}


def curves_of(layout: Layout) -> list[dict[str, Any]]:
    """Return a plot for each quantity that training or tuning logged, of the first seed.

    A plot has a title, the unit of its axis, whether it is of tuning, and the curve of each system:
    its (step, value) pairs.
    """
    plots: dict[tuple[bool, str], dict[str, list]] = {}
    for system in (name for name, of in layout.finished if of == layout.config.seeds[0]):
        path = layout.system(system, layout.config.seeds[0]) / "train.jsonl"
        if not path.exists():
            continue
        tuned = bool(layout.config.systems[system].tuning)
        for quantity, values in _logged(read_jsonl(path)):
            plots.setdefault((tuned, quantity), {})[system] = values
    known = {False: list(_TRAINING), True: list(_TUNING)}

    def place(key: tuple[bool, str]) -> tuple[bool, int]:
        tuned, quantity = key
        order = known[tuned]
        return tuned, order.index(quantity) if quantity in order else len(order)

    return [_plot(*key, plots[key]) for key in sorted(plots, key=place)]


def _logged(log: list[dict]) -> Iterable[tuple[str, list[tuple[int, float]]]]:
    names = dict.fromkeys(name for entry in log for name in entry if name != "step")
    for name in names:
        values = [(entry["step"], entry[name]) for entry in log if name in entry]
        yield name, values[:: -(-len(values) // _POINTS)]


def _plot(tuned: bool, quantity: str, systems: dict[str, list]) -> dict[str, Any]:
    plain = quantity.removeprefix("reward_").replace("_", " ")
    unknown = (f"{'Reward' if quantity.startswith('reward_') else 'Logged'}: {plain}", "value", 1)
    title, unit, factor = (_TUNING if tuned else _TRAINING).get(quantity, unknown)
    return {
        "tuned": tuned,
        "title": title,
        "unit": unit,
        "curves": {
            system: [(step, factor * value) for step, value in values]
            for system, values in systems.items()
        },
    }
