"""The model card of an exported system."""

from collections.abc import Mapping, Sequence

from dsacap.config.dataset import Scenes
from dsacap.config.experiment import Config
from dsacap.export.description import Description, OpenClip, Patches
from dsacap.reporting.markdown import commits
from dsacap.reporting.pipe_table import markdown
from dsacap.reporting.table_file import scale_of

_METRICS = ("CIDEr", "BLEU-1", "BLEU-4", "METEOR", "ROUGE-L", "SPICE", "grammatical", "true")


def model_card(
    description: Description,
    config: Config,
    manifests: dict[str, dict],
    scores: dict | None,
    memory: Sequence[str],
) -> str:
    """Return README.md as Markdown, with the metadata that model hubs read.

    Args:
        description: The exported system.
        config: The configuration of the run that trained it.
        manifests: The manifest of each stage by name.
        scores: What the score stage wrote; None if the system is not scored.
        memory: Names of the tensors in memory.safetensors.
    """
    parts = [
        _metadata(config),
        f"# {description.label} ({config.name})",
        f"An image captioner (`{description.captioner}`) that was trained with dsacap-bench and "
        f"exported by `dsacap export` from the run `{description.run}`.",
        "## How to use it",
        _usage(description),
        "## Data",
        _data(config, manifests),
        "## Scores",
        _scores(config, scores),
        "## Limits",
        _limits(description, config, manifests),
        "## Licences",
        _licences(description, config, memory),
        "## How it was made",
        _provenance(description, manifests),
    ]
    return "\n\n".join(parts) + "\n"


def _metadata(config: Config) -> str:
    licence = ["license: apache-2.0"] if isinstance(config.dataset, Scenes) else []
    return "\n".join(
        [
            "---",
            "library_name: dsacap-bench",
            "pipeline_tag: image-to-text",
            "language: en",
            *licence,
            "---",
        ]
    )


def _usage(description: Description) -> str:
    rows = [
        [
            f"`{name}`" + (" (default)" if name == description.default_decoding else ""),
            _options(options),
        ]
        for name, options in description.decodings.items()
    ]
    return "\n\n".join(
        [
            "With dsacap-bench installed, where FOLDER is the path of this folder:",
            "    dsacap caption photo.jpg --from FOLDER",
            "or in Python:",
            "    import dsacap\n"
            "    model = dsacap.load('FOLDER')\n"
            "    print(model.caption(['photo.jpg']))",
            markdown(["Decoding", "Options"], rows, texts=2),
            "All files are checked against `index.json` before they are used; none is code or a "
            "pickle.",
        ]
    )


def _options(options: Mapping) -> str:
    return ", ".join(f"{name}: {value}" for name, value in options.items()) or "defaults"


def _data(config: Config, manifests: Mapping[str, dict]) -> str:
    if isinstance(config.dataset, Scenes):
        source = "Scenes: generated pictures of coloured shapes with captions from a grammar"
    else:
        source = f"Captioned photos of {', '.join(config.dataset.images)}"
    lines = [f"- {source}."]
    if "data" in manifests:
        facts = manifests["data"]["facts"]
        counts = ", ".join(f"{n:,} {split}" for split, n in facts["images"].items())
        lines.append(
            f"- {counts} images, {facts['captions']:,} captions; trained on train, weights "
            "selected on val, scored once on test."
        )
        lines += [f"- sha256 of {name}: `{digest}`" for name, digest in facts["sha256"].items()]
    if drawn := manifests.get("train", {}).get("facts", {}).get("drawn_images"):
        lines.append(f"- It was trained on {drawn['count']:,} of the train images, a random draw.")
    if skipped := manifests.get("features", {}).get("facts", {}).get("skipped"):
        lines.append(f"- {len(skipped)} photos were left out because they could not be read.")
    return "\n".join(lines)


def _scores(config: Config, scores: dict | None) -> str:
    if scores is None:
        return "Not scored at the time of export."
    metrics = [
        metric
        for metric in _METRICS
        if any(metric in parts["quality"] for parts in scores.values())
    ]
    rows = [
        [f"`{name}`", *(_cell(metric, parts["quality"].get(metric)) for metric in metrics)]
        for name, parts in scores.items()
    ]
    signatures = {
        score["signature"]: None
        for parts in scores.values()
        for metric, score in parts["quality"].items()
        if metric in metrics
    }
    images = max(score["n"] for parts in scores.values() for score in parts["quality"].values())
    return "\n\n".join(
        [
            f"Test split of {config.name}: {images:,} images, one caption each (the first one if "
            "several are drawn). Scores are multiplied by 100; brackets contain the 95 % bootstrap "
            "interval over images.",
            markdown(["Decoding", *metrics], rows),
            "A score can be compared with these only if its signature is the same:",
            "```\n" + "\n".join(signatures) + "\n```",
        ]
    )


def _cell(metric: str, score: dict | None) -> str:
    if score is None or score["value"] is None:
        return "n/a"
    scale = scale_of(metric)
    interval = (
        " [" + ", ".join(f"{scale * bound:.1f}" for bound in score["interval"]) + "]"
        if score["interval"]
        else ""
    )
    return f"{scale * score['value']:.1f}{interval}"


def _limits(description: Description, config: Config, manifests: Mapping[str, dict]) -> str:
    lines = [
        f"- A caption has at most {description.max_words} words, in lower case and without "
        "punctuation (PTB tokens)."
    ]
    if "data" in manifests:
        lines.append(
            f"- Its vocabulary is the {manifests['data']['facts']['vocabulary'] - 4:,} words of "
            "the training captions; it cannot use any other word."
        )
    if isinstance(config.dataset, Scenes):
        lines.append(
            "- It was trained on nothing but coloured shapes: its captions of real photographs are "
            "meaningless."
        )
    else:
        lines.append(
            "- Its captions of photos unlike its training data mention things that are not there, "
            "and they repeat the biases of the training captions."
        )
    lines.append(
        "- Captions are guesses without a measure of certainty. Do not rely on one where an error "
        "could harm somebody."
    )
    trained = manifests.get("tune", manifests.get("train", {})).get("facts", {})
    if trained.get("val_still_rising"):
        lines.append(
            "- Its validation score was still rising when training ended: more training would help."
        )
    flips = {
        name: n
        for name, n in manifests.get("caption", {}).get("facts", {}).get("flips", {}).items()
        if n
    }
    for name, n in flips.items():
        of = manifests["caption"]["facts"]["one_by_one"]
        lines.append(
            f"- `{name}`: of {of} images captioned one by one, {n} got another caption than in a "
            "batch, because of rounding."
        )
    return "\n".join(lines)


def _licences(description: Description, config: Config, memory: Sequence[str]) -> str:
    lines = ["- Code: Apache-2.0 (dsacap-bench)."]
    if isinstance(config.dataset, Scenes):
        lines.append("- Data and weights were made by this code; nobody else has rights in them.")
    else:
        lines.append(
            "- Data: photos and captions belong to their owners; read the terms of the data set "
            "before you redistribute what was trained on it."
        )
    if config.encoder.autoencoder and not isinstance(config.dataset, Scenes):
        lines.append("- Encoder: an autoencoder trained on these photos, whose terms apply to it.")
    if isinstance(description.encoder, Patches):
        lines.append(f"- Encoder: none; the captioner sees pixels ({config.encoder.name}).")
    elif config.encoder.name:
        where = (
            "open_clip downloads its weights"
            if isinstance(description.encoder, OpenClip) and description.encoder.tag
            else "its weights are included"
        )
        lines.append(
            f"- Encoder: {config.encoder.name} ({config.encoder.pretrained}); {where}, under the "
            "terms of their publisher."
        )
    if model := description.model.get("language_model"):
        lines.append(
            f"- Language model: {model} at {description.model.get('revision')}, downloaded from "
            "the hub, under the terms of its publisher."
        )
    if "captions" in memory:
        lines.append(
            "- `memory.safetensors` contains all training captions, whose bigrams a decoding looks "
            "up: the terms of the data apply to it."
        )
    if "pooled" in memory:
        lines.append(
            "- `memory.safetensors` contains a caption and the encoder's vector of every training "
            "photo, which the system looks up: the terms of the data apply to it."
        )
    return "\n".join(lines)


def _provenance(description: Description, manifests: dict[str, dict]) -> str:
    lines = []
    for stage in ("train", "tune"):
        if stage in manifests:
            facts, host = manifests[stage]["facts"], manifests[stage]["host"]
            lines.append(
                f"- {stage}: {facts['steps']:,} steps, {facts['images_seen']:,} images seen, "
                f"{facts['train_cpu_seconds']:,.1f} CPU seconds in total, "
                f"{facts['parameters']:,} parameters; "
                f"validation CIDEr {100 * facts['val_CIDEr']:.1f}; "
                f"{host['cpu']}, torch {host['packages']['torch']}"
            )
    lines.append(f"- commit: {commits(manifests)}")
    lines.append(
        f"- run: `{description.run}`, whose last part is a hash of all settings that determine the "
        "weights"
    )
    lines.append("- command, configuration, versions and hardware of every stage: `manifest.json`")
    return "\n".join(lines)
