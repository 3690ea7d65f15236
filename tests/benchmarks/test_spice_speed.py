"""SPICE, stock and ours, on Show-Edit-Tell's captions of the Karpathy test split: `pytest --benchmark-only`.

100 images; DSACAP_BENCH_FULL=1 takes 1,000. Stock is the genuine jar on the system's Java, as its authors run it, with the scripting engine
that Java has dropped since (NASHORN_DIR). Both start their Java anew, for stock has no other way.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from dsacap.errors import UserError
from dsacap.scoring import spice
from dsacap.scoring.corenlp import corenlp_jars
from dsacap.scoring.jvm import ordered_worker, parser_workers

IMAGES = 1000 if os.environ.get("DSACAP_BENCH_FULL") else 100


@pytest.fixture(scope="module")
def corenlp() -> Path:
    try:
        return corenlp_jars(download=False)[0].parent
    except UserError as error:
        pytest.skip(f"benchmarks fetch nothing: {error}")


@pytest.fixture(scope="module")
def captions(real_data) -> tuple[dict[int, list[str]], dict[int, str], dict[int, str]]:
    """References, a first system's captions, and a second's: the first's, word for word backwards, so that none was seen."""
    said = json.loads((real_data / "predictions" / "show-edit-tell_xe_caps.json").read_text(encoding="utf-8"))[:IMAGES]
    first = {c["image_id"]: c["caption"] for c in said}
    annotations = json.loads((real_data / "coco" / "captions_test5k.json").read_text(encoding="utf-8"))["annotations"]
    references: dict[int, list[str]] = {i: [] for i in first}
    for annotation in annotations:
        if annotation["image_id"] in references:
            references[annotation["image_id"]].append(annotation["caption"].lower().rstrip(". "))
    return references, first, {i: " ".join(reversed(caption.split())) for i, caption in first.items()}


@pytest.fixture
def new_cache(corenlp, tmp_path, monkeypatch):
    monkeypatch.setenv("CORENLP_DIR", str(corenlp))
    monkeypatch.setenv("DSACAP_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def stock(corenlp, tmp_path):
    engine = os.environ.get("NASHORN_DIR")
    if not engine or not shutil.which("java"):
        pytest.skip("needs java on the PATH, and NASHORN_DIR with nashorn-core 15.4 and asm, -util, -commons, -tree, -analysis 9.6")
    jars = [spice._FOLDER / "spice-1.0.jar", spice._FOLDER / "lib" / "*", *(corenlp / "*",), Path(engine) / "*"]
    java = ["java", "-Xmx6G", "-Dfile.encoding=UTF-8", "-cp", os.pathsep.join(map(str, jars)), "edu.anu.spice.SpiceScorer"]

    def score(references, candidates) -> list[float]:
        data = [{"image_id": i, "test": candidates[i], "refs": said} for i, said in references.items()]
        (tmp_path / "in.json").write_text(json.dumps(data), encoding="utf-8")
        subprocess.run([*java, "in.json", "-out", "out.json", "-subset", "-silent", "-threads", "2"], cwd=tmp_path, check=True)
        return [image["scores"]["All"]["f"] for image in json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))]

    return score


def ours(references, candidates) -> list[float]:
    for worker in (*parser_workers(), ordered_worker()):
        worker.close()  # as cold as stock
    return list(spice.score_spice(references, candidates, download=False)["SPICE"].per_image.values())


@pytest.mark.parametrize("implementation", ["stock", "ours"])
def test_spice_the_first_time(benchmark, captions, new_cache, implementation, request):
    benchmark.group = f"SPICE of {IMAGES} images, the first time"
    score = ours if implementation == "ours" else request.getfixturevalue("stock")
    assert len(benchmark.pedantic(score, args=captions[:2], rounds=1)) == IMAGES


@pytest.mark.parametrize("implementation", ["stock", "ours"])
def test_spice_of_a_second_system(benchmark, captions, new_cache, implementation, request):
    """Ours has parsed the references by then."""
    benchmark.group = f"SPICE of {IMAGES} images, a second system"
    references, first, second = captions
    if implementation == "ours":
        ours(references, first)
    score = ours if implementation == "ours" else request.getfixturevalue("stock")
    assert len(benchmark.pedantic(score, args=(references, second), rounds=1)) == IMAGES
