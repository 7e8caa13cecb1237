"""What pydantic found wrong, in a user's words: one line for each mistake, at the path where it was made."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import count

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from firstlight.framework.annotations import below, tagged, unfolded
from firstlight.framework.lookup import did_you_mean
from firstlight.framework.mappings import thawed
from firstlight.framework.renamed import former_names, removed_fields

_MESSAGES = {"path_type": "should be a path", "model_type": "should be a mapping of settings"}
Mistake = tuple[tuple[str, ...], str]


def explained(error: ValidationError, config_class: type[BaseModel]) -> list[str]:
    """Return one line, ``Class.path: what is wrong``, for each mistake that pydantic found."""
    name = config_class.__name__
    return [f"{'.'.join((name, *path))}: {words}" for path, words in mistakes(error, config_class)]


def mistakes(error: ValidationError, config_class: type[BaseModel]) -> list[Mistake]:
    """Return path and words for each mistake that pydantic found; a choice of types counts as one."""
    found: dict[tuple[str, ...], list[str]] = {}
    for details in error.errors(include_url=False):
        # The field was only not computed because another one is wrong.
        if details["type"] != "default_factory_not_called":
            path, owner = _located(details["loc"], config_class)
            path, words = _explained_once(details, path, owner)
            found.setdefault(path, []).append(words)
    return [(path, _joined(each)) for path, each in found.items()]


def no_such_field(name: str, config_class: type[BaseModel]) -> str:
    """Return the words for a field that ``config_class`` does not have, or no longer."""
    if former := former_names(config_class).get(name):
        return f"is now called {former.field!r}{former.in_version}"
    if why := removed_fields(config_class).get(name):
        return f"was removed: {why}"
    known = list(config_class.model_fields)
    hint = did_you_mean(name, known)
    if not hint:
        hint = f"; {config_class.__name__} has {', '.join(known)}" if known else f"; {config_class.__name__} has none"
    return f"no such field{hint}"


def not_among(value: object, choices: Sequence[object]) -> str:
    """Return the words for a value that is none of ``choices``."""
    hint = did_you_mean(str(value), [str(choice) for choice in choices])
    return f"should be {' or '.join(map(repr, choices))}; got {value!r}{hint}"


def origin_of(origins: Mapping[str, str], path: tuple[str, ...], words: str) -> str:
    """Return where the setting at ``path``, or around it, came from.

    What a whole config says about its fields came from those that ``words`` name, or from all that were set.

    Parameters
    ----------
    origins
        Dotted path -> origin, for every setting that counts.
    path
        Where the mistake is.
    words
        What is wrong.
    """
    for length in range(len(path), 0, -1):
        if origin := origins.get(".".join(path[:length])):
            return origin
    if path:
        return ""
    spoken = set(re.findall(r"\w+", words))
    named = [origin for key, origin in origins.items() if key.partition(".")[0] in spoken]
    return " and ".join(dict.fromkeys(named or origins.values()))


def misread(given: object, built: object) -> tuple[tuple[str, ...], str, object] | None:
    """Return path, type expected and value where pydantic took one kind of value for another; None if it did not."""
    if isinstance(given, str | int) and type(built) in (int, float, bool) and type(given) is not type(built):
        number = type(given) is int and type(built) is float
        return None if number else ((), type(built).__name__, given)
    pairs: Iterable[tuple[object, object, object]] = ()
    if isinstance(given, list) and isinstance(built, tuple) and len(given) == len(built):
        pairs = zip(count(), given, built)
    elif isinstance(given, dict) and isinstance(built, Mapping | BaseModel):
        inside = built if isinstance(built, Mapping) else vars(built)
        pairs = ((key, given[key], inside[key]) for key in given if key in inside)
    for key, item, made in pairs:
        if found := misread(item, made):
            return (str(key), *found[0]), *found[1:]
    return None


def _located(loc: tuple[int | str, ...], config_class: type[BaseModel]) -> tuple[tuple[str, ...], type[BaseModel]]:
    """Return the path as a user writes it, and the class whose field it names.

    What pydantic adds to tell the members of a union apart is left out; a union without a discriminator is one place.
    """
    annotation: object = config_class
    owner, path = config_class, list[str]()
    for part in loc:
        choice = unfolded(annotation)
        if len(choice.members) > 1:
            if not choice.discriminator:
                break
            annotation = next((each for tag, each in tagged(choice).items() if str(tag) == str(part)), object)
            continue
        member = choice.members[0] if choice.members else object
        if isinstance(member, type) and issubclass(member, BaseModel):
            owner = member
        annotation = below(member, part)
        path.append(str(part))
    last = unfolded(annotation).members
    # A whole config that is wrong: its own validator said so.
    if len(last) == 1 and isinstance(last[0], type) and issubclass(last[0], BaseModel):
        owner = last[0]
    return tuple(path), owner


def _joined(words: list[str]) -> str:
    *others, last = words
    return " or ".join([*(each.partition("; got")[0] for each in others), last])


def _explained_once(
    details: ErrorDetails, path: tuple[str, ...], owner: type[BaseModel]
) -> tuple[tuple[str, ...], str]:
    """Return where and what is wrong in one mistake that pydantic found, in a few words."""
    kind, message = details["type"], details["msg"]
    if kind == "extra_forbidden":
        return path, no_such_field(str(details["loc"][-1]), owner)
    if kind in ("missing", "union_tag_not_found"):
        tag = details.get("ctx", {}).get("discriminator")
        return ((*path, tag.strip("'")) if tag else path), "is required"
    if kind == "union_tag_invalid":
        facts = details["ctx"]
        tags = [tag.strip("'") for tag in facts["expected_tags"].split(", ")]
        return (*path, facts["discriminator"].strip("'")), not_among(facts["tag"], tags)
    if kind in ("value_error", "assertion_error"):
        return path, message.partition(", ")[2] or message
    if kind.endswith(("_parsing", "_from_float")):
        message = message.partition(",")[0]
    message = _MESSAGES.get(kind, message)
    message = message.replace("Input should be", "should be")
    return path, f"{message[0].lower()}{message[1:]}; got {_brief(details['input'])}"


def _brief(value: object) -> str:
    text = repr(thawed(value))
    return text if len(text) <= 60 else f"{text[:57]}..."
