"""A language model as judge: of diagnoses, of captions, and of whatever a reward asks it.

Importing this package imports neither numpy nor the client; what needs them is imported when it is used.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from skinflow_plugins.judging.from_mapping import judge_from
from skinflow_plugins.judging.question import Question
from skinflow_plugins.judging.settings import Judge
from skinflow_plugins.judging.usage import Usage

if TYPE_CHECKING:
    from skinflow_plugins.judging.agreement import Agreement, Comparison, agreement, cohen_kappa, compare
    from skinflow_plugins.judging.asking import ask, judge_items
    from skinflow_plugins.judging.cache_path import cache_path
    from skinflow_plugins.judging.images import image_part
    from skinflow_plugins.judging.judge import judge_predictions
    from skinflow_plugins.judging.judged import Asked, Judged, Subject, subjects_of
    from skinflow_plugins.judging.prompt import Prompt, builtin_prompts, load_prompt, walled
    from skinflow_plugins.judging.reply import Unreadable
    from skinflow_plugins.judging.service import JudgeService, account_to, reach, service_of, usage_of
    from skinflow_plugins.judging.verdict import NOTHING, VERDICTS, Verdict
    from skinflow_plugins.judging.verdict_file import read_verdicts, write_verdicts
    from skinflow_plugins.judging.verdicts import Majority, majority

__all__ = [
    "NOTHING",
    "VERDICTS",
    "Agreement",
    "Asked",
    "Comparison",
    "Judge",
    "JudgeService",
    "Judged",
    "Majority",
    "Prompt",
    "Question",
    "Subject",
    "Unreadable",
    "Usage",
    "Verdict",
    "account_to",
    "agreement",
    "ask",
    "builtin_prompts",
    "cache_path",
    "cohen_kappa",
    "compare",
    "image_part",
    "judge_from",
    "judge_items",
    "judge_predictions",
    "load_prompt",
    "majority",
    "reach",
    "read_verdicts",
    "service_of",
    "subjects_of",
    "usage_of",
    "walled",
    "write_verdicts",
]

# name -> its module
_HOME = {
    **dict.fromkeys(("Agreement", "Comparison", "agreement", "cohen_kappa", "compare"), "agreement"),
    **dict.fromkeys(("ask", "judge_items"), "asking"),
    "cache_path": "cache_path",
    "image_part": "images",
    "judge_predictions": "judge",
    **dict.fromkeys(("Asked", "Judged", "Subject", "subjects_of"), "judged"),
    **dict.fromkeys(("Prompt", "builtin_prompts", "load_prompt", "walled"), "prompt"),
    "Unreadable": "reply",
    **dict.fromkeys(("JudgeService", "account_to", "reach", "service_of", "usage_of"), "service"),
    **dict.fromkeys(("read_verdicts", "write_verdicts"), "verdict_file"),
    **dict.fromkeys(("NOTHING", "VERDICTS", "Verdict"), "verdict"),
    **dict.fromkeys(("Majority", "majority"), "verdicts"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


class _Package(ModuleType):
    """Whoever imports a submodule first must not hide the function of the same name, as Python would."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _HOME or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
