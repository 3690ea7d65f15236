"""BERTScore, against its formula on tiny models that are saved on disk."""

import json
import sys

import pytest
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import AutoModel, BertConfig, BertModel, RobertaConfig, RobertaModel

from dsacap.common import extras
from dsacap.common.errors import UserError
from dsacap.scoring.metrics.bertscore import NoBertScore, TextModel, bert_score, find_model

WORDS = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "blue", "dog", "cat", "bus"),
    *("runs", "sleeps", "on", "grass"),
]
SIZES = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
REFERENCES = {
    1: ["a red dog runs", "a dog"],
    2: ["a blue cat sleeps on grass"],
    3: ["a bus", "  "],
    4: [""],
    5: ["a cat on a red bus", "cat"],
}
CANDIDATES = {1: "a dog runs", 2: "cat", 3: "", 4: "a cat", 5: "  a cat on a red bus "}


def save(folder, network, config: dict):
    network.save_pretrained(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """A model of three layers whose tokens are words."""
    folder = tmp_path_factory.mktemp("models") / "tiny-bert"
    folder.mkdir()
    torch.manual_seed(1)
    config = BertConfig(vocab_size=len(WORDS), num_hidden_layers=3, **SIZES)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    return save(folder, BertModel(config), {"tokenizer_class": "BertTokenizer"})


@pytest.fixture(scope="module")
def roberta(tmp_path_factory):
    """A model whose tokens tell whether a word follows a space."""
    folder = tmp_path_factory.mktemp("models") / "tiny-roberta"
    folder.mkdir()
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer = ByteLevelBPETokenizer()
    texts = [text for of_image in REFERENCES.values() for text in of_image] * 3
    tokenizer.train_from_iterator(texts, vocab_size=320, min_frequency=1, special_tokens=specials)
    tokenizer.save_model(str(folder))
    torch.manual_seed(2)
    config = RobertaConfig(vocab_size=tokenizer.get_vocab_size(), num_hidden_layers=2, **SIZES)
    save(folder, RobertaModel(config), {"tokenizer_class": "RobertaTokenizer"})
    return folder, tokenizer


def f_by_hand(network, layer: int, candidate: list[int], reference: list[int]) -> float:
    """The F of two texts as token ids, which begin and end with a special token."""
    with torch.inference_mode():
        ends = [
            network(torch.tensor([ids]), output_hidden_states=True)
            for ids in (candidate, reference)
        ]
    found, described = (
        torch.nn.functional.normalize(end.hidden_states[layer][0], dim=-1) for end in ends
    )
    cosines = found @ described.T
    precision = cosines.max(1).values[1:-1].mean().item()
    recall = cosines.max(0).values[1:-1].mean().item()
    return 2 * precision * recall / (precision + recall)


def expected(network, layer, ids_of) -> dict[int, float]:
    scores = {}
    for i, candidate in CANDIDATES.items():
        pairs = [(ids_of(candidate), ids_of(reference)) for reference in REFERENCES[i]]
        scores[i] = max(
            f_by_hand(network, layer, *pair) if len(min(pair, key=len)) > 2 else 0.0
            for pair in pairs
        )
    return scores


@pytest.mark.parametrize("layer", [1, 3])
def test_scores_equal_the_formula(bert, layer):
    pytest.importorskip("bert_score")
    result = bert_score(find_model(f"{bert}:{layer}"), REFERENCES, CANDIDATES)
    network = AutoModel.from_pretrained(bert).eval()
    by_hand = expected(network, layer, lambda text: [2, *map(WORDS.index, text.split()), 3])
    assert result.per_image == pytest.approx(by_hand, abs=1e-5)
    assert result.corpus == pytest.approx(sum(by_hand.values()) / 5, abs=1e-5)
    assert result.per_image[5] == pytest.approx(1, abs=1e-5)  # the best of two references
    assert result.per_image[3] == result.per_image[4] == 0  # an empty caption, or references


def test_the_first_word_of_roberta_follows_a_space(roberta):
    """As in published scores: otherwise it would be another token than in a sentence's middle."""
    pytest.importorskip("bert_score")
    folder, tokenizer = roberta

    def ids_of(text: str) -> list[int]:
        return [0, *(tokenizer.encode(f" {text.strip()}").ids if text.strip() else ()), 2]

    result = bert_score(find_model(f"{folder}:2"), REFERENCES, CANDIDATES)
    network = AutoModel.from_pretrained(folder).eval()
    assert result.per_image == pytest.approx(expected(network, 2, ids_of), abs=1e-5)


def test_what_signatures_name(bert, tmp_path):
    pytest.importorskip("bert_score")
    fields = find_model(f"{bert}:2").fields()
    assert (fields["model"], fields["layer"]) == ("tiny-bert", 2)
    assert fields["bert-score"] == "0.3.13" and fields["weights"].startswith("sha256:")
    other = tmp_path / "tiny-bert"
    torch.manual_seed(3)
    save(other, BertModel(BertConfig.from_pretrained(bert)), {})
    assert find_model(f"{other}:2").fields()["weights"] != fields["weights"]


def test_layers_are_those_of_the_library(tmp_path, bert):
    pytest.importorskip("bert_score")
    (tmp_path / "roberta-large").symlink_to(bert)
    folder = tmp_path / "roberta-large"
    assert find_model(str(folder)) == TextModel(str(folder), folder, 17)
    assert find_model(f"{folder}:5").layer == 5
    with pytest.raises(UserError, match=r"which layer of \S+tiny-bert is compared is not known"):
        find_model(str(bert))
    with pytest.raises(UserError, match="has no layer 17; its layers are 1 to 3"):
        bert_score(find_model(str(folder)), REFERENCES, CANDIDATES)


def test_a_model_that_is_not_here_is_not_downloaded(tmp_path, monkeypatch):
    pytest.importorskip("bert_score")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for name in ("roberta-large", str(tmp_path / "none"), str(tmp_path), "a/b/c"):
        with pytest.raises(
            NoBertScore, match=r"BERTScore: not computed: the weights of .* are not"
        ):
            find_model(name)


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "bert_score", None)
    monkeypatch.setitem(sys.modules, "bert_score.utils", None)
    lines = ['bert-score==0.3.13; extra == "bertscore"']
    monkeypatch.setattr(extras.metadata, "requires", lambda _: lines)
    with pytest.raises(NoBertScore, match=r'pip install "dsacap-bench\[bertscore\]" installs it'):
        find_model("roberta-large")
