"""Laws of pipelines, over tasks and graphs that hypothesis makes up, against brute force."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firstlight.errors import PipelineError
from firstlight.framework import DataId, MemoryDatasets, Pipeline, TaskGraph
from firstlight.framework.selection import selected

from .pipeline_tasks import NIGHT, node, task_class

LABELS = "abcdefg"


@st.composite
def edges(draw, *, forward):
    """Draw which task reads what which other one makes; ``forward`` leaves no circle."""
    count = draw(st.integers(1, len(LABELS)))
    pairs = itertools.combinations(LABELS[:count], 2) if forward else itertools.permutations(LABELS[:count], 2)
    chosen = draw(st.lists(st.sampled_from(list(pairs)), unique=True, max_size=10)) if count > 1 else []
    order = draw(st.permutations(LABELS[:count]))
    return order, frozenset(chosen)


def nodes(order, pairs, *, outside=(), optional=()):
    """Return labels in ``order``; each makes ``<label>_out``."""
    return [
        node(
            label,
            [f"{maker}_out" for maker, reader in sorted(pairs) if reader == label]
            + [x for x, r in outside if r == label],
            [f"{label}_out"],
            optional=optional,
        )
        for label in order
    ]


def reached(pairs, start):
    """Return everything that can be reached from ``start``, by trying until nothing is new."""
    found = {start}
    while new := {other for one, other in pairs if one in found} - found:
        found |= new
    return found


@given(edges(forward=True))
def test_no_task_stands_before_one_whose_datasets_it_reads(drawn):
    order, pairs = drawn
    graph = TaskGraph(nodes(order, pairs))
    place = {label: index for index, label in enumerate(graph.nodes)}

    assert sorted(place) == sorted(order)
    assert all(place[maker] < place[reader] for maker, reader in pairs)


@given(edges(forward=True))
def test_the_order_is_the_first_of_all_that_are_possible(drawn):
    order, pairs = drawn
    rank = {label: index for index, label in enumerate(order)}
    left, expected = set(order), []
    while left:
        ready = [label for label in left if not any(r == label and m in left for m, r in pairs)]
        expected.append(min(ready, key=rank.get))
        left.remove(expected[-1])

    assert list(TaskGraph(nodes(order, pairs)).nodes) == expected


@given(edges(forward=False))
def test_every_circle_is_refused_and_a_true_one_is_named(drawn):
    order, pairs = drawn
    reach = {label: reached(pairs, label) for label in order}
    circular = any(one != other and one in reach[other] and other in reach[one] for one in order for other in order)

    if not circular:
        assert len(TaskGraph(nodes(order, pairs))) == len(order)
        return
    with pytest.raises(PipelineError) as raised:
        TaskGraph(nodes(order, pairs))
    (line,) = str(raised.value).splitlines()
    steps = line.removeprefix("tasks wait for each other: ").split("; ")
    named = [
        (maker, reader)
        for maker, made, reader in (step.replace(" for ", " makes ").split(" makes ") for step in steps)
        if made == f"{maker}_out"
    ]
    assert len(named) == len(steps) == len({maker for maker, _ in named})
    assert set(named) <= pairs
    assert [reader for _, reader in named] == [maker for maker, _ in [*named[1:], named[0]]]


@given(edges(forward=True))
def test_before_and_after_are_all_ancestors_and_descendants(drawn):
    order, pairs = drawn
    graph = TaskGraph(nodes(order, pairs))
    backward = {(reader, maker) for maker, reader in pairs}

    for label in order:
        up, down = reached(backward, label), reached(pairs, label)
        assert selected(f"..{label}", graph, {}) == up
        assert selected(f"{label}..", graph, {}) == down
        assert graph.before(label) == tuple(other for other in graph.nodes if other in up)
        assert graph.after(label) == tuple(other for other in graph.nodes if other in down)
        for other in order:
            between = down & reached(backward, other)
            if between:
                assert selected(f"{label}..{other}", graph, {}) == between


@given(
    edges(forward=True),
    st.sets(st.tuples(st.sampled_from(["x", "y", "z"]), st.sampled_from(LABELS)), max_size=6),
    st.sets(st.sampled_from(["x", "y", "z"])),
    st.sets(st.sampled_from(["x", "y", "z"])),
)
def test_every_missing_input_is_told_and_no_other(drawn, outside, available, optional):
    order, pairs = drawn
    graph = TaskGraph(nodes(order, pairs, outside=sorted(outside), optional=optional))
    missing = {(name, label) for name, label in outside if label in order and name not in available | optional}

    try:
        graph.require_inputs(available)
        lines = []
    except PipelineError as error:
        lines = str(error).splitlines()
    assert {(line.split("'")[1], line.split(":")[0]) for line in lines} == missing
    assert len(lines) == len(missing)
    assert set(graph.outside) == {name for name, label in outside if label in order}


@given(edges(forward=True))
def test_every_task_gets_what_those_before_it_made(drawn):
    order, pairs = drawn
    classes = {each.label: each.slot.task for each in nodes(order, pairs)}
    run = Pipeline.from_tasks(**classes).run_in_memory({})
    sums = {}
    for label in sorted(order):
        sums[label] = 1.0 + sum(sums[maker] for maker, reader in pairs if reader == label)

    assert {label: run[f"{label}_out"] for label in order} == sums


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipelines")
    (folder / "night.yaml").write_text(NIGHT, encoding="utf-8")
    parts = [
        "{location: night.yaml, include: [correct]}",
        "{location: night.yaml, include: [sum]}",
        "{location: night.yaml, include: [compare]}",
    ]
    for name, part in zip("abc", parts, strict=True):
        (folder / f"{name}.yaml").write_text(f"imports: [{part}]\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize("order", list(itertools.permutations("abc")))
def test_files_that_say_nothing_of_each_other_can_be_imported_in_any_order(folder, order):
    path = folder / f"{''.join(order)}.yaml"
    path.write_text(f"imports: [{', '.join(f'{name}.yaml' for name in order)}]\n", encoding="utf-8")
    pipeline = Pipeline.load(path).build()

    assert list(pipeline.graph.nodes) == ["correct", "sum", "compare"]
    assert pipeline.settings == Pipeline.load(folder / "night.yaml").build().settings


VISITS, DETECTORS = range(3), range(3)
PLACES = {
    ("visit", "detector"): [(v, d) for v in VISITS for d in DETECTORS],
    ("visit",): [(v,) for v in VISITS],
    ("detector",): [(d,) for d in DETECTORS],
}


@st.composite
def tables(draw):
    """Draw three dataset types, each with the dimensions and the data ids of its datasets."""
    found = {}
    for name in ("x", "y", "z"):
        dimensions = draw(st.sampled_from(list(PLACES)))
        places = draw(st.lists(st.sampled_from(PLACES[dimensions]), unique=True, min_size=1))
        found[name] = {
            DataId(dict(zip(dimensions, place, strict=True))): 1.0 + index for index, place in enumerate(places)
        }
    return found


@given(tables())
@settings(deadline=None)
def test_work_in_memory_is_the_join_that_brute_force_finds(inputs):
    join = task_class("JoinTask", list(inputs), ["joined"], dimensions=("visit", "detector"))
    expected = {}
    for combination in itertools.product(*(table.items() for table in inputs.values())):
        merged = {}
        if all(
            merged.setdefault(name, value) == value for data_id, _ in combination for name, value in data_id.items()
        ):
            expected[DataId(merged)] = 1.0 + sum(value for _, value in combination)
    # Where a value of the work is left open, several datasets may agree with it; that is told elsewhere.
    if any(sum(other.agrees(one) for other in table) > 1 for one in expected for table in inputs.values()):
        with pytest.raises(PipelineError, match="takes one"):
            Pipeline.from_tasks(join=join).run_in_memory(inputs)
        return

    run = Pipeline.from_tasks(join=join).run_in_memory(inputs)

    assert {
        record.quantum.data_id: run.datasets.get("joined", **record.quantum.data_id) for record in run.records
    } == expected
    assert [record.quantum.data_id for record in run.records] == sorted(expected, key=DataId.sort_key)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=6), st.integers(-1, 7))
def test_at_every_time_one_certified_calibration_at_most_is_valid(spans, time):
    datasets, kept = MemoryDatasets(), []
    for begin, end in spans:
        free = begin < end and all(end <= b or e <= begin for b, e in kept)
        if free:
            datasets.certify("bias", (begin, end), begin=begin, end=end, detector=1)
            kept.append((begin, end))
        else:
            with pytest.raises(PipelineError):
                datasets.certify("bias", (begin, end), begin=begin, end=end, detector=1)

    valid = [each.value for each in datasets.of_type("bias") if each.begin <= time < each.end]
    assert valid == [(b, e) for b, e in kept if b <= time < e]
    assert len(valid) <= 1
