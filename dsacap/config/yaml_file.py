"""YAML read without surprises: no key twice, no value that aliases blow up, no traceback whatever stands in the file."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from dsacap.common.errors import UserError
from dsacap.common.files import read_text

_MOST = 100_000  # values, each alias counted with all that it stands for; the largest configuration here has 1,000


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} stands here twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """Plain data; UserError names the file and what is wrong with it."""
    loader = None
    try:
        loader = _Loader(read_text(path))
        node = loader.get_single_node()
        if node is None:
            return None
        if _size(node, {}) > _MOST:
            raise UserError(
                f"{path}: more than {_MOST:,} values, written by aliases of aliases; write them out"
            )
        return loader.construct_document(node)
    except UserError:
        raise
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not YAML: {error}") from None
    except Exception as error:  # of values that are none of their type (2001-99-99, !!bool x) PyYAML raises half a dozen kinds
        raise UserError(f"{path}: no YAML that can be read: {error}") from None
    finally:
        if loader:
            loader.dispose()


def _size(node: yaml.Node, known: dict[int, float]) -> float:
    """How many values a node stands for; infinitely many where it holds itself."""
    if id(node) not in known:
        known[id(node)] = float("inf")  # until it is known
        inside = node.value if isinstance(node, yaml.CollectionNode) else ()
        known[id(node)] = 1 + sum(
            _size(one, known)
            for item in inside
            for one in (item if isinstance(item, tuple) else (item,))
        )
    return known[id(node)]
