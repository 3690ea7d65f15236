"""Which files a stage reads and which it writes: their hashes stand in its manifest, so that the chain from a number to the data can be
followed, and what changed since can be told. A folder of many files stands for itself by its index (features) or its weights.
"""

from pathlib import Path

from dsacap.config import Scenes
from dsacap.layout import HUMAN, Layout

Files = tuple[list[Path], list[Path]]  # read, written


def files_of(layout: Layout, verb: str, row: tuple[str, int] | None) -> Files:
    """Of a stage that has run; `row` is (system, seed) where it is a row's."""
    captions, words, index = layout.data / "captions.jsonl", layout.data / "vocabulary.json", layout.features / "index.json"
    seen = [captions, words, index]
    match verb:
        case "data":
            return _sources(layout), [captions, words]
        case "encoder":
            return [captions] if layout.config.encoder.train else [], _weights(layout.encoder)
        case "features":
            return [captions, *_weights(layout.encoder)], [index, layout.features / "statistics.safetensors"]
        case "generator":
            return [captions, words, layout.sight.features / "index.json"], _weights(layout.generator)
        case "teach":
            teacher = layout.config.systems[row[0]].distilled_from.system
            return [*seen, _model(layout, teacher, row[1])], [layout.lessons(*row)]
        case "train":
            taught = [layout.lessons(*row)] if layout.config.systems[row[0]].distilled_from else []
            return [*seen, *taught], [_model(layout, *row)]
        case "tune":
            settings = layout.config.systems[row[0]]
            rewards = _weights(layout.generator) if settings.tuning.reconstructs else []
            return [*seen, _model(layout, settings.tuned_from, row[1]), *rewards], [_model(layout, *row)]
        case "checkpoint":
            return [captions], [layout.predictions(row[0])]
        case "caption":
            return [*seen, _model(layout, *row)], [layout.captions(*row)]
        case "complete":
            return [*seen, _model(layout, *row)], [layout.completions(*row)]
        case "time":
            first = layout.config.seeds[0]
            return [*seen, *(_model(layout, system, first) for system in layout.config.systems)], [layout.latency]
    said = [] if row[0] == HUMAN else [layout.predictions(row[0]) if row[0] in layout.config.predictions else layout.captions(*row)]
    written = {"score": layout.scores, "score-samples": layout.sample_scores, "reconstruct": layout.reconstructions}
    return [captions, *said], [written[verb](*row)]


def _sources(layout: Layout) -> list[Path]:
    """Captions that the user brings; of the photos, which may be gigabytes, the features' hashes tell."""
    dataset = layout.config.dataset
    if isinstance(dataset, Scenes):
        return []
    return [*dataset.annotations, *([dataset.karpathy] if dataset.karpathy else [])]


def _model(layout: Layout, system: str, seed: int) -> Path:
    return layout.system(system, seed) / "model.safetensors"


def _weights(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.safetensors") if "checkpoint" not in path.parts)
