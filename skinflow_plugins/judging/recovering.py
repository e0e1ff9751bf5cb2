"""The question which diagnoses a caption alone describes, as in the data gate of the SkinFlow paper."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from skinflow_plugins.judging.prompt import RECOVER, Prompt, load_prompt, walled
from skinflow_plugins.judging.question import Question
from skinflow_plugins.judging.recover_reply import read_recovered, recover_schema

LONGEST_CAPTION = 8_000
"""Characters of a caption that the judge sees; the rest is cut off."""


def recover_question(caption: str, k: int, prompt: Prompt | str | Path = "recover") -> Question[list[str]]:
    """Asks for up to `k` diagnoses that the caption describes; each reply is read as a list of names.

    `prompt` is the name of a built-in prompt, the path of a YAML file, or a prompt already loaded, with the
    places {{data}} and {{most}}. The list may be empty: a caption that describes nothing, or that speaks to
    the judge, names nothing. What is a right name is for a taxonomy to say. Raises `ValueError` when `k` is
    not positive, and `InputError` for the prompt's mistakes.
    """
    if k < 1:
        raise ValueError(f"found k = {k}; expected 1 or more")
    if not isinstance(prompt, Prompt):
        prompt = load_prompt(prompt, RECOVER)
    data = walled({"caption": caption[:LONGEST_CAPTION]})
    messages = prompt.filled({"data": data, "most": str(k)})
    return Question(messages, recover_schema(k), "recovered", partial(read_recovered, most=k))
