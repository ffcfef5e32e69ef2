"""The tests of this folder need the packages of the extra `viewer`, which `test` contains."""

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("viser") else ["*"]
