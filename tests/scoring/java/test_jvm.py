import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dsacap.common.errors import UserError
from dsacap.scoring.java import jvm
from dsacap.scoring.java.jvm import JvmWorker, shared_worker
from dsacap.scoring.metrics import meteor_java
from dsacap.scoring.metrics.meteor_java import score_meteor, score_meteors
from stock import show_edit_tell

# Follows the worker's protocol without Java: records each start, and does what the job says.
FAKE = """
import json, os, sys, time
open(sys.argv[1], "a").write(f"{os.getpid()}\\n")
sys.stdin.readline()
for line in sys.stdin:
    job = json.loads(line)
    starts = len(open(sys.argv[1]).readlines())
    if job["job"] == "sleep" or (job["job"] == "sleep first" and starts == 1):
        time.sleep(600)
    if job["job"] == "die" or (job["job"] == "die first" and starts == 1):
        sys.exit("out of memory")
    answer = {"error": "no such file"} if job["job"] == "fail" else {"result": job}
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture
def fake(tmp_path):
    """A worker with a fake process; `starts()` lists the processes that it started."""
    (tmp_path / "fake.py").write_text(FAKE)
    # Without site-packages it starts at once, on a busy machine too.
    worker = JvmWorker([sys.executable, "-S", str(tmp_path / "fake.py"), str(tmp_path / "starts")])
    worker.starts = lambda: [int(pid) for pid in (tmp_path / "starts").read_text().split()]
    yield worker
    worker.close()


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_starts_with_the_first_call_and_stays(fake):
    assert fake.pid is None
    assert fake.call("echo", text="\u2028 é 🐕") == {"job": "echo", "text": "\u2028 é 🐕"}
    first = fake.pid
    assert fake.call("echo", n=1) == {"job": "echo", "n": 1}
    assert fake.starts() == [first]
    fake.close()
    assert fake.pid is None and not is_running(first)
    assert fake.call("echo", n=2)["n"] == 2


def test_a_large_job_passes(fake):
    captions = ["a cat"] * 200_000
    assert fake.call("echo", captions=captions)["captions"] == captions


@pytest.mark.parametrize("job", ["sleep first", "die first"])
def test_is_started_again_once(fake, job):
    assert fake.call(job, timeout=10, n=1)["n"] == 1
    first, second = fake.starts()
    assert not is_running(first) and fake.pid == second


def test_two_timeouts_are_reported(fake):
    with pytest.raises(
        UserError, match=r"sleep: the Java process failed twice: no answer within 5 s\n.*memory"
    ):
        fake.call("sleep", timeout=5)
    assert len(fake.starts()) == 2 and not any(map(is_running, fake.starts()))


def test_two_deaths_are_reported_with_the_last_words(fake):
    with pytest.raises(UserError, match="failed twice: exit status 1: out of memory"):
        fake.call("die")


def test_killed_from_outside_it_is_started_again(fake):
    fake.call("echo")
    os.kill(fake.pid, signal.SIGKILL)
    assert fake.call("echo", n=3)["n"] == 3


def test_an_error_of_the_job_is_no_reason_to_restart(fake):
    with pytest.raises(UserError, match="fail: Java raised an error: no such file"):
        fake.call("fail")
    assert fake.call("echo")
    assert len(fake.starts()) == 1


@pytest.fixture
def interruptible():
    """Restore Ctrl-C, which is ignored in tests that a shell runs in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_ends_the_process(fake, interruptible):
    fake.call("echo")
    threading.Timer(1, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        fake.call("sleep", timeout=600)
    assert fake.pid is None and not is_running(fake.starts()[0])


def test_the_process_ends_with_a_killed_parent():
    script = (
        "from dsacap.scoring.java.jvm import shared_worker as worker\n"
        "worker()._start(); print(worker().pid, flush=True); input()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    for _ in range(200):
        if not is_running(pid):
            return
        time.sleep(0.1)
    raise AssertionError("the worker outlives its parent")


# ----------------------------------------------------------------------------------- METEOR


@pytest.fixture(scope="module")
def stock(stock_meteor):
    def score(references, candidates):
        corpus, per_image = stock_meteor.compute_score(
            references, {i: [caption] for i, caption in candidates.items()}
        )
        return corpus, dict(zip(references, per_image, strict=True))

    return score


WORDS = [
    "a",
    "an",
    "the",
    "man",
    "men",
    "dog",
    "dogs",
    "runs",
    "running",
    "sleeping",
    "café",
    "über",
    "🐕",
    ".",
    "-",
    "'",
    "'s",
    "3,5",
    "U.S.",
]
WORDS += ["1.5", "|||", "||", "|", "-lrb-", "big  red", " x ", "\u2028"]


def made_up(seed: int, images: int) -> tuple[dict[int, list[str]], dict[int, str]]:
    rng = random.Random(seed)

    def caption(shortest: int) -> str:
        return " ".join(rng.choices(WORDS, k=rng.randint(shortest, 12)))

    ids = rng.sample(range(10**6), images)
    return {i: [caption(1) for _ in range(rng.randint(1, 7))] for i in ids}, {
        i: caption(0) for i in ids
    }


@pytest.mark.parametrize("seed", [0, 1])
def test_meteor_equals_stock_on_made_up_captions(stock, seed):
    references, candidates = made_up(seed, 100)
    ours = score_meteor(references, candidates)
    assert (ours.corpus, ours.per_image) == stock(references, candidates)
    assert ours.pooled.score(ours.pooled.counts_IK.sum(0, keepdims=True)) == pytest.approx(
        ours.corpus, abs=1e-12
    )


def test_meteor_equals_stock_on_coco(stock, real_data):
    references, candidates = show_edit_tell(real_data, 100)
    ours = score_meteor(references, candidates)
    assert (ours.corpus, ours.per_image) == stock(references, candidates)


@pytest.mark.slow
def test_meteor_equals_stock_on_the_karpathy_test_split(stock, real_data):
    references, candidates = show_edit_tell(real_data, 5000)
    ours = score_meteor(references, candidates)
    assert (ours.corpus, ours.per_image) == stock(references, candidates)


def test_several_pairs_in_several_batches(stock, monkeypatch):
    """Score pairs that differ in images, in their number, or only in their references."""
    monkeypatch.setattr(meteor_java, "_BATCH", 7)
    references, candidates = made_up(3, 10)
    fewer = {i: of_image[:1] for i, of_image in references.items()}
    pairs = [(references, candidates), made_up(4, 5), (fewer, candidates)]
    assert [(ours.corpus, ours.per_image) for ours in score_meteors(pairs)] == [
        stock(*pair) for pair in pairs
    ]


def test_half_a_surrogate_pair_is_no_crash():
    assert score_meteor({1: ["a \ud83d dog"]}, {1: "a \ud83d dog"}).corpus > 0.5


def test_letters_digits_and_spaces_are_left_as_they_are():
    """Such texts skip METEOR's normaliser. Some words are from its lists of abbreviations."""
    rng = random.Random(5)
    words = [
        "mr",
        "no",
        "nos",
        "art",
        "nr",
        "pp",
        "u s",
        "dotmulti",
        "dotdotmulti",
        "quot",
        "s",
        "t",
        "0",
        "1 000",
        "007",
    ]
    words += [
        "".join(rng.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=rng.randint(1, 9)))
        for _ in range(500)
    ]
    texts = [" ".join(rng.choices(words, k=rng.randint(0, 15))) for _ in range(2000)]
    assert shared_worker().call("meteor_normal", texts=texts) == texts


def test_works_from_a_read_only_path_with_spaces_under_foreign_settings(
    tmp_path, monkeypatch, stock
):
    """METEOR is linked below such a path; the machine's language is German, its encoding ASCII."""
    folder = tmp_path / "Meine Maschine"
    folder.mkdir()
    for name in ("meteor-1.5.jar", "data"):
        (folder / name).symlink_to(jvm.METEOR_FOLDER / name)
    folder.chmod(0o555)
    for module in (jvm, meteor_java):
        monkeypatch.setattr(module, "METEOR_FOLDER", folder)
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Duser.language=de -Duser.country=DE")
    references, candidates = made_up(2, 10)
    worker = JvmWorker()
    try:
        ours = score_meteor(references, candidates, worker)
        assert (ours.corpus, ours.per_image) == stock(references, candidates)
    finally:
        worker.close()
        folder.chmod(0o755)


def test_a_path_that_meteor_cannot_read_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(jvm, "METEOR_FOLDER", tmp_path / "Prüfung")
    with pytest.raises(UserError, match="Prüfung: METEOR cannot run from a path with non-ASCII"):
        JvmWorker().call("meteor_load")


def test_a_java_without_memory_ends_and_is_reported():
    """It must not continue: after a failed allocation the next score may be wrong."""
    worker = JvmWorker(options=("-Xmx12m", *jvm._OPTIONS[1:], "-XX:+UseParallelGC"))
    with pytest.raises(
        UserError,
        match=r"^meteor_load: the Java process failed twice: exit status 3: .*OutOfMemoryError.*\n"
        r"  It needs 4 GB",
    ):
        worker.call("meteor_load", threads=1)
    assert worker.pid is None
