"""Portable arithmetic is chosen before torch is loaded, whatever the verb."""

import json
import subprocess
import sys

from dsacap.common.git_checkout import ROOT

# Runs each verb that reads a configuration up to the moment at which it chooses its arithmetic.
PROGRAM = """
import argparse, json, sys
from dsacap.cli.arguments import parser
from dsacap.cli.main import main
from dsacap.common import arithmetic
from dsacap.common.errors import UserError

def chosen(path):
    raise UserError("chosen")

arithmetic.choose_before_torch = chosen
[verbs] = (a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
late = []
for verb, sub in verbs.choices.items():
    if "--config" not in sub._option_string_actions:
        continue
    words = [verb, "--config", "x.yaml"]
    for action in sub._actions:
        if action.required and action.option_strings:
            words += [action.option_strings[0], "1"]
        elif action.required:
            words += ["x"]
    if verb in ("caption", "score"):
        words += ["--system", "1"]
    main(words)
    if "torch" in sys.modules:
        late.append(verb)
        break
print(json.dumps([sorted(verbs.choices), late]))
"""


def test_no_verb_loads_torch_before_it_chooses():
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    verbs, late = json.loads(done.stdout.splitlines()[-1])
    assert {"caption", "score", "train", "report", "export"} <= set(verbs)
    assert late == []
    assert done.stderr.count("error: chosen") >= 25, done.stderr
