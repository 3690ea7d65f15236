"""A small run of the command line, for the tests in this folder."""

import pytest
import yaml

from dsacap.cli.main import main
from dsacap.config.experiment import load_config
from dsacap.runs.layout import Layout
from helpers import tiny_config


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The configuration and the layout of a small run, with its manifests."""
    folder = tmp_path_factory.mktemp("run")
    config = folder / "config.yaml"
    config.write_text(
        yaml.safe_dump(tiny_config(folder / "work").model_dump(mode="json", exclude_unset=True))
    )
    for verb in (
        ["data"],
        ["encoder"],
        ["features"],
        ["train", "--system", "ar"],
        ["caption", "--system", "ar"],
    ):
        assert main([verb[0], "--config", str(config), *verb[1:]]) == 0
    return config, Layout(load_config(config))
