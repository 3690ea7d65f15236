"""The model card of an exported system, written from its configuration, the manifests of its stages and its scores."""

from collections.abc import Mapping, Sequence

from dsacap.config.dataset import Scenes
from dsacap.config.experiment import Config
from dsacap.export.description import Description, OpenClip
from dsacap.reporting.markdown import commits
from dsacap.reporting.pipe_table import markdown
from dsacap.reporting.table import scale_of

_METRICS = ("CIDEr", "BLEU-1", "BLEU-4", "METEOR", "ROUGE-L", "SPICE", "grammatical", "true")


def model_card(
    described: Description,
    config: Config,
    manifests: Mapping[str, dict],
    scores: dict | None,
    carried: Sequence[str],
) -> str:
    """README.md as Markdown with the metadata that model hubs read. `scores` are those of the score stage, `carried` what memory holds."""
    parts = [
        _metadata(config),
        f"# {described.label} ({config.name})",
        f"An image captioner (`{described.captioner}`) of dsacap-bench, written by `dsacap export` from the run `{described.run}`.",
        "## How to use it",
        _usage(described),
        "## Data",
        _data(config, manifests),
        "## Scores",
        _scores(config, scores),
        "## Limits",
        _limits(described, config, manifests),
        "## Licences",
        _licences(described, config, carried),
        "## How it was made",
        _provenance(described, manifests),
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


def _usage(described: Description) -> str:
    rows = [
        [
            f"`{name}`" + (" (default)" if name == described.default_decoding else ""),
            _options(options),
        ]
        for name, options in described.decodings.items()
    ]
    return "\n\n".join(
        [
            "With dsacap-bench installed, FOLDER being this folder:",
            "    dsacap caption photo.jpg --from FOLDER",
            "or in Python:",
            "    import dsacap\n    model = dsacap.load('FOLDER')\n    print(model.caption(['photo.jpg']))",
            markdown(["Decoding", "Options"], rows, texts=2),
            "Files are checked against `index.json` before they are used; none is code or a pickle.",
        ]
    )


def _options(options: Mapping) -> str:
    return ", ".join(f"{name}: {value}" for name, value in options.items()) or "those by default"


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
            f"- {counts} images, {facts['captions']:,} captions; trained on train, chosen on val, scored once on test."
        )
        lines += [f"- sha256 of {name}: `{digest}`" for name, digest in facts["sha256"].items()]
    if skipped := manifests.get("features", {}).get("facts", {}).get("skipped"):
        lines.append(f"- {len(skipped)} photos that could not be read were left out.")
    return "\n".join(lines)


def _scores(config: Config, scores: dict | None) -> str:
    if scores is None:
        return "Not scored when it was exported."
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
            f"Test split of {config.name}, {images:,} images, one caption each (the first, where several are drawn); x100, in brackets the "
            "95 % bootstrap interval over images.",
            markdown(["Decoding", *metrics], rows),
            "Another number can be compared with these where its signature is the same:",
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


def _limits(described: Description, config: Config, manifests: Mapping[str, dict]) -> str:
    lines = [
        f"- A caption has at most {described.max_words} words, lower-case and without punctuation (PTB tokens)."
    ]
    if "data" in manifests:
        lines.append(
            f"- It knows {manifests['data']['facts']['vocabulary'] - 4:,} words, those of its train captions; it can say no other."
        )
    if isinstance(config.dataset, Scenes):
        lines.append(
            "- It has seen nothing but coloured shapes: of a real photo it says something, and it means nothing."
        )
    else:
        lines.append(
            "- Of photos unlike its training data it says things that are not there, and it repeats the biases of their captions."
        )
    lines.append(
        "- Captions are guesses without a measure of certainty. Do not rely on one where an error would harm somebody."
    )
    trained = manifests.get("tune", manifests.get("train", {})).get("facts", {})
    if trained.get("val_still_rising"):
        lines.append(
            "- Its validation score was still rising when training ended: more training would help it."
        )
    flips = {
        name: n
        for name, n in manifests.get("caption", {}).get("facts", {}).get("flips", {}).items()
        if n
    }
    for name, n in flips.items():
        of = manifests["caption"]["facts"]["one_by_one"]
        lines.append(
            f"- `{name}`: of {of} images captioned one by one, {n} had another caption than in a batch, by rounding."
        )
    return "\n".join(lines)


def _licences(described: Description, config: Config, carried: Sequence[str]) -> str:
    lines = ["- Code: Apache-2.0 (dsacap-bench)."]
    if isinstance(config.dataset, Scenes):
        lines.append("- Data and weights were made by that code; nobody else has rights in them.")
    else:
        lines.append(
            "- Data: photos and captions are their owners'; see the terms of the data set before you pass on what was trained on it."
        )
    if config.encoder.name:
        where = (
            "open_clip fetches its weights"
            if isinstance(described.encoder, OpenClip) and described.encoder.tag
            else "weights are included"
        )
        lines.append(
            f"- Encoder: {config.encoder.name} ({config.encoder.pretrained}); {where}, on the terms of their publisher."
        )
    if model := described.model.get("language_model"):
        lines.append(
            f"- Language model: {model} at {described.model.get('revision')}, fetched from its hub, on the terms of its publisher."
        )
    if "captions" in carried:
        lines.append(
            "- `memory.safetensors` holds all train captions, whose bigrams a decoding looks up: the data's terms hold for it."
        )
    if "pooled" in carried:
        lines.append(
            "- `memory.safetensors` holds a caption and the encoder's vector of every train photo, which the system looks up: the data's "
            "terms hold for it."
        )
    return "\n".join(lines)


def _provenance(described: Description, manifests: Mapping[str, dict]) -> str:
    lines = []
    for stage in ("train", "tune"):
        if stage in manifests:
            facts, host = manifests[stage]["facts"], manifests[stage]["host"]
            lines.append(
                f"- {stage}: {facts['steps']:,} steps, {facts['images_seen']:,} images seen, {facts['train_cpu_seconds']:,.1f} CPU seconds "
                f"in all, {facts['parameters']:,} parameters; validation CIDEr {100 * facts['val_CIDEr']:.1f}; {host['cpu']}, "
                f"torch {host['packages']['torch']}"
            )
    lines.append(f"- commit: {commits(manifests)}")
    lines.append(
        f"- run: `{described.run}`, whose last part is a hash of all settings that decide the weights"
    )
    lines.append(
        "- every stage with its command, configuration, versions and hardware: `manifest.json`"
    )
    return "\n".join(lines)
