"""Sweeps: many jobs of one command, their plan, their processes, their common record, and the search over them."""

import sys
from pathlib import Path

PLUGINS = Path(__file__).parent / "plugins"
sys.path.append(str(PLUGINS))  # Hydra looks for the namespace `hydra_plugins` there too, and finds the search
