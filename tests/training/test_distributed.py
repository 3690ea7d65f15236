"""Training in two processes equals training in one, and can be continued in another number of them.

All processes end together when one of them is asked to.
"""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from one_of_several import run

from dsacap.cli.launch import launch
from dsacap.cli.main import main
from dsacap.common.errors import PREEMPTED
from dsacap.common.files import read_json, read_jsonl, write_text
from dsacap.config.experiment import Config
from dsacap.runs.layout import Layout, manifest_of
from dsacap.training import loop
from helpers import borrow, tiny_config
from rounding import assert_same_losses

STEPS = 50
TERMS = 5 * 4 * 256  # in the largest sum that is logged, the error of the features of a batch
SMALL = {"width": 16, "heads": 2, "dropout": 0.1}
DECODER = {**SMALL, "encoder_layers": 1, "decoder_layers": 1}
SYSTEMS = {
    "ar": {"captioner": "autoregressive", "model": DECODER, "decodings": {"greedy": {}}},
    "masked": {
        "captioner": "masked-diffusion",
        "model": DECODER,
        "decodings": {"K=2": {"steps": 2}},
    },
    "dsacap": {
        "captioner": "dsacap",
        "model": {**SMALL, "denoiser_layers": 1, "readout_layers": 1},
        "decodings": {"K=1": {"noise_level": 0.3}},
    },
    "fine-tuned": {
        "captioner": "dsacap",
        "model": {**SMALL, "denoiser_layers": 1, "readout_layers": 1},
        "training": {"fine_tune": {"learning_rate": 0.0002, "drawn": True}},
        "decodings": {"K=1": {"noise_level": 0.3}},
    },
    "ladic": {
        "captioner": "ladic",
        "model": {**SMALL, "latent": 8, "text_steps": 20},
        "decodings": {"stride=400": {"stride": 400}},
    },
    "dsacap-rl": {
        "tuned_from": "dsacap",
        "tuning": {
            "steps": STEPS,
            "batch_size": 5,
            "evaluations": 1,
            "validation_images": 4,
            "samples": 3,
            "kl": 0.1,
            "supervised": 0.2,
            "rewards": {"cider": 1.0, "reconstruction": 2.0},
        },
        "decodings": {"K=1": {"noise_level": 0.3}},
    },
}


def config(work: Path, shared: Layout, **changes) -> Config:
    """50 steps with batches of 5, which two processes cannot halve; the data are `shared`."""
    training = {
        "steps": STEPS,
        "batch_size": 5,
        "warmup": 5,
        "evaluations": 2,
        "validation_images": 4,
    }
    found = tiny_config(work, systems=SYSTEMS, training=training, **changes)
    borrow(Layout(found), shared)
    return found


def plan_of(found: Config, systems: list[str], stop: int | None = None) -> dict:
    return {"config": found.model_dump(mode="json", exclude_unset=True), "systems": systems} | (
        {"stop": stop} if stop is not None else {}
    )


def curve(found: Config, system: str) -> dict[int, dict]:
    return {row["step"]: row for row in read_jsonl(Layout(found).system(system, 0) / "train.jsonl")}


@pytest.fixture(scope="module")
def runs(tmp_path_factory, pixel_layout) -> dict[str, Config]:
    """The same systems, trained in several ways.

    `one` and `two`: in that many processes. `more`: begun in one, continued in two. `fewer`: the
    other way round. `pieces`: in one that accumulates.
    """
    folder = tmp_path_factory.mktemp("processes")
    names = ("one", "two", "more", "fewer", "pieces")
    found = {name: config(folder / name, pixel_layout) for name in names}
    accumulating = found["pieces"].training.model_copy(update={"accumulate": 3})
    found["pieces"] = found["pieces"].model_copy(update={"training": accumulating})
    systems = list(SYSTEMS)
    run(plan_of(found["one"], systems))
    run(plan_of(found["more"], ["ar"], stop=20))
    plans = [
        plan_of(found["two"], systems),
        plan_of(found["more"], ["ar"]),
        plan_of(found["fewer"], ["dsacap"], stop=20),
    ]
    (folder / "plans.json").write_text(json.dumps(plans))
    script = Path(__file__).with_name("one_of_several.py")
    assert launch(2, [sys.executable, str(script), str(folder / "plans.json")]) == 0
    run(plan_of(found["fewer"], ["dsacap"]))
    run(plan_of(found["pieces"], ["ar", "masked", "dsacap", "fine-tuned"]))
    return found


@pytest.mark.parametrize("system", SYSTEMS)
def test_two_processes_equal_one(runs, system):
    """Losses and everything else that is logged are the same.

    Not all weights are: those whose gradient is only rounding, such as the biases of keys, are
    moved by Adam as fast as others. A tuning is compared as long as it draws the same captions: a
    draw close to the border between two words may give either of them.
    """
    one, two = curve(runs["one"], system), curve(runs["two"], system)
    assert list(one) == list(two) == list(range(1, STEPS + 1))
    if system == "dsacap-rl":
        drew_the_same = [
            step
            for step in one
            if all(
                one[step][fact] == pytest.approx(two[step][fact]) for fact in ("words", "unique")
            )
        ]
        assert len(drew_the_same) >= 5
        one, two = (
            {step: of[step] for step in list(of)[: _leading(drew_the_same)]} for of in (one, two)
        )
    assert_same_losses(one, two, TERMS)


def _leading(steps: list[int]) -> int:
    """Return how many of 1, 2, 3, ... a list of steps begins with."""
    return next((at for at, step in enumerate(steps) if step != at + 1), len(steps))


@pytest.mark.parametrize("system", ["ar", "masked", "dsacap", "fine-tuned"])
def test_accumulating_equals_the_whole_batch(runs, system):
    assert_same_losses(curve(runs["one"], system), curve(runs["pieces"], system), TERMS)


@pytest.mark.parametrize(("name", "system"), [("more", "ar"), ("fewer", "dsacap")])
def test_a_run_continues_in_another_number_of_processes(runs, name, system):
    messages = [path.read_text() for path in Layout(runs[name]).root.glob(f"{system}-?.txt")]
    # All processes ended, although only the last one was asked to.
    assert len(messages) == (2 if name == "fewer" else 1)
    assert all(
        "asked to end, saved at step 21 of 50; the same command resumes there" in message
        for message in messages
    )
    assert_same_losses(curve(runs["one"], system), curve(runs[name], system), TERMS)


def test_the_folder_of_a_result_does_not_depend_on_processes_or_accumulation(runs):
    assert Layout(runs["pieces"]).system("ar", 0).name == Layout(runs["one"]).system("ar", 0).name
    several = runs["one"].model_copy(update={"processes": 8})
    assert (
        Layout(several).system("dsacap-rl", 0).name
        == Layout(runs["one"]).system("dsacap-rl", 0).name
    )
    bf16 = runs["one"].training.model_copy(update={"precision": "bf16"})
    assert (
        Layout(runs["one"].model_copy(update={"training": bf16})).system("ar", 0).name
        != Layout(runs["one"]).system("ar", 0).name
    )


def write_config(found: Config, path: Path) -> Path:
    write_text(path, json.dumps(found.model_dump(mode="json", exclude_unset=True)))  # JSON is YAML
    return path


def test_the_command_starts_its_processes_and_one_writes(tmp_path, tiny_layout, runs, capfd):
    found = config(tmp_path, tiny_layout, processes=2)
    assert (
        main(
            ["train", "--config", str(write_config(found, tmp_path / "two.yaml")), "--system", "ar"]
        )
        == 0
    )
    printed = capfd.readouterr().err
    assert printed.count("train ar: 50/50") == 1
    facts = read_json(manifest_of(Layout(found).system("ar", 0)))["facts"]
    logged = curve(found, "ar")
    assert facts["val_CIDEr"] == max(
        row["val_CIDEr"] for row in logged.values() if "val_CIDEr" in row
    )
    assert_same_losses({step: curve(runs["one"], "ar")[step] for step in logged}, logged, TERMS)


def test_sigterm_saves_and_exits_with_its_own_status(tmp_path, tiny_layout, monkeypatch, capsys):
    found = config(tmp_path, tiny_layout)
    command = [
        "train",
        "--config",
        str(write_config(found, tmp_path / "one.yaml")),
        "--system",
        "ar",
    ]
    learning_rate = loop.learning_rate

    def schedule(step, settings):
        if step == 7:
            signal.raise_signal(signal.SIGTERM)
        return learning_rate(step, settings)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "learning_rate", schedule)
        assert main(command) == PREEMPTED == 143
    assert (
        "train ar: asked to end, saved at step 8 of 50; the same command resumes there"
        in capsys.readouterr().err
    )
    assert [path.name for path in (Layout(found).system("ar", 0) / "checkpoint").iterdir()] == [
        "step-00000008.safetensors"
    ]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert main(command) == 0


FAILING = "import os, sys, time; time.sleep(600 if os.environ['RANK'] == '0' else 0); sys.exit(3)"
ENDED = (
    "import os, time; time.sleep(600 if os.environ['RANK'] == '0' else 0); os.kill(os.getpid(), 9)"
)
ASKED = (
    "import os, signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(143));"
    " os.write(1, b'up\\n'); time.sleep(600)"
)


@pytest.mark.parametrize(
    ("script", "status", "message"),
    [(FAILING, 3, ""), (ENDED, 137, "process 1 of 2 was ended by SIGKILL")],
)
def test_where_one_process_fails_all_end(script, status, message, capsys):
    started = time.monotonic()
    assert launch(2, [sys.executable, "-c", script]) == status
    assert time.monotonic() - started < 300
    assert message in capsys.readouterr().err


def test_sigterm_is_passed_on():
    launcher = (
        "from dsacap.cli.launch import launch; import sys;"
        f" sys.exit(launch(2, [sys.executable, '-c', {ASKED!r}]))"
    )
    process = subprocess.Popen([sys.executable, "-c", launcher], stdout=subprocess.PIPE, text=True)
    assert [process.stdout.readline() for _ in range(2)] == ["up\n", "up\n"]
    process.send_signal(signal.SIGTERM)
    assert process.wait(300) == PREEMPTED
    process.stdout.close()
