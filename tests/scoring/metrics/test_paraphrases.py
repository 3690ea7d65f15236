import gzip
import random
import re
from operator import itemgetter
from pathlib import Path

import pytest

from dsacap.scoring.java.jvm import METEOR_FOLDER
from dsacap.scoring.metrics import paraphrases
from dsacap.scoring.metrics.meteor_java import score_meteor
from dsacap.scoring.metrics.paraphrases import ParaphraseIndex, paraphrase_index

PAIRS = [
    ("a big", "large"),
    ("a big dog", "dog"),
    ("a big dog", "a large\u00a0dog"),  # one word to Java
    ("a big dog", "hound"),
    ("big", "large"),
    ("dog", "a big dog"),
    ("dog", "hound"),
    ("in the", "inside of the"),
    ("large", "big"),
]


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("DSACAP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write_table(path: Path, pairs=PAIRS) -> Path:
    path.write_bytes(
        gzip.compress("".join(f"0.5\n{first}\n{second}\n" for first, second in pairs).encode())
    )
    return path


def open_index(table: Path) -> ParaphraseIndex:
    return paraphrase_index.__wrapped__(table)


def kept(index: ParaphraseIndex, *texts: str) -> list[tuple[str, str]]:
    """Return the pairs of the table of `texts`, with its order for each first phrase."""
    lines = index.table_of(texts).split("\n")
    assert lines.pop() == "" and set(lines[::3]) <= {"0"}
    return sorted(zip(lines[1::3], lines[2::3], strict=True), key=itemgetter(0))


def occurs_in(phrase: str, text: str) -> bool:
    return f" {phrase} " in f" {text} "


def test_keeps_the_pairs_that_occur_in_the_texts(tmp_path, cache):
    index = open_index(write_table(tmp_path / "table.gz"))
    assert kept(index, "the hound", "see  a big dog") == [PAIRS[k] for k in (1, 3, 5, 6)]
    assert kept(index, "a large\u00a0dog", "a big  dog ") == [PAIRS[k] for k in (1, 2, 5)]
    assert kept(index, "", "unheard of", "big", "large") == [PAIRS[4], PAIRS[8]]
    assert kept(index, "a big", "dog") == kept(index, "inside of", "the") == kept(index) == []


def test_equals_a_search_through_the_table(tmp_path, cache):
    rng = random.Random(0)

    def phrase(longest: int) -> str:
        return " ".join(rng.choices("abcd", k=rng.randint(1, longest)))

    # Sorted by the first phrase only, as the table is.
    pairs = sorted(dict.fromkeys((phrase(4), phrase(4)) for _ in range(500)), key=itemgetter(0))
    index = open_index(write_table(tmp_path / "table.gz", pairs))
    for _ in range(30):
        texts = [phrase(9) for _ in range(4)]
        found = [
            pair
            for pair in pairs
            if all(any(occurs_in(side, text) for text in texts) for side in pair)
        ]
        assert kept(index, *texts) == found


def test_is_cached_and_rebuilt_if_damaged(tmp_path, cache, monkeypatch):
    table = write_table(tmp_path / "table.gz")
    expected = kept(open_index(table), "dog hound")
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    made = []
    make = paraphrases._index
    monkeypatch.setattr(paraphrases, "_index", lambda path: made.append(path) or make(path))
    for place in range(0, len(whole), 100):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert kept(open_index(table), "dog hound") == expected
    for size in (0, 1, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:size])
        made.clear()
        assert kept(open_index(table), "dog hound") == expected
        assert made == [table] and file.read_bytes() == whole
    made.clear()
    assert kept(open_index(table), "dog hound") == expected and not made


def test_another_table_has_another_index(tmp_path, cache):
    open_index(write_table(tmp_path / "table.gz"))
    assert kept(open_index(write_table(tmp_path / "table.gz", [("dog", "cat")])), "dog cat") == [
        ("dog", "cat")
    ]


def test_a_cache_that_cannot_be_written_is_no_failure(tmp_path, cache):
    cache.write_text("a file where the folder should be")
    assert kept(open_index(write_table(tmp_path / "table.gz")), "dog hound") == [PAIRS[6]]


def test_meteor_equals_stock_on_captions_made_of_the_tables_paraphrases(stock_meteor):
    """Captions paraphrase references: half of the phrases are replaced, most by several words."""
    rng = random.Random(1)
    table = gzip.decompress((METEOR_FOLDER / "data" / "paraphrase-en.gz").read_bytes())
    found = [
        re.compile(rb"\n0\.\d{9,}\n(.+)\n(.+)\n").search(table, place)
        for place in rng.sample(range(len(table) - 10**4), 3000)
    ]
    pairs = [(match[1].decode(), match[2].decode()) for match in found]
    references, candidates = {}, {}
    for image in range(300):
        chosen = [rng.choice(pairs) for _ in range(4)]
        references[image] = [" ".join(rng.choice(pair) for pair in chosen) for _ in range(3)]
        candidates[image] = " ".join(rng.choice(pair) for pair in rng.sample(chosen, 4))
    corpus, per_image = stock_meteor.compute_score(
        references, {image: [caption] for image, caption in candidates.items()}
    )
    ours = score_meteor(references, candidates)
    assert (ours.corpus, list(ours.per_image.values())) == (corpus, per_image)
    assert ours.pooled.counts_IK[:, 16:20].sum() > 1000  # words matched as paraphrases
