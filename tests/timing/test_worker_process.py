"""Timing in real processes, each with a tiny system."""

import shutil
import threading

import pytest

from dsacap.common.errors import UserError
from dsacap.common.files import write_json
from dsacap.config.experiment import parse_config
from dsacap.runs.layout import ENCODER, Layout
from dsacap.stages.train import train_system
from dsacap.timing.worker_process import TimedSystem
from helpers import tiny_config

SPEC = {"tokens": 4, "channels": 6, "vocabulary": 20, "max_words": 9}


def test_random_weights_in_a_process_of_their_own(tmp_path, capfd):
    with TimedSystem(tiny_config(tmp_path), "ar", SPEC) as timed:
        assert timed.cost("greedy")["passes"] == 9
        assert len(timed.seconds("decode", "T=1", 2, warmup=1, iterations=3)) == 3
        assert timed.machine()["threads"] == 1
    assert capfd.readouterr() == ("", "")  # although torch's profiler logs by default


def test_trained_weights_from_file_to_words(tiny_layout, tmp_path):
    settings = tiny_layout.config.model_dump(mode="json", exclude_unset=True)
    config = parse_config(settings | {"work": str(tmp_path)}, "test")
    layout = Layout(config)
    for folder in (tiny_layout.data, tiny_layout.encoder, tiny_layout.features):
        shutil.copytree(folder, layout.root / folder.name)
    write_json(layout.system("ar", 0) / "manifest.json", {"facts": train_system(layout, "ar", 0)})
    with TimedSystem(config, "ar") as timed, TimedSystem(config, ENCODER) as encoder:
        for stage in ("decode", "end_to_end", "wall"):
            assert all(
                0 < seconds < 60
                for seconds in timed.seconds(stage, "greedy", 2, warmup=1, iterations=2)
            )
        assert len(encoder.seconds("encode", "", 4, warmup=0, iterations=100, budget=0.0)) == 1


def test_errors_of_the_process_are_reported(tmp_path):
    with (
        TimedSystem(tiny_config(tmp_path), "ar") as timed,
        pytest.raises(UserError, match=r"timing ar: .*no such file"),
    ):
        timed.machine()
    with TimedSystem(tiny_config(tmp_path), "ar", SPEC) as timed:
        timed._child.process.kill()
        timed._child.process.wait()
        with pytest.raises(UserError, match="exited with status -9"):
            timed.machine()


def test_a_process_killed_before_its_first_reply_is_reported(tmp_path):
    with TimedSystem(tiny_config(tmp_path), "ar", SPEC) as timed:
        threading.Timer(0.2, timed._child.process.kill).start()  # while it is still importing
        with pytest.raises(UserError, match="timing ar: its process exited with status -9"):
            timed.machine()
