"""BERTScore (Zhang et al., ICLR 2020) by its authors' library, bert-score.

The score of a caption and a reference is the F of the cosines between each token's embedding and
the most similar one of the other text. Embeddings are those of a middle layer, which the library
names for each model. Captions and references are compared as they were read, not tokenised.

The library is no longer developed, and relies on two behaviours that transformers 5 no longer has,
so they are restored here: RoBERTa's first word is preceded by a space, on which the tokens of the
published scores depend, and a text without any character scores 0.
"""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any

from dsacap.common.errors import UserError
from dsacap.common.extras import MissingExtra, naming_extras
from dsacap.common.files import sha256 as sha256_of_file
from dsacap.common.printable import printable
from dsacap.common.progress import progress
from dsacap.scoring.metrics.metric_result import MetricResult, mean_over_images

DEFAULT_MODEL = "roberta-large"  # the library's for English
_BATCH = 64  # images at a time, and texts that are embedded at a time
_MOST_TOKENS = 512  # where a tokenizer does not say how many its model reads
_SHOWN_DIGITS = 12  # of a hash, as in the other fields of signatures


class NoBertScore(UserError):
    """BERTScore cannot be computed: the library or the model is not on this machine."""


@dataclass(frozen=True)
class TextModel:
    """A model that embeds tokens.

    Attributes:
        name: Its name on the hub, or its folder, as it was given.
        folder: The folder of its files.
        layer: The layer whose embeddings are compared, from 1.
    """

    name: str
    folder: Path
    layer: int

    def fields(self) -> dict[str, str | int]:
        """Return the fields of signatures: what another BERTScore must share."""
        weights = sha256()
        for path in _weights(self.folder):
            weights.update(sha256_of_file(path).encode())
        return {
            "model": Path(self.name).resolve().name if Path(self.name).is_dir() else self.name,
            "layer": self.layer,
            "idf": "no",
            "rescaled": "no",
            "bert-score": metadata.version("bert-score"),
            "transformers": metadata.version("transformers"),
            "weights": f"sha256:{weights.hexdigest()[:_SHOWN_DIGITS]}",
        }


def find_model(given: str) -> TextModel:
    """Find a model on this machine, without a download.

    Args:
        given: A name on the Hugging Face hub, or a folder in transformers' format; after a colon
            the layer, which only models that the library does not know need: `my-bert:9`.

    Raises:
        NoBertScore: The library or the model is not on this machine.
        UserError: The layer is not known.
    """
    try:
        with naming_extras():
            from bert_score.utils import model2layers
            from transformers.utils import cached_file
    except MissingExtra as error:
        raise NoBertScore(f"BERTScore: not computed: {error}") from None
    name, layer = given, ""
    if given.rpartition(":")[2].isdigit():
        name, _, layer = given.rpartition(":")
    folder: Path | None = Path(name)
    if not Path(name).is_dir():
        try:
            folder = Path(str(cached_file(name, "config.json", local_files_only=True))).parent
        except (OSError, ValueError):  # ValueError: no name that the hub allows
            folder = None
    if folder is None or not _weights(folder):
        raise NoBertScore(
            f"BERTScore: not computed: the weights of {name} are not on this machine. Download"
            f' them by `hf download {name} --include "*.json" "*.txt" "*.safetensors"`, or give a'
            " folder with a model in transformers' format"
        )
    by_last_name = {known.rpartition("/")[2]: at for known, at in model2layers.items()}
    found = int(layer) if layer else model2layers.get(name, by_last_name.get(Path(name).name))
    if found is None:
        raise UserError(
            f"BERTScore: which layer of {name} is compared is not known; name it after a colon, as"
            f" in {name}:9"
        )
    return TextModel(name, folder, found)


def _weights(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def bert_score(
    model: TextModel, references: Mapping[int, Sequence[str]], candidates: Mapping[int, str]
) -> MetricResult:
    """Compute BERTScore's F of one caption per image: the best one over the image's references.

    Args:
        model: The model.
        references: Raw references by image id.
        candidates: Raw captions, not tokenised, by image id.

    Returns:
        The scores of the images, -1..1 and in practice 0.8..1, and their mean. They are not
        rescaled by the library's baselines, and tokens are not weighted by document frequencies.

    Raises:
        UserError: The model is unsuitable, such as a decoder, or has no such layer.
    """
    from bert_score.utils import bert_cos_score_idf

    from dsacap.common.machine import device_of

    network, tokenizer = _loaded(model)
    device = device_of("auto")
    network.to(device)
    weights: dict[int, float] = defaultdict(lambda: 1.0)
    weights |= {tokenizer.cls_token_id: 0.0, tokenizer.sep_token_id: 0.0}
    images, best = list(candidates), dict.fromkeys(candidates, float("-inf"))
    batches = [images[start : start + _BATCH] for start in range(0, len(images), _BATCH)]
    for batch in progress(batches, "BERTScore", "batch"):
        pairs = [
            (i, printable(reference), printable(candidates[i]))
            for i in batch
            for reference in references[i]
        ]
        filled = [pair for pair in pairs if all(map(str.strip, pair[1:]))]
        scores = [(i, 0.0) for i, *texts in pairs if not all(map(str.strip, texts))]
        if filled:
            of_pairs, described, captions = zip(*filled, strict=True)
            found = bert_cos_score_idf(
                network, list(described), list(captions), tokenizer, weights, False, _BATCH, device
            )
            scores += zip(of_pairs, found[:, 2].tolist(), strict=True)
        for i, score in scores:
            best[i] = max(best[i], score)
    return mean_over_images(best)


def _loaded(model: TextModel) -> tuple[Any, Any]:
    """Load the layers of a model that are needed, and its tokenizer."""
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    where = f"BERTScore: model {model.name}"
    logging.disable(logging.WARNING)  # transformers warns of the layers that are left out
    try:
        config = AutoConfig.from_pretrained(model.folder)
        if getattr(config, "is_encoder_decoder", False):
            raise UserError(f"{where}: is not an encoder of text, as BERT is; name one that is")
        layers = config.num_hidden_layers
        if not 1 <= model.layer <= layers:
            raise UserError(f"{where}: has no layer {model.layer}; its layers are 1 to {layers}")
        network = AutoModel.from_pretrained(
            model.folder, num_hidden_layers=model.layer, dtype="float32", use_safetensors=True
        )
        options = {"add_prefix_space": True} if config.model_type == "roberta" else {}
        tokenizer = AutoTokenizer.from_pretrained(model.folder, **options)
    except (OSError, ValueError) as error:
        raise UserError(f"{where}: cannot be loaded: {str(error).splitlines()[0]}") from None
    finally:
        logging.disable(logging.NOTSET)
    tokenizer.model_max_length = min(tokenizer.model_max_length, _MOST_TOKENS)
    return network.eval(), tokenizer
