"""Content security policies of pages, which admit what is in the file and nothing else."""

import base64
import hashlib


def policy_of(style: str, script: str | None, photos: str) -> str:
    """Return the content security policy of a page.

    Args:
        style: The style of the page.
        script: Its script, if it has one.
        photos: Where photos may come from, such as `data:`.
    """
    scripts = f" script-src {_hash_of(script)};" if script is not None else ""
    return (
        f"default-src 'none';{scripts} style-src {_hash_of(style)}; img-src {photos};"
        " base-uri 'none'; form-action 'none'"
    )


def _hash_of(text: str) -> str:
    """The hash by which a policy admits a script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
