"""A stage reads exactly the bytes that another stage wrote."""

import shutil

import pytest
import yaml

from dsacap.cli.main import main
from dsacap.runs.stage_files import check_inputs, files_of
from dsacap.runs.stage_table import STAGES, VERSIONS
from helpers import tiny_config

READING = [
    ("encoder", None),
    ("features", None),
    ("train", ("ar", 0)),
    ("caption", ("ar", 0)),
    ("score", ("ar", 0)),
]


@pytest.mark.parametrize(("verb", "row"), READING, ids=[verb for verb, _ in READING])
def test_a_changed_input_is_refused_before_it_is_read(finished, verb, row, capsys):
    config, layout = finished
    check_inputs(layout, verb, row)
    read = files_of(layout, verb, row)[0]
    assert len(read) >= 2 or verb == "encoder"
    for path in read:
        whole = path.read_bytes()
        for damaged in (whole[:-1] + bytes([whole[-1] ^ 1]), whole[: len(whole) // 2]):
            path.write_bytes(damaged)
            try:
                assert (
                    main([verb, "--config", str(config), *(["--system", row[0]] if row else [])])
                    == 1
                )
            finally:
                path.write_bytes(whole)
            message = capsys.readouterr().err
            assert (
                f"{path}: changed since it was written" in message
                and f"delete {path.name} there" in message
            )


@pytest.mark.parametrize("verb", ["features", "train", "caption", "score", "time"])
def test_an_input_that_does_not_exist_yet_is_named(tmp_path, verb, capsys):
    (config := tmp_path / "config.yaml").write_text(
        yaml.safe_dump(tiny_config(tmp_path).model_dump(mode="json", exclude_unset=True))
    )
    assert (
        main(
            [
                verb,
                "--config",
                str(config),
                *([] if verb in ("features", "time") else ["--system", "ar"]),
            ]
        )
        == 1
    )
    assert "captions.jsonl: no such file yet; an earlier stage makes it" in capsys.readouterr().err


def test_a_shard_is_checked_too(finished, capsys):
    config, layout = finished
    shard = layout.features / "shard-00001.safetensors"
    shutil.copyfile(shard, kept := shard.with_suffix(".kept"))
    # A well-formed file, but of another shard.
    shutil.copyfile(layout.features / "shard-00000.safetensors", shard)
    try:
        assert main(["train", "--config", str(config), "--system", "dsacap"]) == 1
    finally:
        kept.replace(shard)
    assert "shard-00001.safetensors: changed since it was written" in capsys.readouterr().err


@pytest.mark.parametrize(
    "verb", sorted(VERSIONS.keys() - {"checkpoint", "reconstruct", "complete"})
)
def test_every_stage_lists_what_it_reads_and_writes(finished, verb):
    """All but the stages that this configuration does not have."""
    row = {"tune": ("dsacap-rl", 0)}.get(verb, ("dsacap", 0)) if STAGES[verb].rows else None
    read, written = files_of(finished[1], verb, row)
    assert {path.parent.name for path in (*read, *written)} >= {finished[1].data.name} and (
        written or verb == "generator"
    )
