"""``python -m mcrgen``."""

from mcrgen.cli import main

raise SystemExit(main())
