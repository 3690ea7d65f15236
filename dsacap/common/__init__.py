"""Files, locks, errors, progress and the machine: what every other folder builds on."""
