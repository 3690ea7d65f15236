"""METEOR's paraphrase table, reduced to the pairs that given texts can match.

The table has 5.3 million pairs of phrases; METEOR takes 5 s and 1.2 GB to read it. A pair matters
to METEOR only if one phrase occurs in a caption, word for word, and the other in a reference, and
METEOR considers the pairs of the same first phrase in their order in the table. So a table of only
the pairs whose phrases both occur in the texts, in the same order, leads to the same matches in the
same order. For 30,000 captions there are some 30,000 such pairs, found in a fifth of a second.

They are found in an index, a tree of words. It is built once, in 10 to 20 s and 0.8 GB, and kept in
the cache folder (61 MB).
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
_words_of = re.compile("[^ ]+").findall  # str.split separates words at more characters than METEOR
_END = "\n"  # a word that occurs in no phrase


class ParaphraseIndex:
    """A tree of the words of all phrases.

    A node (N) is a beginning of a phrase. Nodes are stored depth by depth (D), and within a depth
    in the order of their keys: (index within its depth of the node without the last word) * words +
    number of the last word. The pairs (P) of a node are those whose first phrase it is, in the
    order of the table.

    Args:
        words: All words as UTF-8 text, one per line, in the order of their numbers.
        key_N: The key of each node.
        start_D: The first node of each depth, and a last entry for the end.
        start_N: The first pair of each node, and a last entry for the end.
        second_P: The node of the second phrase of each pair.
    """

    def __init__(
        self,
        words: np.ndarray,
        key_N: np.ndarray,
        start_D: np.ndarray,
        start_N: np.ndarray,
        second_P: np.ndarray,
    ):
        self._number = {
            word: number for number, word in enumerate(words.tobytes().decode().split("\n"))
        }
        self._key_N, self._start_D = key_N, start_D
        self._start_N, self._second_P = start_N, second_P

    def table_of(self, texts: Iterable[str]) -> str:
        """Return the part of the table that matters to some texts.

        Args:
            texts: Texts as METEOR aligns them: in lower case, with words separated by spaces only.

        Returns:
            A table in METEOR's format: three lines per pair, of which METEOR skips the first, a
            probability. Pairs of the same first phrase are in the order of the whole table.
        """
        words = _words_of(f" {_END} ".join([*texts, ""]))
        position_N = self._positions(words)
        node_F = np.flatnonzero(position_N >= 0)
        first_F, pairs_F = self._start_N[node_F], self._start_N[node_F + 1] - self._start_N[node_F]
        pair_P = np.arange(pairs_F.sum()) + np.repeat(
            first_F - (np.cumsum(pairs_F) - pairs_F), pairs_F
        )
        node_P2 = np.stack([np.repeat(node_F, pairs_F), self._second_P[pair_P]], 1)
        node_P2 = node_P2[position_N[node_P2[:, 1]] >= 0]
        nodes = np.unique(node_P2)
        positions = position_N[nodes].tolist()
        lengths = np.searchsorted(self._start_D, nodes, "right").tolist()
        phrase = {
            n: " ".join(words[at : at + size])
            for n, at, size in zip(nodes.tolist(), positions, lengths, strict=True)
        }
        return "".join(
            f"0\n{phrase[first]}\n{phrase[second]}\n" for first, second in node_P2.tolist()
        )

    def _positions(self, words: list[str]) -> np.ndarray:
        """Return where in `words` each node occurs (one position each), or -1."""
        number_W = np.fromiter(map(self._number.get, words, repeat(-1)), np.int64, len(words))
        position_N = np.full(len(self._key_N), -1, np.int32)
        start_S, parent_S = np.arange(len(words)), np.zeros(len(words), np.int64)
        for depth, (begin, end) in enumerate(zip(self._start_D, self._start_D[1:], strict=False)):
            number_S = number_W[start_S + depth]
            key_S = np.where(number_S < 0, -1, parent_S * len(self._number) + number_S)
            is_node_S, parent_S = find(self._key_N[begin:end], key_S)
            start_S = start_S[is_node_S]
            position_N[begin + parent_S] = start_S
        return position_N


@cache
def paraphrase_index(table: Path) -> ParaphraseIndex:
    """Load the index of METEOR's table (gzip), or build it if it is missing or damaged."""
    file = cache_folder() / f"paraphrases-{sha256(table)[:16]}"
    with contextlib.suppress(OSError):
        kept = memoryview(file.read_bytes())
        if hashlib.sha256(kept[_DIGEST:]).digest() == kept[:_DIGEST]:
            return ParaphraseIndex(**np.load(io.BytesIO(kept[_DIGEST:])))
    made = _index(table)
    np.savez(arrays := io.BytesIO(), **made)
    # If the cache cannot be written, the index is built each time.
    with contextlib.suppress(OSError), replacing(file) as temporary:
        temporary.write_bytes(hashlib.sha256(arrays.getbuffer()).digest() + arrays.getbuffer())
    return ParaphraseIndex(**made)


def _index(table: Path) -> dict[str, Any]:
    """Build the arrays of a `ParaphraseIndex`."""
    numbers: defaultdict[bytes, int] = defaultdict(count().__next__)
    with gzip.open(table) as file:
        lines = progress(
            io.BufferedReader(file, 2**20), "METEOR's paraphrases (once)", "lines", _LINES
        )
        # Each pair has three lines: a probability and two phrases.
        phrases = array("i", map(numbers.__getitem__, compress(lines, cycle((False, True, True)))))
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
    """Return the node of each phrase (H), and the arrays of the tree."""
    number: defaultdict[str, int] = defaultdict(count().__next__)
    numbers, lengths = array("i"), array("i")
    for phrase in phrases:
        words = _words_of(phrase)
        lengths.append(len(words))
        numbers.extend(map(number.__getitem__, words))
    number_W, length_H = np.array(numbers, np.int64), np.array(lengths, np.int64)
    start_H = np.cumsum(length_H) - length_H
    index_H, node_H = np.zeros(len(length_H), np.int64), np.zeros(len(length_H), np.int64)
    keys, start_D = [], [0]
    for depth in range(length_H.max()):
        deeper = np.flatnonzero(length_H > depth)
        key_K, index_H[deeper] = np.unique(
            index_H[deeper] * len(number) + number_W[start_H[deeper] + depth], return_inverse=True
        )
        node_H[deeper] = start_D[-1] + index_H[deeper]
        keys.append(key_K)
        start_D.append(start_D[-1] + len(key_K))
    text = np.frombuffer("\n".join(number).encode(), np.uint8)
    return node_H, {"words": text, "key_N": np.concatenate(keys), "start_D": np.array(start_D)}
