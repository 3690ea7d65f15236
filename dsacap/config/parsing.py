"""Strict parsing of configuration sections, with errors that name the key."""

import dataclasses
import json
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from dsacap.captioner.choice import Choice, ChosenDecoding
from dsacap.captioner.interface import Captioner
from dsacap.common.errors import UserError
from dsacap.config.section import Section

S = TypeVar("S", bound=Section)

# Plainer messages than pydantic's, by its type of error.
_MESSAGES = {"extra_forbidden": "unknown key", "missing": "is missing"}


def checked_options(settings: type, options: dict[str, Any], where: str) -> Any:
    """Return options as a captioner's own dataclass of settings.

    Args:
        settings: The dataclass: `Model` or `Decoding` of a captioner.
        options: Options by name, as in the configuration.
        where: Place of the options in the configuration, for messages.

    Raises:
        ValueError: An option is unknown, or its type or value is wrong.
    """
    known = {field.name for field in dataclasses.fields(settings)}
    unknown = sorted(set(options) - known)
    if unknown:
        raise ValueError(
            f"{where}: unknown key {unknown[0]!r}; known: {', '.join(sorted(known)) or 'none'}"
        )
    try:
        return TypeAdapter(settings).validate_json(strict_json(options), strict=True)
    except ValidationError as error:
        raise ValueError(message_of(error.errors()[0], where)) from None


def decoding_of(
    captioner: type[Captioner], options: dict[str, Any], where: str, model: Any = None
) -> Any:
    """Return the options of a decoding: the captioner's own, or with `choose` a `ChosenDecoding`.

    Args:
        captioner: The class of the captioner.
        options: Options by name, as in the configuration.
        where: Place of the options in the configuration, for messages.
        model: The captioner's `Model`, which has to support the decoding; None to leave that out.

    Raises:
        ValueError: An option is unknown, or its type or value is wrong, or `model` does not support
            the decoding.
    """
    if "choose" not in options:
        decoding = own = checked_options(captioner.Decoding, options, where)
    else:
        names = {field.name for field in dataclasses.fields(Choice)}
        parts: tuple[dict, dict] = ({}, {})
        for key, value in options.items():
            parts[key in names][key] = value
        own = checked_options(captioner.Decoding, parts[0], where)
        decoding = ChosenDecoding(own, checked_options(Choice, parts[1], where))
        if not own.random:
            raise ValueError(
                f"{where}: choose needs a decoding that draws different captions, for example by a"
                " temperature"
            )
        if decoding.choice.choose == "rerank" and captioner.evidence is Captioner.evidence:
            raise ValueError(
                f"{where}: choose: rerank needs the exact probability of a caption, which"
                f" {captioner.__name__} does not compute"
            )
    if model is not None:
        try:
            captioner.check(model, own)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
    return decoding


def message_of(error: ErrorDetails, *where: str) -> str:
    """Return the place and the message of an error; messages of our own contain the place."""
    message = _MESSAGES.get(error["type"], error["msg"].removeprefix("Value error, "))
    place = ".".join([*where, *map(str, error["loc"])])
    return f"{place}: {message}" if place else message


def strict_json(data: Any) -> str:
    """Serialise data for pydantic's strict validation of JSON.

    It accepts a list as a tuple and text as a path, but no text as a number and no `yes` as 1.
    """
    return json.dumps(data, default=str)


def parse_section(section: type[S], data: Any, what_is_wrong: str) -> S:
    """Check a single section.

    Args:
        section: Its class.
        data: Plain data, as read from YAML or JSON.
        what_is_wrong: First line of the error message, which then names the keys.

    Raises:
        UserError: The data is invalid.
    """
    try:
        return section.model_validate_json(strict_json(data), strict=True)
    except ValidationError as error:
        raise UserError("\n  ".join([what_is_wrong, *map(message_of, error.errors())])) from None
