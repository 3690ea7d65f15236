"""The content of a page of any size, made up for tests."""

from dsacap.reporting.page.board import QUALITY, Cell, board
from dsacap.reporting.page.rows import styles

WORDS = ("a", "red", "blue", "ring", "cross", "above", "below", "big", "tiny", "and", "on", "white")
ONE_PIXEL = "UklGRhoAAABXRUJQVlA4TA0AAAAvAAAAEAcQERGIiP4HAA=="  # a WebP


def made_up(
    images: int, rows: int = 3, captions: dict[tuple[int, int], list[str]] | None = None
) -> dict:
    """Return the content of a page.

    The caption of row r for image i is `captions[r, i]`, otherwise made up by a rule. Its score is
    (i * (r + 7)) % 101.
    """
    names = [
        {"system": f"s{r}", "label": f"System {r}", "decoding": "greedy", "first": True}
        for r in range(rows)
    ]
    caption = {
        (r, i): [" ".join(WORDS[(i * k + r) % len(WORDS)] for k in range(8))]
        for r in range(rows)
        for i in range(images)
    }
    caption |= captions or {}
    texts = {text: None for of_image in caption.values() for text in of_image}
    place = {text: at for at, text in enumerate(texts)}
    frame = {"t": 0.5, "noisy": 0.6, "error": 0.2, "caption": "a ring"}
    vertices = [
        {"index": v, "passed": 1.0, "words": [["ring", 0.9], ["cross", 0.1]] if 0 < v < 3 else []}
        for v in range(4)
    ]
    graph = {
        "vertices": vertices,
        "transitions": [[0, 1, 1.0], [1, 2, 0.9], [1, 3, 0.1], [2, 3, 1.0]],
        "path": [0, 1, 2, 3],
    }
    inside = {
        "frames": [frame, {**frame, "t": 0.25, "caption": "a cross"}],
        "caption": "a cross",
        "graph": graph,
    }
    costs = {
        "memory_process_mib": 800,
        "parameters": 12345,
        "train_cpu_seconds": 9.0,
        "weights": "0123456789abcdef",
    }
    scores = {
        "steps": 1,
        "SPICE": None,
        "BLEU-4": 30.0,
        "mBLEU-4": 0.5,
        "unique": 4.0,
        "front_1": True,
        "intervals": {},
    }
    tradeoff = [
        {**row, **scores, **costs, "CIDEr": 90.0 + r, "ms_1": 2.0 + r}
        for r, row in enumerate(names)
    ]
    return {
        "title": "made-up",
        "note": "A note.",
        "made": {"what": "Test split.", "on": "2026-11-24", "commits": ["c0ffee0", "facade1"]},
        "files": [{"file": "table.md", "title": "the whole table"}],
        "citation": "@misc{made-up}",
        "signatures": ["CIDEr-D|made-up"],
        "board": board(
            [(row, {"CIDEr": Cell(90.0 + r, 88.5 + r, 91.5 + r)}) for r, row in enumerate(names)],
            QUALITY,
        ),
        "reported": None,
        "findings": None,
        **styles({row["system"]: row["label"] for row in names}),
        "photos": {"embedded": True},
        "rows": names,
        "metrics": ["CIDEr"],
        "images": [
            {"id": i, "file": f"photo-{i}.png", "references": [f"reference {i}"], "webp": ONE_PIXEL}
            for i in range(images)
        ],
        "captions": [
            [[place[text] for text in caption[r, i]] for i in range(images)] for r in range(rows)
        ],
        "scores": [{"CIDEr": [(i * (r + 7)) % 101 for i in range(images)]} for r in range(rows)],
        "tradeoff": tradeoff,
        "diversity": None,
        "marks": None,
        "curves": [
            {
                "tuned": True,
                "title": "Reward: CIDEr",
                "unit": "mean reward",
                "curves": {"s0": [[20, 1.0], [40, 2.0]]},
            }
        ],
        "insides": {"s0": {"decoding": "greedy", "images": {"1": inside}}},
        "texts": list(texts),
    }
