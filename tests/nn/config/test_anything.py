"""Any input is either read as a configuration or refused with an error of the package."""

import copy
import json
import subprocess
import sys
import warnings

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nrc_tracer.nn import config
from nrc_tracer.nn.config import ConfigError, ConfigWarning
from tests.nn.config.documents import ALL_ENCODINGS, ALL_OPTIMIZERS, HASH, NERF, NRC_DEFAULT, ONEBLOB

KEYS = sorted(
    {"otype", "n_features", "fixed_point_pos", "n_dims_to_encode", "dims_to_encode_begin", "n_params_to_optimize"}
    | {key for part in (*ALL_ENCODINGS, *ALL_OPTIMIZERS) for key in part.__struct_fields__}
    | {"encoding", "network", "loss", "optimizer", "parent", "activation", "n_neurons", "n_hidden_layers", "delta"}
)
NAMES = ["Composite", "Grid", "DenseGrid", "NRC", "OneBlob", "Identity", "MLP", "FullyFusedMLP", "Huber", "L2"]
NAMES += ["Ema", "Adam", "Average", "Dense", "Sum", "ReLU"]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 200)
    | st.integers()
    | st.floats()
    | st.sampled_from(NAMES)
    | st.text(st.characters(exclude_categories=()), max_size=8)
)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=12,
)
SECTIONS = st.fixed_dictionaries({}, optional=dict.fromkeys(("encoding", "network", "loss", "optimizer"), JSON))
FUZZ = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def _reads_or_refuses(document, **keywords):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConfigWarning)
        try:
            model = config.read_model(document, **keywords)
        except ConfigError as error:
            message = str(error)
            model = None
    if model is None:
        assert message.isascii()
        assert message.isprintable()
        return
    data = json.loads(json.dumps(config.to_json(model), allow_nan=False))
    assert config.read_model(data) == model


@FUZZ
@given(SECTIONS, st.sampled_from(["tiny-cuda-nn", "instant-ngp"]), st.none() | st.integers(1, 9))
def test_any_data_are_read_or_refused(document, dialect, n_input_dims):
    _reads_or_refuses(document, dialect=dialect, n_input_dims=n_input_dims)


def _members(value):
    """Yield (container, key) for every member of JSON data, at any depth."""
    for key in value if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _members(value[key])


@FUZZ
@given(st.data(), st.sampled_from([HASH, ONEBLOB, NERF, {"encoding": NRC_DEFAULT}]))
def test_any_change_of_a_configuration_is_read_or_refused(data, document):
    document = copy.deepcopy(document)
    for _ in range(data.draw(st.integers(1, 3))):
        members = list(_members(document))
        if not members:
            break
        container, key = data.draw(st.sampled_from(members))
        if isinstance(container, dict) and data.draw(st.booleans()):
            container[data.draw(st.sampled_from(KEYS[1:]).filter(lambda key: key != "parent"))] = container.pop(key)
        else:
            container[key] = data.draw(JSON)
    _reads_or_refuses(document)


@FUZZ
@given(
    st.binary(max_size=40)
    | st.text('{}[]"/*\\,:a1.eE+-\n\ud800', max_size=60).map(lambda t: t.encode("utf-8", "replace"))
)
def test_any_file_is_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "fuzz.json"
    path.write_bytes(content)
    try:
        document = config.read_document(path)
    except ConfigError:
        return
    assert isinstance(document, dict)


def test_importing_the_configuration_loads_neither_torch_nor_warp():
    code = "import sys, nrc_tracer.nn.config; print([n for n in ('torch', 'warp', 'numpy') if n in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
