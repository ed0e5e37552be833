"""`python -m rm360_async` is the same as the installed script `rm360`."""

import sys

from rm360_async.cli import main

sys.exit(main())
