"""A page's content made up for tests, of any size."""

WORDS = ("a", "red", "blue", "ring", "cross", "above", "below", "big", "tiny", "and", "on", "white")
ONE_PIXEL = "UklGRhoAAABXRUJQVlA4TA0AAAAvAAAAEAcQERGIiP4HAA=="  # a WebP


def made_up(
    images: int, rows: int = 3, captions: dict[tuple[int, int], list[str]] | None = None
) -> dict:
    """Make up content: the captions of row r for image i are `captions[r, i]`, or else by a rule.

    The score of row r is (i * (r + 7)) % 101.
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
    texts = {text: None for of in caption.values() for text in of}
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
    }
    tradeoff = [
        {**row, **scores, **costs, "CIDEr": 90.0 + r, "ms_1": 2.0 + r}
        for r, row in enumerate(names)
    ]
    return {
        "name": "made-up",
        "note": "A note.",
        "seed": 0,
        "commit": "c0ffee0",
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
        "curves": [
            {
                "system": "s0",
                "label": "System 0",
                "tuned": True,
                "logged": {"reward_cider": [[20, 1.0], [40, 2.0]]},
            }
        ],
        "insides": {"s0": {"decoding": "greedy", "images": {"1": inside}}},
        "texts": list(texts),
    }
