"""`dsacap doctor`: whether this machine has what a configuration needs, and what to do if not."""

from collections.abc import Iterable
from pathlib import Path

from dsacap.cli.findings_of_machine import Finding, findings_of_machine, spice_parser
from dsacap.cli.stages import opened
from dsacap.common.extras import MissingExtra, naming_extras


def examine(path: Path) -> bool:
    """Examine the machine, and print a line for each part.

    Args:
        path: The configuration. In an installation for scoring alone, where no configuration can be
            read, the parts that scoring needs are examined.

    Returns:
        Whether everything that is needed is there.

    Raises:
        UserError: The configuration cannot be read.
    """
    try:
        with naming_extras():
            from dsacap.cli.findings_of_config import findings_of_config

            config = opened(path).config
    except MissingExtra as error:
        rest = Finding("note", "GPU", f"not looked for, and no configuration was read: {error}")
        return report([*findings_of_machine(), spice_parser(), rest], "scoring")
    return report(findings_of_config(config), config.name)


def report(findings: Iterable[Finding], what: str) -> bool:
    """Print findings as they are made, and whether all is ready.

    Args:
        findings: The findings.
        what: What the machine is to be ready for.

    Returns:
        Whether nothing is missing.
    """
    complete = True
    for finding in findings:
        print(f"{finding.state:<8} {finding.subject:<10} {finding.text}", flush=True)
        if finding.remedy:
            print(f"{'':<19} -> {finding.remedy}")
        complete &= finding.state != "missing"
    print(f"\n{what}: " + ("ready" if complete else "not ready: fix what is missing above"))
    return complete
