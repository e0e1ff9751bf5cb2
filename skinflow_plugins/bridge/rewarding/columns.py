"""What swift hands to a reward, as the columns of our contract."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

# What swift hands to every reward besides the data columns.
_NOT_COLUMNS = frozenset(
    {"trainer_state", "messages", "images", "videos", "audios", "tools", "objects", "rollout_infos"}
)


def unpack(
    completions: Sequence[str], kwargs: Mapping[str, Any]
) -> tuple[dict[str, list[Any]], list[str] | None]:
    """The data columns of a batch, one value per completion in each; and its stages, where rows name them.

    Rows of our own data files carry their sample as JSON, which is unpacked here; rows of anyone else's data
    carry plain columns. A column that a row lacks is None there.
    """
    count = len(completions)
    columns = {
        name: values
        for name, values in kwargs.items()
        if name not in _NOT_COLUMNS and isinstance(values, list) and len(values) == count
    }
    stages = columns.get("stage")
    packed = columns.pop("sample", None)
    if packed is not None:
        samples = [_sample(each) for each in packed]
        for name in dict.fromkeys(key for sample in samples for key in sample):
            columns[name] = [sample.get(name) for sample in samples]
    return columns, stages


def _sample(packed: Any) -> Mapping[str, Any]:
    found = json.loads(packed) if isinstance(packed, str) else packed
    return found if isinstance(found, dict) else {}
