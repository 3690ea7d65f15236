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
    headers += [] if all_of_them else [f"hours for {whole:,}"]
    headers += ["peak MiB", "own MiB", "written GB", "killed"]
    rows = []
    for part in record["parts"]:
        row = [part["name"], f"{part['seconds'] / 60:.1f}", f"{part['cpu_seconds'] / 60:.1f}"]
        if not all_of_them:
            row.append(f"{part['seconds'] * whole / photos / 3600:.1f}")
        row += [
            f"{part['peak_mib']:,.0f}",
            ", ".join(f"{mib:,.0f}" for mib in part["memory_mib"]),
            f"{part['bytes'] / 1e9:.2f}" if part["bytes"] else "",
            part["killed"],
        ]
        rows.append(row)
    note = (
        []
        if all_of_them
        else ["Hours for all are in proportion to photos; the start of each command counts too."]
    )
    return ["## Rehearsal", _METHOD, summary, markdown(headers, rows, 1), *note]
