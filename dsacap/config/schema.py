"""The JSON schema of a configuration, from which editors complete and check the YAML files.

    python -m dsacap.config.schema        # writes config/schema.json

The schema knows the keys, types and ranges. What depends on several keys, and the options of each
captioner, are checked when a configuration is loaded.
"""

import json

from dsacap.common.files import write_text
from dsacap.common.git_checkout import ROOT
from dsacap.config.experiment import Config

PATH = ROOT / "config" / "schema.json"


def schema() -> str:
    """Return the schema as JSON."""
    described = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Config.model_json_schema(),
        "title": "A configuration of dsacap",
    }
    return json.dumps(described, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    write_text(PATH, schema())
