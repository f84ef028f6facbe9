"""`python -m worldtube`."""

import sys

from worldtube.cli import main

sys.exit(main())
