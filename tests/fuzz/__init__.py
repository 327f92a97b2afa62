"""The judge for programs: see `fuzz.command` and CONTRIBUTING."""
