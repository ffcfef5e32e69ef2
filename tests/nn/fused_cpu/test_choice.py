"""The choice between fused kernels and blocks of matrix products on the CPU."""

import json

import pytest
import torch

from nrc_tracer.device.launch import initialize
from nrc_tracer.errors import ConfigError
from nrc_tracer.nn.fused_cpu import choice
from nrc_tracer.nn.snapshot import load_model
from tests.nn.samples import GRID, SMALL, make_model, same_bits, uniform


@pytest.fixture
def trials(monkeypatch, tmp_path):
    """Replaces trials: each returns the entry `ratio` and adds its network to the list `tried`. Their file is temporary.

    The trial with many rows returns the entry `ratio of many`, if there is one.
    """
    found = {"ratio": 2.0, "tried": []}

    def trial(structure, program, precision, rows):
        if rows == choice.ROWS[1]:
            return found.get("ratio of many", found["ratio"])
        found["tried"].append((structure.mlp.config.n_neurons, precision))
        return found["ratio"]

    initialize()
    monkeypatch.delenv(choice.VARIABLE, raising=False)
    monkeypatch.setattr(choice, "choices_file", lambda: tmp_path / "forms.json")
    monkeypatch.setattr(choice, "measure_speedup", trial)
    return found


@pytest.mark.parametrize(("ratio", "form"), [(5.0, "fused"), (1.3, "fused"), (1.29, "blocked"), (0.5, "blocked")])
def test_the_fused_form_is_used_if_it_is_faster(trials, ratio, form):
    """The form follows the trial, and the backend's report states the measured ratio."""
    trials["ratio"] = ratio
    model = make_model()
    assert (model.form, model.precision) == (form, "float32")
    assert f"{form} kernels" in model.backend_report()
    assert f"{ratio:.2f} x" in model.backend_report()


@pytest.mark.parametrize(("few", "many", "form"), [(2.0, 1.3, "fused"), (2.0, 1.29, "blocked"), (1.29, 2.0, "blocked")])
def test_the_fused_form_must_be_worth_while_for_few_and_many_rows(trials, few, many, form):
    """A model has one form for all batches, and the report states both ratios."""
    trials["ratio"], trials["ratio of many"] = few, many
    model = make_model()
    assert model.form == form
    assert f"{few:.2f} x and {many:.2f} x" in model.backend_report()


def test_a_trial_is_made_once_for_each_network(trials):
    """The result is stored in the file and used again, even when a new trial would have another result."""
    assert make_model().form == "fused"
    trials["ratio"] = 0.1
    assert make_model().form == "fused"
    assert make_model(GRID, SMALL | {"n_neurons": 32}).form == "blocked"
    assert [neurons for neurons, _ in trials["tried"]] == [16, 32]
    found = json.loads(choice.choices_file().read_text())
    assert sorted(ratio for ratios in found.values() for ratio in ratios.values()) == [0.1, 0.1, 2.0, 2.0]


def test_a_damaged_file_is_replaced(trials):
    """A file that cannot be read is replaced by a valid one."""
    path = choice.choices_file()
    for damage in ("", "[1, 2]", '{"a"', "\x00"):
        path.write_text(damage)
        assert make_model().form == "fused"
        assert isinstance(json.loads(path.read_text()), dict)


def test_the_fused_form_is_compared_with_the_fastest_precision(trials):
    """`auto` compares the fused form in float32 with the blocked form in its fastest precision."""
    blocked = make_model(backend="blocked", precision="auto")
    trials["ratio"] = 1.0
    model = make_model(precision="auto")
    assert (model.form, model.precision) == ("blocked", blocked.precision)
    assert trials["tried"] == [(16, getattr(torch, blocked.precision))]
    trials["ratio"] = 3.0
    model = make_model(GRID, SMALL | {"n_neurons": 32}, precision="auto")
    assert (model.form, model.precision) == ("fused", "float32")


def test_requested_forms_are_used(trials, monkeypatch):
    """The form can be requested by argument, by the backend's name or by the environment; the argument has precedence."""
    trials["ratio"] = 0.1
    assert make_model(form="fused").form == "fused"
    monkeypatch.setenv(choice.VARIABLE, "fused")
    assert make_model().form == "fused"
    assert make_model(form="blocked").form == "blocked"
    assert make_model(backend="blocked").form == "blocked"
    assert make_model(precision="bfloat16").form == "blocked"
    assert trials["tried"] == []
    monkeypatch.setenv(choice.VARIABLE, "fusedd")
    with pytest.raises(ConfigError, match=r'NRC_TRACER_CPU_FORM: unknown "fusedd" \(did you mean "fused"'):
        make_model()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"network": None}, "without a network"),
        ({"network": {"otype": "CutlassMLP", "n_neurons": 24}}, "multiple of 16"),
        ({"network": {"otype": "CutlassMLP", "n_neurons": 512}}, "256 at most"),
        ({"encoding": {"otype": "Composite", "reduction": "Sum", "nested": [GRID, GRID]}}, "reduction Sum"),
    ],
)
def test_models_that_are_not_fused(trials, options, reason):
    """They run in the blocked form and report the reason; requesting the fused form is an error."""
    if "encoding" in options:
        nested = [{**part, "n_dims_to_encode": 3, "dims_to_encode_begin": 0} for part in options["encoding"]["nested"]]
        options = {"encoding": {**options["encoding"], "nested": nested}}
    model = make_model(**options)
    assert model.form == "blocked"
    assert reason in model.backend_report()
    assert trials["tried"] == []
    with pytest.raises(ConfigError, match="form: .*" + reason):
        make_model(form="fused", **options)


def test_half_precisions_are_not_fused(trials):
    """The fused form together with a half precision is an error, and so is an unknown form."""
    with pytest.raises(ConfigError, match="fused kernels on the CPU use float32, not bfloat16"):
        make_model(form="fused", precision="bfloat16")
    with pytest.raises(ConfigError, match=r'form: unknown "fast"'):
        make_model(form="fast")


@pytest.mark.parametrize("form", ["fused", "blocked"])
def test_a_saved_model_keeps_its_form(trials, tmp_path, form):
    """A loaded model has the saved form and the same output bits, even when a trial would choose the other form."""
    trials["ratio"] = 0.1 if form == "fused" else 9.0
    model = make_model(form=form)
    model.save(tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors", device="cpu")
    assert loaded.form == form
    x = uniform(100, 3)
    assert same_bits(loaded(x), model(x))
    assert load_model(tmp_path / "model.safetensors", device="cpu", precision="bfloat16").form == "blocked"


def test_a_real_trial_measures_both_forms(monkeypatch, tmp_path):
    """Real trials store plausible ratios of times."""
    initialize()
    monkeypatch.delenv(choice.VARIABLE, raising=False)
    monkeypatch.setattr(choice, "choices_file", lambda: tmp_path / "forms.json")
    make_model()
    found = json.loads(choice.choices_file().read_text())
    ratios = list(next(iter(found.values())).values())
    assert len(ratios) == len(choice.ROWS)
    assert all(0.01 < ratio < 100.0 for ratio in ratios)
