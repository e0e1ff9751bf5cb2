"""What `swift infer --result_path` of ms-swift writes: response, labels, logprobs, then the row it answered.

The label is the last assistant message of the row that was asked. swift drops columns that it does not know,
`id` among them, unless it is told `--remove_unused_columns false`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skinflow_plugins.data.prediction_formats.row import ABSENT, Format, Row, image_path

_NOT_KEPT = frozenset({"id", "response", "labels", "logprobs", "messages", "images", "answer"})


def _read(row: Mapping[str, Any]) -> Row:
    response = row.get("response", ABSENT)
    fields = {key: value for key, value in row.items() if key not in _NOT_KEPT}
    if row.get("labels") is not None:
        fields.setdefault("diagnosis", row["labels"])
    if image := image_path(row.get("images")):
        fields.setdefault("image", image)
    strange = response is not ABSENT and response is not None and not isinstance(response, str)
    reason = "the response is no text (the model is no language model?)" if strange else ""
    return Row(row.get("id", ABSENT), response, fields, left_out=reason)


SWIFT = Format(
    name="swift",
    title="ms-swift's infer result",
    needs="'response' and 'messages' in every row",
    matches=lambda names: {"response", "messages"} <= names,
    containers=("jsonl",),
    id_key="",
    answer_key="response",
    read=_read,
)
