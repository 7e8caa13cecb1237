"""A result is a frozen dataclass with every field annotated."""

from dataclasses import FrozenInstanceError, dataclass

import pytest

from firstlight.framework import Struct


@dataclass(frozen=True)
class GoodResult(Struct):
    value: float
    note: str = ""

    @property
    def doubled(self):
        return 2 * self.value


def test_a_struct_is_frozen_and_lists_its_fields():
    result = GoodResult(1.0)

    assert result.to_mapping() == {"value": 1.0, "note": ""}
    with pytest.raises(FrozenInstanceError):
        result.value = 2.0


def test_a_field_without_annotation_is_refused_when_the_class_is_made():
    with pytest.raises(TypeError, match=r"^BadResult is a Struct: annotate 'value'\.$"):

        class BadResult(Struct):
            value = 1.0


def test_a_struct_that_is_no_dataclass_is_refused():
    class BadResult(Struct):
        value: float

    with pytest.raises(TypeError, match=r"^BadResult is a Struct: decorate it with @dataclass\(frozen=True\)\.$"):
        BadResult()


def test_a_struct_that_can_be_changed_is_refused():
    @dataclass
    class BadResult(Struct):
        value: float

    with pytest.raises(TypeError, match="frozen=True"):
        BadResult(1.0)


def test_a_child_that_forgets_the_decorator_is_refused():
    class ChildResult(GoodResult):
        other: float = 1.0

    with pytest.raises(TypeError, match="ChildResult"):
        ChildResult(1.0)
