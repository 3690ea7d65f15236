"""The section of scale.md on the rehearsal, from what tests/rehearsal/rehearse.py measured."""

from pathlib import Path

from dsacap.common.files import read_json
from dsacap.reporting.pipe_table import markdown

_METHOD = """\
Generated photos of COCO's size in pixels and bytes, in archives of the published names and layout,
through the commands of a run; nothing but photos and encoder is pretended. Downloading and encoding
were killed half-way by SIGKILL and run again, and both runs count. *Peak* is resident memory, which
contains pages of mapped files that the system reclaims; *own* is memory without them, at each
quarter of the time."""


def rehearsal_record_of(page: Path) -> Path:
    """Return the path of the record of a rehearsal."""
    return page.with_name(f"{page.stem}-rehearsal.json")


def rehearsal_section(page: Path) -> list[str]:
    """Return the paragraphs of the section; none if there was no rehearsal."""
    path = rehearsal_record_of(page)
    if not path.exists():
        return []
    record = read_json(path)
    photos, whole, code = record["photos"], record["of"], record["code"]
    machine = ", ".join(
        f"{name} {value}" for name, value in record["machine"].items() if value is not None
    )
    all_of_them = photos == whole
    summary = (
        f"{photos:,} photos{'' if all_of_them else f' of {whole:,}'}, archives of"
        f" {record['archive_bytes'] / 1e9:,.1f} GB, encoder {record['encoder']['name']}. {machine}."
        f" Measured {record['started'][:19]} from commit {code['commit']}"
        f"{' with local changes' if code['dirty'] else ''} by `{' '.join(record['command'])}`."
    )
    headers = ["Part", "minutes", "CPU minutes"]
    headers += [] if all_of_them else [f"hours for {whole:,} (of CPU)"]
    headers += ["peak MiB", "own MiB", "written GB", "killed"]
    rows = []
    for part in record["parts"]:
        minutes, of_cpu = part["seconds"] / 60, part["cpu_seconds"] / 60
        row = [part["name"], _amount(minutes), _amount(of_cpu)]
        if not all_of_them:
            times = whole / photos / 60
            row.append(f"{_amount(minutes * times)} ({_amount(of_cpu * times)})")
        row += [
            f"{part['peak_mib']:,.0f}",
            ", ".join(f"{mib:,.0f}" for mib in part["memory_mib"]),
            _amount(part["bytes"] / 1e9) if part["bytes"] else "",
            part["killed"],
        ]
        rows.append(row)
    note = (
        []
        if all_of_them
        else ["Hours for all are in proportion to photos; the start of each command counts too."]
    )
    return ["## Rehearsal", _METHOD, summary, markdown(headers, rows, 1), *note]


def _amount(value: float) -> str:
    return f"{value:,.1f}" if value >= 1 else f"{value:.2g}"
