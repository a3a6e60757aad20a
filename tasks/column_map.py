"""What a user's files call our fields: a YAML file, or a dictionary bound in gin."""

import os
from collections.abc import Mapping
from typing import Any

from gsid_jax.errors import UserError
from tasks import raw_records

FIELDS = {
    "items": raw_records.ITEM_FIELDS, "interactions": raw_records.INTERACTION_FIELDS,
    "sequences": raw_records.SEQUENCE_FIELDS, "q2i_test": raw_records.Q2I_FIELDS,
    "i2i_test": raw_records.I2I_FIELDS, "truth": raw_records.TRUTH_FIELDS,
    "item_pairs": raw_records.PAIR_FIELDS}
EXAMPLE = "items: {item_id: listing, title: name}"


def load(columns: str | os.PathLike | Mapping[str, Any] | None) -> dict[str, dict[str, str]]:
    """Their column by our field, by kind of file; UserError for a kind or field we do not have.

    columns: a YAML file, or what one would hold; 'events' is another name of 'interactions'.
    """
    if not columns:
        return {}
    where = "columns"
    if not isinstance(columns, Mapping):
        where, columns = f"column map {columns}", _read(columns)
    if not isinstance(columns, Mapping):
        raise UserError(f"{where} holds {type(columns).__name__}; expected our fields and your "
                        f"columns by kind of file, such as {EXAMPLE}")
    found = {}
    for kind, names in columns.items():
        kind = "interactions" if kind == "events" else kind
        if kind not in FIELDS:
            raise UserError(f"{where} names files of kind {kind!r}; expected one of "
                            f"{', '.join(FIELDS)}: correct it")
        if not isinstance(names, Mapping) or not all(
                isinstance(name, str) for pair in names.items() for name in pair):
            raise UserError(f"{where} has {names!r} for {kind}; expected texts by texts, such as "
                            f"{EXAMPLE}")
        for ours in names:
            if ours not in FIELDS[kind]:
                raise UserError(f"{where} maps {ours!r} of {kind}; expected one of our fields "
                                f"{', '.join(FIELDS[kind])} on the left and your column on the "
                                "right: correct it")
        found[kind] = dict(names)
    return found


def _read(path: str | os.PathLike) -> Any:
    import yaml
    try:
        with open(path, encoding="utf-8") as file:
            return yaml.safe_load(file)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"column map {path} cannot be read ({error}); expected a YAML file such as "
                        f"{EXAMPLE}: correct --columns") from error
