"""`skinflow plugin`: the path for swift's `--external_plugins`, and nothing else."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from skinflow_plugins.cli.parser import add_verb

if TYPE_CHECKING:
    from skinflow_plugins.cli.parser import Verbs

DESCRIPTION = """\
For use without a recipe:

  export SKINFLOW_OPTIONS='{"ranked_diagnosis": {"taxonomy": "fitzpatrick17k"}}'
  swift rlhf --external_plugins "$(skinflow plugin)" --reward_funcs ranked_diagnosis ...

The variable holds the options of the rewards; `skinflow show NAME` tells which are required."""


def add(verbs: Verbs) -> None:
    """Add `plugin` to the verbs."""
    add_verb(verbs, "plugin", "print the file for swift's --external_plugins", do, DESCRIPTION)


def do(arguments: argparse.Namespace) -> int:
    """Print the path."""
    from skinflow_plugins.bridge.entry_path import plugin_path

    print(plugin_path())
    return 0
