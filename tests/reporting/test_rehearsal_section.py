import pytest

from dsacap.common.files import write_json
from dsacap.reporting.rehearsal import rehearsal_record_of, rehearsal_section

PART = {
    "name": "features",
    "seconds": 120.0,
    "cpu_seconds": 90.0,
    "peak_mib": 1234.0,
    "memory_mib": [500, 501, 502, 503],
    "bytes": 2_500_000_000,
    "kills": 1,
    "killed": "after 2 of 4 shards; 2 were kept",
}


@pytest.mark.parametrize("photos", [2000, 100_000])
def test_parts_and_what_they_would_take_for_all_photos(tmp_path, photos):
    page = tmp_path / "scale.md"
    assert rehearsal_section(page) == []
    record = {
        "started": "2026-01-02T03:04:05+00:00",
        "command": ["python", "rehearse.py"],
        "code": {"commit": "abc", "dirty": False},
        "machine": {"device": "abacus", "governor": None},
        "photos": photos,
        "of": 100_000,
        "archive_bytes": 300_000_000,
        "encoder": {"name": "timm:small"},
        "parts": [PART],
    }
    write_json(rehearsal_record_of(page), record)
    heading, _, summary, table, *note = rehearsal_section(page)
    assert heading == "## Rehearsal"
    assert f"{photos:,} photos" in summary and "device abacus" in summary
    cells = [cell.strip() for cell in table.splitlines()[-1].split("|")[1:-1]]
    all_hours = [] if photos == 100_000 else ["1.7 (1.2)"]  # 2 and 1.5 minutes times 50
    assert cells == [
        "features",
        "2.0",
        "1.5",
        *all_hours,
        "1,234",
        "500, 501, 502, 503",
        "2.5",
        "after 2 of 4 shards; 2 were kept",
    ]
    assert len(note) == len(all_hours)
