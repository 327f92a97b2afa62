"""``python -m tests.fuzz --programs 10000 --seed 0``, from the root of the repository."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where tests find each other: `peers`
    from .command import main

    sys.exit(main())
