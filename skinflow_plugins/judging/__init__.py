"""A language model as judge of diagnoses: verdicts by majority, failures counted and never zero."""

from skinflow_plugins.judging.agreement import Agreement, Comparison, agreement, cohen_kappa, compare
from skinflow_plugins.judging.judge import judge_predictions
from skinflow_plugins.judging.judged import Asked, Judged, Subject, subjects_of
from skinflow_plugins.judging.prompt import Prompt, builtin_prompts, load_prompt
from skinflow_plugins.judging.settings import Judge
from skinflow_plugins.judging.verdict_file import read_verdicts, write_verdicts
from skinflow_plugins.judging.verdicts import NOTHING, VERDICTS, Majority, Verdict, majority

__all__ = [
    "NOTHING",
    "VERDICTS",
    "Agreement",
    "Asked",
    "Comparison",
    "Judge",
    "Judged",
    "Majority",
    "Prompt",
    "Subject",
    "Verdict",
    "agreement",
    "builtin_prompts",
    "cohen_kappa",
    "compare",
    "judge_predictions",
    "load_prompt",
    "majority",
    "read_verdicts",
    "subjects_of",
    "write_verdicts",
]
