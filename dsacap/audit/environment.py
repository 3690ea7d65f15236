"""Causes outside the project: versions of packages, and the machine."""

from collections.abc import Iterator
from functools import cache

from dsacap.audit.cause import Cause
from dsacap.common.git_checkout import pins


@cache
def _pins(commit: str | None) -> dict[str, str] | None:
    return pins(commit) if commit else None


def version_causes(old: dict, new: dict) -> Iterator[Cause]:
    """Yield the packages whose version changed, by the manifests and, in git, the lock files."""
    hosts = (old["host"], new["host"])
    versions = [dict(host.get("packages", {}), python=host.get("python")) for host in hosts]
    other_lock = old["code"]["lock"] != new["code"]["lock"]
    pins_old, pins_new = (
        _pins(side["code"]["commit"]) if other_lock else {} for side in (old, new)
    )
    for name in sorted(set(versions[0]) & set(versions[1])):
        if versions[0][name] != versions[1][name]:
            yield Cause("versions", name, versions[0][name], versions[1][name])
    if pins_old is None or pins_new is None:
        yield Cause(
            "versions",
            "lock file (not in this checkout)",
            (old["code"]["lock"] or "none")[:12],
            (new["code"]["lock"] or "none")[:12],
        )
        return
    repinned = sorted(
        name
        for name in set(pins_old) & set(pins_new)
        if pins_old[name] != pins_new[name] and name not in versions[0]
    )
    for name in repinned:
        yield Cause("versions", f"{name} (lock file)", pins_old[name], pins_new[name])


def hardware_causes(old: dict, new: dict, timed: bool) -> Iterator[Cause]:
    """Yield differences of the machine, those that matter only for times where `timed`."""
    sides = []
    # Portable arithmetic gives the same result on every processor, so the CPU is then no cause.
    portable = not timed and all(
        side["config"].get("arithmetic") == "portable" for side in (old, new)
    )
    for side in (old, new):
        facts, host = side["facts"], side["host"]
        gpu = host.get("gpu") or {}
        cpu = None if portable else host.get("cpu")
        found = {
            "CPU": cpu,
            "device": facts.get("device"),
            "GPU": gpu.get("device"),
            "driver": gpu.get("driver_version"),
        }
        if timed:
            machine = {
                key: value for key, value in (facts.get("machine") or {}).items() if key != "torch"
            }
            found |= {"cores": host.get("cores"), "system": host.get("system")} | {
                f"machine.{key}": value for key, value in machine.items()
            }
        sides.append(found)
    for key in dict.fromkeys([*sides[0], *sides[1]]):
        a, b = (side.get(key) for side in sides)
        if a is not None and b is not None and a != b:
            yield Cause("hardware", key, str(a), str(b))
