"""For captions of arbitrary words, `dsacap score` gives pycocoevalcap's scores, image by image."""

import json

import pytest
from hypothesis import strategies as st

from dsacap.common.files import read_json
from dsacap.scoring.java.jvm import METEOR_FOLDER
from dsacap.scoring.metrics.coco_metrics import METRICS
from dsacap.scoring.metrics.paraphrases import paraphrase_index
from stock import stock_scores, stock_tokenize
from ulps import assert_close_to_stock

_WORDS = (
    *(
        "a",
        "the",
        "dog",
        "dogs",
        "cat",
        "cats",
        "runs",
        "running",
        "on",
        "in",
        "red",
        "reddish",
        "A",
        "Dog,",
        "cat.",
    ),
    *(
        "café",
        "cafe\u0301",
        "naïve",
        "猫",
        "🐕",
        "👩\u200d🚀",
        "\u202ea",
        "\u200b",
        "\ufeff",
        "\u00a0",
        "\u3000",
        "ß",
        "İ",
        "ﬁ",
    ),
    *(
        "",
        "'s",
        "isn't",
        "U.S.",
        "Co.",
        "etc.",
        "...",
        "--",
        "-",
        ";",
        "(a)",
        "{b}",
        "[c]",
        "-lrb-",
        "``",
        "''",
        '"',
        "|",
        "||",
    ),
    *(
        "|||",
        "1/2",
        "3:45pm",
        "50%",
        "$9.99",
        "#1",
        "@a",
        "http://a.b/c?d=e&f",
        "a_b",
        "a/b",
        "<b>",
        "&amp;",
        "\\",
        "\\n",
        "\t",
    ),
    *("\0", "\x1b[31m", "\x7f", "SCORE", "EVAL", "$(id)", "{{x}}", "%s", "x" * 300),
)
_caption = st.lists(st.sampled_from(_WORDS), max_size=9).map(" ".join)
_image = st.tuples(
    _caption,
    st.lists(_caption.map("a {}".format), min_size=1, max_size=7),  # empty references are refused
)


@pytest.mark.faults
def test_scores_of_any_words_are_the_stock_ones(tried, stock_meteor, tmp_path_factory, monkeypatch):
    # An empty cache, since otherwise captions that were scored before would not be scored again.
    monkeypatch.setenv("DSACAP_CACHE", str(tmp_path_factory.mktemp("cache")))
    paraphrase_index(METEOR_FOLDER / "data" / "paraphrase-en.gz")

    def body(trial, images):
        captions = [{"image_id": i, "caption": caption} for i, (caption, _) in enumerate(images)]
        of_image = [
            (i, reference) for i, (_, references) in enumerate(images) for reference in references
        ]
        annotations = {
            "images": [{"id": i, "file_name": f"{i}.jpg"} for i in range(len(images))],
            "annotations": [
                {"id": k, "image_id": i, "caption": reference}
                for k, (i, reference) in enumerate(of_image)
            ],
        }
        path, references = (
            trial.write("predictions.json", json.dumps(captions).encode()),
            trial.write("captions.json", json.dumps(annotations).encode()),
        )
        (trial.folder / "scores.json").unlink(missing_ok=True)
        arguments = (
            path,
            "--references",
            references,
            "--no-spice",
            "--json",
            trial.folder / "scores.json",
        )
        assert trial.command("score", *arguments, named=path, writes=("scores.json",))
        ours = read_json(trial.folder / "scores.json")["quality"]

        tokens = stock_tokenize([reference for _, reference in of_image])
        expected = {
            i: [t for t, (image, _) in zip(tokens, of_image, strict=True) if image == i]
            for i in range(len(images))
        }
        stock = stock_scores(
            expected,
            dict(enumerate(stock_tokenize([one["caption"] for one in captions]))),
            stock_meteor,
        )
        for metric in METRICS:
            assert list(ours[metric]["per_image"]) == [str(i) for i in stock[metric].per_image]
            values = [ours[metric]["value"], *ours[metric]["per_image"].values()]
            expected_values = [stock[metric].corpus, *stock[metric].per_image.values()]
            if metric in ("METEOR", "ROUGE-L"):  # stock rounds these the same on every processor
                assert values == expected_values, metric
            assert_close_to_stock(values, expected_values)
        trial.ended["images"] += len(images)

    tried(st.lists(_image, min_size=2, max_size=20), 0.005, body)
