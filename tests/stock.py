"""Stock implementations to compare with, pycocoevalcap and SPICE, and real captions to score."""

import json
import os
import shutil
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

from dsacap.common.errors import UserError
from dsacap.scoring.java.corenlp import corenlp_jars
from dsacap.scoring.metrics import spice
from dsacap.scoring.metrics.coco_metrics import METRICS
from dsacap.scoring.metrics.metric_result import MetricResult
from dsacap.text.ptb_tokenizer import java_environment, ptb_tokenize


def show_edit_tell(folder: Path, images: int) -> tuple[dict[int, list[str]], dict[int, str]]:
    """Return tokenised references and Show-Edit-Tell's captions of some Karpathy test images."""
    records = json.loads(
        (folder / "predictions" / "show-edit-tell_xe_caps.json").read_text(encoding="utf-8")
    )[:images]
    captions = {record["image_id"]: record["caption"] for record in records}
    annotations = json.loads(
        (folder / "coco" / "captions_test5k.json").read_text(encoding="utf-8")
    )["annotations"]
    annotations = [a for a in annotations if a["image_id"] in captions]
    references: dict[int, list[str]] = {}
    for annotation, caption in zip(
        annotations, ptb_tokenize([a["caption"] for a in annotations]), strict=True
    ):
        references.setdefault(annotation["image_id"], []).append(caption)
    return references, dict(zip(captions, ptb_tokenize(list(captions.values())), strict=True))


def stock_tokenize(captions: list[str]) -> list[str]:
    with java_environment():
        tokenised = PTBTokenizer().tokenize(
            {i: [{"caption": caption}] for i, caption in enumerate(captions)}
        )
    return [tokenised[i][0] for i in range(len(captions))]


def stock_scores(
    references: dict[int, list[str]], candidates: dict[int, str], meteor: Meteor | None
) -> dict[str, MetricResult]:
    """Score tokenised captions with pycocoevalcap, as its README does; without METEOR if None."""
    candidates = {image_id: [candidates[image_id]] for image_id in references}
    scores = {}
    bleu = partial(Bleu(4).compute_score, verbose=0)
    scorers = [(METRICS[:4], bleu), ("ROUGE-L", Rouge().compute_score)]
    scorers.append(("CIDEr", Cider().compute_score))
    for names, score in [*scorers, *([("METEOR", meteor.compute_score)] if meteor else [])]:
        corpus, per_image = score(references, candidates)
        pairs = (
            [(names, corpus, per_image)]
            if isinstance(names, str)
            else zip(names, corpus, per_image, strict=True)
        )
        scores |= {
            name: MetricResult(c, dict(zip(references, p, strict=True))) for name, c, p in pairs
        }
    return {metric: scores[metric] for metric in METRICS if metric in scores}


def corenlp_folder() -> Path:
    try:
        return corenlp_jars(download=False)[0].parent
    except UserError as error:
        pytest.skip(f"tests do not download: {error}")


def stock_spice(
    references: dict[int, list[str]], candidates: dict[int, str], folder: Path
) -> dict[int, dict[str, Any]]:
    """Return image id -> scores of SPICE's own SpiceScorer.

    It runs on the system's Java, with the scripting engine that newer Javas no longer have.
    """
    engine = os.environ.get("NASHORN_DIR")
    if not engine or not shutil.which("java"):
        pytest.skip(
            "needs java on the PATH, and NASHORN_DIR with nashorn-core 15.4 and"
            " asm, -util, -commons, -tree, -analysis 9.6"
        )
    data = [
        {"image_id": i, "test": candidates[i], "refs": captions}
        for i, captions in references.items()
    ]
    (folder / "in.json").write_text(json.dumps(data), encoding="utf-8")
    jars = [
        spice._FOLDER / "spice-1.0.jar",
        spice._FOLDER / "lib" / "*",
        corenlp_folder() / "*",
        Path(engine) / "*",
    ]
    options = [
        "-Xmx6G",
        "-Dfile.encoding=UTF-8",
        "-cp",
        os.pathsep.join(map(str, jars)),
        "edu.anu.spice.SpiceScorer",
    ]
    subprocess.run(
        ["java", *options, "in.json", "-out", "out.json", "-subset", "-silent", "-threads", "2"],
        cwd=folder,
        check=True,
    )
    return {
        image["image_id"]: image["scores"]
        for image in json.loads((folder / "out.json").read_text(encoding="utf-8"))
    }
