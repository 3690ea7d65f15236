"""Strict reading of YAML.

Duplicate keys and values that aliases expand beyond measure are errors, and no content of a file
causes a traceback.
"""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from dsacap.common.errors import UserError
from dsacap.common.files import read_text

_MAX_VALUES = 100_000  # after aliases are expanded; the largest configuration here has 1,000


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        known = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in known:
                raise yaml.constructor.ConstructorError(
                    None, None, f"duplicate key {key.value!r}", key.start_mark
                )
            known.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """Read a YAML file as plain data.

    Raises:
        UserError: The file cannot be read, or it is not YAML that this module accepts.
    """
    loader = None
    try:
        loader = _Loader(read_text(path))
        node = loader.get_single_node()
        if node is None:
            return None
        if _size(node, {}) > _MAX_VALUES:
            raise UserError(
                f"{path}: more than {_MAX_VALUES:,} values after expanding aliases of aliases;"
                " write them out"
            )
        return loader.construct_document(node)
    except UserError:
        raise
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not YAML: {error}") from None
    except Exception as error:  # malformed values (2001-99-99, !!bool x) raise half a dozen types
        raise UserError(f"{path}: cannot be read as YAML: {error}") from None
    finally:
        if loader:
            loader.dispose()


def _size(node: yaml.Node, known: dict[int, float]) -> float:
    """Return the number of values with aliases expanded; infinity if it contains itself."""
    if id(node) not in known:
        known[id(node)] = float("inf")  # until it has been counted
        children = node.value if isinstance(node, yaml.CollectionNode) else ()
        known[id(node)] = 1 + sum(
            _size(child, known)
            for item in children
            for child in (item if isinstance(item, tuple) else (item,))
        )
    return known[id(node)]
