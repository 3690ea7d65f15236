"""Other folders, locales, time zones, hash seeds and numbers of cores give the same bytes."""

import shutil
import subprocess
from pathlib import Path

import pytest
from pipeline import differences, smoke

PLACES = {
    "German": ("de_DE", "Asia/Kathmandu", "1", 1, "with a space"),
    "Turkish": ("tr_TR", "America/St_Johns", "4294967295", 2, "ünïcode"),
    "C": ("C", "UTC", "random", 2, "plain"),
}


@pytest.mark.faults
@pytest.mark.parametrize("place", PLACES)
def test_the_same_bytes_elsewhere(place, undisturbed, tmp_path, count):
    locale, zone, hash_seed, cores, name = PLACES[place]
    folder = tmp_path / name
    folder.mkdir()
    environment = {
        "TZ": zone,
        "PYTHONHASHSEED": hash_seed,
        "LC_ALL": "C",
        **(_locale(locale, tmp_path) if locale != "C" else {}),
    }
    run = smoke(folder, cores, environment)
    assert run.wait() == 0, (folder / "snakemake.log").read_text()[-3000:]
    count(locale=locale, zone=zone, hash_seed=hash_seed, cores=cores, folder=name)
    assert differences(undisturbed, folder) == []


def _locale(name: str, folder: Path) -> dict[str, str]:
    """Make a locale for this test, independent of those installed."""
    if not shutil.which("localedef") or not Path("/usr/share/i18n/locales", name).exists():
        pytest.skip(f"no sources of the locale {name} (Debian: apt-get install locales)")
    subprocess.run(
        ["localedef", "-i", name, "-f", "UTF-8", str(folder / f"{name}.UTF-8")], check=True
    )
    return {"LOCPATH": str(folder), "LC_ALL": f"{name}.UTF-8", "LANG": f"{name}.UTF-8"}
