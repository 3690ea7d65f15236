"""METEOR's table of paraphrases, cut down to what given texts can match.

The table has 5.3 million pairs of phrases; METEOR takes 5 s and 1.2 GB to read it. A pair matters to METEOR only where one phrase stands
in a caption, word by word, and the other in a reference; and it looks at the pairs of one first phrase in their order in the table. So a
table of just the pairs whose phrases both stand in the texts, with that order kept, leads it to the same matches in the same order. For
30,000 captions these are some 30,000 pairs, found in a fifth of a second.

They are found in an index, a tree of words. It is made once, in 10 to 20 s and 0.8 GB, and kept in the cache folder (61 MB).
"""

import contextlib
import gzip
import hashlib
import io
import re
from array import array
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from itertools import compress, count, cycle, repeat
from pathlib import Path
from typing import Any

import numpy as np

from dsacap.common.files import replacing, sha256
from dsacap.common.progress import progress
from dsacap.scoring.java.corenlp import cache_folder
from dsacap.scoring.metrics.ngrams import find

_LINES = 15_822_252  # of the table
_DIGEST = 32  # bytes
_words_of = re.compile("[^ ]+").findall  # str.split knows more spaces than METEOR
_END = "\n"  # a word that no phrase has


class ParaphraseIndex:
    """Beginnings of phrases, the nodes (N), depth by depth (D), at each in the order of their keys: (the place of the node without the
    last word, within its depth) * words + number of the last word. The pairs (P) of a node are those whose first phrase it is, in the
    table's order."""

    def __init__(
        self,
        words: np.ndarray,
        key_N: np.ndarray,
        start_D: np.ndarray,
        start_N: np.ndarray,
        second_P: np.ndarray,
    ):
        """`words` is text as bytes, a word a line, in the order of their numbers; `start_D` and `start_N` say where the nodes of a depth
        and the pairs of a node begin, with one entry more for the end; `second_P` is the node of the second phrase."""
        self._number = {
            word: number for number, word in enumerate(words.tobytes().decode().split("\n"))
        }
        self._key_N, self._start_D, self._start_N, self._second_P = (
            key_N,
            start_D,
            start_N,
            second_P,
        )

    def table_of(self, texts: Iterable[str]) -> str:
        """The part of the table that matters to `texts`, given as METEOR aligns them: in lower case, words parted by spaces only.

        Three lines a pair, the first of which, a probability, METEOR skips; pairs of one first phrase in the table's order.
        """
        words = _words_of(f" {_END} ".join([*texts, ""]))
        place_N = self._places(words)
        node_F = np.flatnonzero(place_N >= 0)
        first_F, pairs_F = self._start_N[node_F], self._start_N[node_F + 1] - self._start_N[node_F]
        pair_P = np.arange(pairs_F.sum()) + np.repeat(
            first_F - (np.cumsum(pairs_F) - pairs_F), pairs_F
        )
        node_P2 = np.stack([np.repeat(node_F, pairs_F), self._second_P[pair_P]], 1)
        node_P2 = node_P2[place_N[node_P2[:, 1]] >= 0]
        nodes = np.unique(node_P2)
        places, lengths = (
            place_N[nodes].tolist(),
            np.searchsorted(self._start_D, nodes, "right").tolist(),
        )
        phrase = {
            n: " ".join(words[at : at + size])
            for n, at, size in zip(nodes.tolist(), places, lengths, strict=True)
        }
        return "".join(
            f"0\n{phrase[first]}\n{phrase[second]}\n" for first, second in node_P2.tolist()
        )

    def _places(self, words: list[str]) -> np.ndarray:
        """Where in `words`, each text's and an end, the beginnings N stand; -1 for nowhere."""
        number_W = np.fromiter(map(self._number.get, words, repeat(-1)), np.int64, len(words))
        place_N = np.full(len(self._key_N), -1, np.int32)
        start_S, parent_S = np.arange(len(words)), np.zeros(len(words), np.int64)
        for depth, (begin, end) in enumerate(zip(self._start_D, self._start_D[1:], strict=False)):
            number_S = number_W[start_S + depth]
            key_S = np.where(number_S < 0, -1, parent_S * len(self._number) + number_S)
            is_node_S, parent_S = find(self._key_N[begin:end], key_S)
            start_S = start_S[is_node_S]
            place_N[begin + parent_S] = start_S
        return place_N


@cache
def paraphrase_index(table: Path) -> ParaphraseIndex:
    """The index of METEOR's `table` (gzip), from the cache folder; made where it is not there, or damaged."""
    file = cache_folder() / f"paraphrases-{sha256(table)[:16]}"
    with contextlib.suppress(OSError):
        kept = memoryview(file.read_bytes())
        if hashlib.sha256(kept[_DIGEST:]).digest() == kept[:_DIGEST]:
            return ParaphraseIndex(**np.load(io.BytesIO(kept[_DIGEST:])))
    made = _index(table)
    np.savez(arrays := io.BytesIO(), **made)
    with (
        contextlib.suppress(OSError),
        replacing(file) as temporary,
    ):  # where the cache cannot be written, it is made each time
        temporary.write_bytes(hashlib.sha256(arrays.getbuffer()).digest() + arrays.getbuffer())
    return ParaphraseIndex(**made)


def _index(table: Path) -> dict[str, Any]:
    """The arrays of a `ParaphraseIndex`."""
    numbers: defaultdict[bytes, int] = defaultdict(count().__next__)
    with gzip.open(table) as file:
        lines = progress(
            io.BufferedReader(file, 2**20), "METEOR's paraphrases (once)", "lines", _LINES
        )
        phrases = array(
            "i", map(numbers.__getitem__, compress(lines, cycle((False, True, True))))
        )  # after a probability, two phrases
    node_H, arrays = _tree(line.decode().rstrip("\n") for line in numbers)
    node_P2 = node_H[np.array(phrases).reshape(-1, 2)]
    order = np.argsort(node_P2[:, 0], kind="stable")
    start_N = np.searchsorted(node_P2[order, 0], np.arange(len(arrays["key_N"]) + 1))
    return {
        **arrays,
        "start_N": start_N.astype(np.int32),
        "second_P": node_P2[order, 1].astype(np.int32),
    }


def _tree(phrases: Iterable[str]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The node of each phrase (H), and the arrays of the tree."""
    word: defaultdict[str, int] = defaultdict(count().__next__)
    word_W, length_H = array("i"), array("i")
    for phrase in phrases:
        words = _words_of(phrase)
        length_H.append(len(words))
        word_W.extend(map(word.__getitem__, words))
    word_W, length_H = np.array(word_W, np.int64), np.array(length_H, np.int64)
    start_H, place_H, node_H = (
        np.cumsum(length_H) - length_H,
        np.zeros(len(length_H), np.int64),
        np.zeros(len(length_H), np.int64),
    )
    keys, start_D = [], [0]
    for depth in range(length_H.max()):
        deeper = np.flatnonzero(length_H > depth)
        key_K, place_H[deeper] = np.unique(
            place_H[deeper] * len(word) + word_W[start_H[deeper] + depth], return_inverse=True
        )
        node_H[deeper] = start_D[-1] + place_H[deeper]
        keys.append(key_K)
        start_D.append(start_D[-1] + len(key_K))
    words = np.frombuffer("\n".join(word).encode(), np.uint8)
    return node_H, {"words": words, "key_N": np.concatenate(keys), "start_D": np.array(start_D)}
