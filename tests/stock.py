"""What ours is compared with and on: SPICE the stock way, and real captions of the Karpathy test split."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dsacap.errors import UserError
from dsacap.scoring import spice
from dsacap.scoring.corenlp import corenlp_jars
from dsacap.scoring.tokenizer import ptb_tokenize


def show_edit_tell(folder: Path, images: int) -> tuple[dict[int, list[str]], dict[int, str]]:
    """Tokenised references and Show-Edit-Tell's captions of the first `images` of the Karpathy test split."""
    said = json.loads((folder / "predictions" / "show-edit-tell_xe_caps.json").read_text(encoding="utf-8"))[:images]
    captions = {r["image_id"]: r["caption"] for r in said}
    annotations = json.loads((folder / "coco" / "captions_test5k.json").read_text(encoding="utf-8"))["annotations"]
    annotations = [a for a in annotations if a["image_id"] in captions]
    references: dict[int, list[str]] = {}
    for annotation, caption in zip(annotations, ptb_tokenize([a["caption"] for a in annotations]), strict=True):
        references.setdefault(annotation["image_id"], []).append(caption)
    return references, dict(zip(captions, ptb_tokenize(list(captions.values())), strict=True))


def corenlp_folder() -> Path:
    try:
        return corenlp_jars(download=False)[0].parent
    except UserError as error:
        pytest.skip(f"tests fetch nothing: {error}")


def stock_spice(references: dict[int, list[str]], candidates: dict[int, str], folder: Path) -> dict[int, dict[str, Any]]:
    """image id -> SPICE's scores: SpiceScorer itself, on the system's Java with the scripting engine that Java has dropped since."""
    engine = os.environ.get("NASHORN_DIR")
    if not engine or not shutil.which("java"):
        pytest.skip("needs java on the PATH, and NASHORN_DIR with nashorn-core 15.4 and asm, -util, -commons, -tree, -analysis 9.6")
    data = [{"image_id": i, "test": candidates[i], "refs": said} for i, said in references.items()]
    (folder / "in.json").write_text(json.dumps(data), encoding="utf-8")
    jars = [spice._FOLDER / "spice-1.0.jar", spice._FOLDER / "lib" / "*", corenlp_folder() / "*", Path(engine) / "*"]
    options = ["-Xmx6G", "-Dfile.encoding=UTF-8", "-cp", os.pathsep.join(map(str, jars)), "edu.anu.spice.SpiceScorer"]
    subprocess.run(["java", *options, "in.json", "-out", "out.json", "-subset", "-silent", "-threads", "2"], cwd=folder, check=True)
    return {image["image_id"]: image["scores"] for image in json.loads((folder / "out.json").read_text(encoding="utf-8"))}
