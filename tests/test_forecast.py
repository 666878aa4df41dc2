"""Costs and expected times, against the sums they stand for."""

import dataclasses

import pytest
from histories import samples
from synthetic import RECIPE, a_cell, a_curve, a_host, a_run

from bench import forecast, host
from bench.benchmark import benchmarks
from bench.forecast import Cost, Forecast
from bench.source import Source
from bench.store import Store

COST = Cost(1, 1000, 1)


def recorded(tmp_path, the_host, cells, devices=1):
    store = Store(tmp_path)
    store.add_host(the_host)
    for cell, seconds in cells:
        curve = [dataclasses.replace(p, train_seconds=seconds, eval_seconds=1.0) for p in a_curve(cell)]
        store.commit(cell, a_run(cell, curve, the_host, multiply_adds=1000, devices=devices), curve)
    return Forecast(store.runs(), forecast.alike(store.hosts(), None))


def test_the_same_net_takes_what_it_took_and_others_their_share(tmp_path):
    here = a_host(cpu=host.cpu_model())
    times = recorded(tmp_path, here, [(a_cell(seed=0), 3.0), (a_cell(seed=1), 5.0)])
    assert times.expect(a_cell(seed=7), COST) == forecast.Expected(5.0, measured=True)  # (4 + 6) / 2
    twice = times.expect(a_cell(depth=20), Cost(1, 2000, 1))
    assert not twice.measured and twice.seconds == pytest.approx(2 * 5.0, rel=0.25)
    longer = dataclasses.replace(RECIPE, iterations=1000, drops=())
    assert times.expect(a_cell(recipe=longer), COST).seconds == pytest.approx(10 * 5.0, rel=0.25)


def test_a_cell_that_several_devices_took_would_take_one_that_many_times_as_long(tmp_path):
    times = recorded(tmp_path, a_host(cpu=host.cpu_model()), [(a_cell(), 3.0)], devices=4)
    assert times.expect(a_cell(seed=7), COST) == forecast.Expected(16.0, measured=True)


STREAMED = dataclasses.replace(RECIPE, crop_size=32, scale=(32, 48), crop_padding=0)


def asked(monkeypatch, cells, sources, load):
    """What a survey asks its child, and what it told meanwhile."""
    jobs, told = [], []

    def answer(_, job, *__):
        jobs.append(job)
        return {
            "toolkit": None,
            "checksums": [f"of {s}" for s in job["sources"]],
            "costs": [(1, 2, 3)] * len(job["nets"]),
        }

    monkeypatch.setattr(forecast.pool, "call", answer)
    _, costs, checksums = forecast.survey(cells, sources, told.append, None, load=load)
    return jobs[0], costs, checksums, told


def test_a_survey_tells_files_from_arrays_of_one_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("RESBENCH_CACHE", str(tmp_path))
    source = Source("folder", str(tmp_path / "x"))
    cells = [a_cell(data="folder:x"), a_cell(data="folder:x", recipe=STREAMED), a_cell()]
    sources = {"folder:x": source, "digits": Source("digits")}
    job, costs, checksums, told = asked(monkeypatch, cells, sources, load=True)
    assert job["sources"] == [("digits", False), (str(source), False), (str(source), True)]
    assert [(text, size, shape) for text, size, _, shape in job["nets"]] == [
        (str(source), 0, None), (str(source), 32, None), ("digits", 0, (1, 8, 10)),
    ]  # fmt: skip
    assert set(costs) == {cell.priced for cell in cells} and set(checksums) == {cell.reads for cell in cells}
    assert told == [] and forecast.remembered(cells) == costs
    assert forecast.remembered([a_cell(data="folder:x", recipe=dataclasses.replace(STREAMED, crop_size=24))]) == {}


def test_imagenet_need_not_be_there_to_be_planned(tmp_path, monkeypatch):
    """Nor is it read; what is taken for granted is told and not remembered. Of another folder nothing is."""
    monkeypatch.setenv("RESBENCH_CACHE", str(tmp_path))
    sources = {f"folder:{name}": Source("folder", str(tmp_path / name)) for name in ("imagenet", "flowers")}
    cells = [a_cell(data=data, recipe=STREAMED) for data in sources]
    job, _, _, told = asked(monkeypatch, cells, sources, load=False)
    assert job["sources"] == [(str(sources["folder:flowers"]), True)]
    assert [shape for *_, shape in job["nets"]] == [(3, 32, 1000), None]
    assert told == [f"folder:{tmp_path / 'imagenet'} is not here: it is taken to have 1,000 classes"]
    assert set(forecast.remembered(cells)) == {cells[1].priced}
    (tmp_path / "imagenet").mkdir()
    job, _, _, told = asked(monkeypatch, cells, sources, load=False)
    assert job["sources"] == [(str(sources["folder:imagenet"]), True)] and told == []


def test_timed_steps_tell_more_than_other_nets_and_less_than_the_net_itself(tmp_path):
    here = a_host(cpu=host.cpu_model())
    store, cell = Store(tmp_path), a_cell(depth=20)
    recorded(tmp_path, here, [(a_cell(), 3.0)])
    timed = samples([0.5], here, *benchmarks(["train"], [cell]))
    times = Forecast(store.runs(), {here.id: here}, lambda: timed)
    found = times.expect(cell, Cost(1, 10**9, 1))
    # 100 steps of 32 images, and 4 evaluations of digits' 1,797 at three times the pace
    assert not found.measured and found.seconds == pytest.approx(100 * 0.5 + 4 * 1_797 / (3 * 64))
    assert found.paced.step.host == here
    assert times.expect(a_cell(seed=5), COST) == forecast.Expected(4.0, measured=True)
    assert times.expect(a_cell(depth=14), COST).paced is None


def test_another_machine_tells_nothing(tmp_path):
    times = recorded(tmp_path, a_host(cpu="Another CPU"), [(a_cell(), 3.0)])
    assert times.expect(a_cell(), COST) is None


def test_costs_are_counted_once_and_then_remembered(tmp_path, monkeypatch):
    monkeypatch.setenv("RESBENCH_CACHE", str(tmp_path))
    cells, sources = [a_cell(20, "A"), a_cell(20, "B"), a_cell(20, "A", seed=1)], {"digits": Source("digits")}
    assert forecast.remembered(cells) == {}
    found = forecast.costs_of(cells, sources, print)
    # 3 input channels, as the paper counts: 269,722; digits have 1, so 2 * 9 * 16 weights less
    assert found[cells[0].priced].parameters == 269_722 - 2 * 9 * 16
    assert found[cells[1].priced].parameters == 272_474 - 2 * 9 * 16
    monkeypatch.setattr(forecast.pool, "call", None)
    assert forecast.costs_of(cells, sources, print) == found
    (tmp_path / forecast.COSTS).write_text("damaged")
    assert forecast.remembered(cells) == {}
