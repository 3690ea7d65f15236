from pathlib import Path

import pytest

from dsacap.cli.main import main
from dsacap.common.errors import UserError
from dsacap.common.files import write_json
from dsacap.config.experiment import load_config
from dsacap.config.sections import Generator
from dsacap.reporting.scale import check_page, record_of, write_scale
from dsacap.timing import full_size
from helpers import tiny_config


def record(config, faster: float = 1.0) -> dict:
    """The record of a machine that takes 2 seconds per step, and 1 second per image otherwise."""
    step = {
        "images": 3,
        "seconds": 2 / faster,
        "flops": 8e9,
        "parameters": 5_000_000,
        "held_mib": 80,
        "peak_mib": 900,
    }
    step |= {"precision": "fp32", "compiled": False}
    systems = {
        name: {"step": step, "decode": dict.fromkeys(of.decodings, faster)}
        for name, of in config.systems.items()
    }
    of_image = {"images_per_s": faster, "flops_an_image": 1e9}
    size = {"batch_size": 3, "images": 4, "picture": 64, "pictures": 2, "vocabulary": 100}
    return {
        "started": "2026-01-02T03:04:05+00:00",
        "seconds": 100.0,
        "cpu_seconds": 95.0,
        "command": ["dsacap", "measure-scale"],
        "code": {"commit": "abc", "dirty": False},
        "config": config.model_dump(mode="json"),
        "facts": {
            "machine": {"device": "abacus", "threads": 1, "governor": None},
            "peak": {"fp32": 2e10, "bf16": 4e10},
            "size": size,
            "encoder_cost": of_image | {"tokens": 4, "channels": 16},
            "reward_cost": of_image | {"what": "beads"},
            "systems": systems,
        },
    }


@pytest.fixture
def config(tmp_path):
    return tiny_config(
        tmp_path,
        training={"steps": 3600, "batch_size": 6, "evaluations": 2, "validation_images": 6},
    )


def cells(page, part: str) -> list[str]:
    return [
        cell.strip()
        for line in page.read_text().splitlines()
        if line.startswith(f"| {part} ")
        for cell in line.split("|")[1:-1]
    ]


def test_hours_follow_from_what_was_measured(config, tmp_path):
    page = tmp_path / "scale.md"
    write_json(record_of(page, "cpu"), record(config))
    write_scale(config, page)
    text = page.read_text()
    assert (
        "GPU: not measured." in text
        and "abacus" in text
        and "governor" not in text
        and "from commit abc by `dsacap measure-scale`, 95 CPU-seconds in 100 seconds." in text
    )
    # 3600 steps of 6 images, two of 3 each: 7200 x 2 s, and as many times 8e9 operations
    assert cells(page, "ar: training") == [
        "ar: training",
        "3,600 steps of 6",
        "0.1",
        "not measured",
        "4.0",
    ]
    assert cells(page, "features") == ["features", "36 images", "0.0", "not measured", "0.01"]
    # two validations of 6 images; greedy once and T=1 five times of 6
    assert cells(page, "ar: validation and captions") == [
        "ar: validation and captions",
        "48 captions",
        "-",
        "not measured",
        "0.013",
    ]
    assert (
        cells(page, "dsacap-rl: reward")[1] == "108 pictures"
    )  # 6 steps of 6 images, 3 captions of each
    assert cells(page, "ar")[3:6] == ["0.5", "1.5", "20 %"]  # 4e9 of 2e10 operations a second
    assert cells(page, "**together**")[3] == "not measured"


def test_the_page_alone_is_written_without_measuring(tmp_path, capsys, monkeypatch):
    smoke, page = "config/smoke.yaml", tmp_path / "scale.md"
    of_page = ["measure-scale", "--page-only", "--config", smoke, "--output", str(page)]
    assert main(of_page) == 1
    assert "nothing is measured yet: there is neither" in capsys.readouterr().err
    measured = record(load_config(Path(smoke)))
    write_json(record_of(page, "cuda"), measured)
    monkeypatch.setattr(full_size, "measure_scale", lambda *_: pytest.fail("measured"))
    assert main(of_page) == 0
    assert "abacus" in page.read_text() and "CPU: not measured." in page.read_text()


def test_pictures_of_another_size_cost_in_proportion_to_their_pixels(config, tmp_path):
    config = config.model_copy(update={"generator": Generator(name=str(tmp_path), size=128)})
    page = tmp_path / "scale.md"
    write_json(record_of(page, "cpu"), record(config) | {"cpu_seconds": 50.0})
    write_scale(config, page)
    assert cells(page, "dsacap-rl: reward") == [
        "dsacap-rl: reward",
        "108 pictures of 128 px",
        "0.0",
        "not measured",
        "0.1",
    ]  # 432 of 64 px
    assert "50 CPU-seconds in 100 seconds: other work ran at the same time" in page.read_text()


def test_a_gpu_has_a_column_of_its_own(config, tmp_path):
    page = tmp_path / "scale.md"
    write_json(record_of(page, "cpu"), record(config))
    write_json(record_of(page, "cuda"), record(config, faster=10))
    write_scale(config, page)
    assert "not measured" not in page.read_text()
    assert cells(page, "ar: training")[3:] == ["0.4", "4.0"]


def test_what_was_measured_with_another_configuration_is_refused(config, tmp_path):
    page = tmp_path / "scale.md"
    write_json(record_of(page, "cuda"), record(config.model_copy(update={"seeds": (0, 1)})))
    with pytest.raises(
        UserError,
        match=r"scale-cuda.json: was measured with another configuration; measure again on a GPU",
    ):
        write_scale(config, page)


def test_the_page_of_another_configuration_is_not_overwritten(config, tmp_path):
    page = tmp_path / "scale.md"
    check_page(config, page)
    write_json(record_of(page, "cpu"), record(config.model_copy(update={"name": "coco"})))
    with pytest.raises(
        UserError,
        match=r"scale-cpu.json: belongs to the configuration coco; write another page",
    ):
        check_page(config, page)
