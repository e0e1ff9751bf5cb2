"""evalscope's result files of general_vqa and general_qa, as they lie in its folder of outputs.

reviews/MODEL/general_vqa_SUBSET.jsonl holds the label (`target`) and the answer
(`sample_score.score.prediction`); predictions/MODEL/... holds the answer alone (`model_output`), so labels
must come from a file of their own. `index` is the place of the question in the data set, from 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skinflow_plugins.data.prediction_formats.row import ABSENT, Format, Row, image_path

_OURS = ("id", "answer")


def _read(row: Mapping[str, Any]) -> Row:
    judged = _object(row.get("sample_score"))
    score = _object(judged.get("score"))
    metadata = _object(judged.get("sample_metadata")) or _object(row.get("metadata"))
    fields = {key: value for key, value in metadata.items() if key not in _OURS}
    targets = row.get("target")
    if isinstance(targets, str):  # until evalscope 1.0
        targets = [targets]
    if isinstance(targets, list) and len(targets) == 1:
        fields.setdefault("diagnosis", targets[0])
    elif targets:
        fields.setdefault("several_targets", targets)
    if image := _image(row.get("messages")):
        fields.setdefault("image", image)
    answer = score.get("prediction")
    if answer is None:
        answer = score.get("extracted_prediction")
    reason = ""
    if answer is None:
        output = row.get("model_output")
        choices = _object(output).get("choices")
        if choices and isinstance(choices, list):
            answer = _text(_object(_object(choices[0]).get("message")).get("content"))
        elif not _object(output).get(
            "error"
        ):  # a refusal by a filter is an answer of the model: an empty one
            reason = "evalscope has no answer of the model"
    number = judged.get("group_id")
    # With `repeats` a question is asked several times under new numbers; a label has the question's own.
    key = "" if number is None or number == row.get("index") else str(number)
    return Row(metadata.get("id", row.get("index", ABSENT)), answer, fields, left_out=reason, key=key)


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(content: Any) -> Any:
    """The content of a message; parts that are no text, such as reasoning, are no part of the answer."""
    if not isinstance(content, list):
        return content
    return "\n".join(
        str(part.get("text", "")) for part in map(_object, content) if part.get("type") == "text"
    )


def _image(messages: Any) -> str | None:
    for message in messages if isinstance(messages, list) else []:
        content = _object(message).get("content")
        for part in map(_object, content if isinstance(content, list) else []):
            if part.get("type") in ("image", "image_url"):
                return image_path(part.get("image") or part.get("image_url"))
    return None


EVALSCOPE = Format(
    name="evalscope",
    title="evalscope's review or prediction file",
    needs="'index', and 'sample_score' (reviews/...) or 'model_output' (predictions/...), in every row",
    matches=lambda names: "index" in names and bool({"sample_score", "model_output"} & names),
    containers=("jsonl",),
    id_key="index",
    answer_key="sample_score or model_output",
    read=_read,
)
