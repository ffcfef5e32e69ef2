"""The schedule of a cache, without rendering: frames worked out by hand, and rules that hold for every combination."""

from __future__ import annotations

import dataclasses
import itertools
import math

import msgspec
import pytest

from nrc_tracer.cache import CacheOptions
from nrc_tracer.cache.measurements import Bias, SampleCost
from nrc_tracer.cache.schedule import (
    ADAPTATION,
    Action,
    Done,
    EndFrame,
    EndWarmUp,
    EstimateBias,
    EstimateGain,
    Known,
    Measure,
    Reason,
    Render,
    Train,
    begin_adaptation,
    continue_probability,
    done_after,
    is_warm,
    learning_rate_factor,
    next_action,
    state_after,
)
from nrc_tracer.cache.state import CacheState
from nrc_tracer.errors import CacheError

KNOWN = Known(is_trained=True, has_light=True, is_unbiased=False, is_decided=False, credit_per_frame=1.0)
SMALL, LARGE = Bias(0.01, 0.01), Bias(-0.2, 0.01)
UNKNOWN = Bias(math.nan, math.nan)


def frame(
    state: CacheState, options: CacheOptions, known: Known = KNOWN, *, bias: Bias = SMALL, gain: float = 2.0
) -> tuple[list[Action], CacheState]:
    """The actions of one frame in which the requested estimates are `bias` and `gain`, and the state after it."""
    done, actions = Done(), []
    while not actions or not isinstance(actions[-1], EndFrame | EndWarmUp):
        action = next_action(state, options, known, done)
        if isinstance(action, EstimateBias):
            known = dataclasses.replace(known, bias=bias)
        elif isinstance(action, EstimateGain):
            known = dataclasses.replace(known, perfect_gain=gain)
        state = state_after(state, action, options, known, done)
        done = done_after(done, action)
        actions.append(action)
        assert len(actions) < 8, f"the frame does not end: {actions}"
    return actions, state


def frames(count: int, state: CacheState, options: CacheOptions, known: Known = KNOWN) -> tuple[list, CacheState]:
    """Return the names of the actions of each frame, without the one that ends it, and the state after the last frame."""
    found = []
    for _ in range(count):
        actions, state = frame(state, options, known)
        found.append([type(action).__name__ for action in actions[:-1]])
    return found, state


def warm_up(options: CacheOptions, known: Known = KNOWN, *, budget: int = 10**6, bias=lambda frames: SMALL):
    """The names of the actions of each frame of a warm-up, and the state after it."""
    state, found = CacheState(), []
    while not state.is_warm:
        last = dataclasses.replace(known, budget_is_over=state.warm_up_frames + 1 >= budget)
        actions, state = frame(state, options, last, bias=bias(state.warm_up_frames + 1))
        found.append([type(action).__name__ for action in actions])
        assert len(found) < 1000, "the warm-up does not end"
    return found, state


# The warm-up


def test_a_warm_up_measures_every_fourth_frame_and_ends_at_the_second_small_bias_after_16_frames():
    options = CacheOptions()
    found, state = warm_up(options)
    assert [i for i, names in enumerate(found) if "Measure" in names] == list(range(0, 16, 4))
    assert [i + 1 for i, names in enumerate(found) if "EstimateBias" in names] == [12, 16]
    assert all("Train" in names for names in found)
    assert found[-1] == ["Train", "EstimateBias", "EndWarmUp"]
    assert (state.warm_up_frames, state.frame, state.is_warm, state.late_frames) == (16, 16, True, 0)


def test_a_warm_up_continues_until_two_estimates_in_a_row_are_small():
    """A small estimate by chance at frame 20 does not end it; the bias is unknown from frame 32 and small from frame 40 on."""

    def bias(frames: int) -> Bias:
        return SMALL if frames == 20 or frames >= 40 else LARGE if frames < 32 else UNKNOWN

    found, state = warm_up(CacheOptions(), bias=bias)
    assert state.warm_up_frames == 44
    assert [i + 1 for i, names in enumerate(found) if "EstimateBias" in names] == list(range(12, 48, 4))


@pytest.mark.parametrize("budget", [1, 7, 16, 40])
def test_a_warm_up_ends_with_its_budget_and_missing_frames_are_trained_later(budget):
    """The bias is not estimated, and the frames missing from 16 are trained later."""
    found, state = warm_up(CacheOptions(), budget=budget, bias=lambda frames: LARGE)
    assert state.warm_up_frames == budget
    assert found[-1][-2:] == ["Train", "EndWarmUp"]
    assert state.late_frames == max(0, 16 - budget)


@pytest.mark.parametrize("count", [1, 4, 50])
def test_a_warm_up_has_the_given_number_of_frames(count):
    """Neither the bias nor the budget ends it."""
    found, state = warm_up(CacheOptions(train_frames=count), budget=2)
    assert state.warm_up_frames == count
    assert not any("EstimateBias" in names or "EstimateGain" in names for names in found)


def test_no_warm_up_with_zero_frames_or_a_frozen_cache():
    for options in (CacheOptions(train_frames=0), CacheOptions(freeze=True)):
        assert warm_up(options) == ([["EndWarmUp"]], CacheState(is_warm=True, late_frames=16))


def test_freezing_an_untrained_cache_is_refused():
    with pytest.raises(CacheError, match="freeze: the cache has learnt nothing"):
        frame(CacheState(), CacheOptions(freeze=True), dataclasses.replace(KNOWN, is_trained=False))


def test_a_loaded_warm_cache_adapts_if_its_bias_is_large():
    warm = CacheState(is_warm=True, frame=90, warm_up_frames=40)
    undecided = dataclasses.replace(KNOWN, is_unbiased=True)
    for bias, adapts in ((SMALL, False), (UNKNOWN, False), (LARGE, True)):
        actions, state = frame(warm, CacheOptions(), undecided, bias=bias)
        assert actions == [EstimateBias(), EndWarmUp(adapts=adapts)]
        assert (state.adapt_until, state.needs_scale) == ((90 + ADAPTATION, True) if adapts else (0, False))
    actions, _ = frame(warm, CacheOptions(freeze=True), undecided, bias=LARGE)
    assert actions == [EndWarmUp()]


@pytest.mark.parametrize(("gain", "trains"), [(1.05, False), (1.2, True), (0.0, False)])
def test_an_unbiased_warm_up_is_skipped_if_even_a_perfect_cache_gains_nothing(gain, trains):
    """The gain is estimated once, before the first frame, and never if the number of frames was given."""
    unbiased = dataclasses.replace(KNOWN, is_unbiased=True)
    actions, state = frame(CacheState(), CacheOptions(), unbiased, gain=gain)
    assert actions[0] == EstimateGain()
    assert any(isinstance(action, Train) for action in actions) == trains
    assert state.is_warm != trains
    assert EstimateGain() not in frame(CacheState(warm_up_frames=1), CacheOptions(), unbiased)[0]
    assert EstimateGain() not in frame(CacheState(), CacheOptions(train_frames=3), unbiased)[0]


def test_the_scale_is_first_measured_on_unbiased_suffixes():
    """This holds until light is seen, and again after a change of the scene, whatever fraction the options give."""
    options = CacheOptions(warm_up_unbiased=0.25)
    dark = dataclasses.replace(KNOWN, has_light=False)
    assert Train(1.0, Reason.WARM_UP, measures_scale=True) in frame(CacheState(), options, dark)[0]
    assert Train(0.25, Reason.WARM_UP, measures_scale=False) in frame(CacheState(), options)[0]
    assert Train(1.0, Reason.WARM_UP, measures_scale=True) in frame(CacheState(needs_scale=True), options)[0]


# The image

WARM = CacheState(is_warm=True, frame=32, warm_up_frames=32)


@pytest.mark.parametrize(
    ("credit", "every", "expected"),
    [(1.0, 8, [7, 15, 23]), (2.0, 8, [3, 7, 11, 15, 19, 23]), (0.25, 2, [7, 15, 23]), (9.0, 8, list(range(24)))],
)
def test_training_is_in_proportion_to_rendering(credit, every, expected):
    """One frame in `train_every` trains if a frame has eight pixels per record; training follows rendering, once per frame."""
    known = dataclasses.replace(KNOWN, credit_per_frame=credit)
    found, state = frames(24, WARM, CacheOptions(train_every=every), known)
    assert [i for i, names in enumerate(found) if "Train" in names] == expected
    assert all(names in (["Render"], ["Render", "Train"]) for names in found)
    assert state.frame == 32 + 24
    assert state.credit <= every


def test_missing_warm_up_frames_are_trained_in_every_second_frame():
    """Late frames train in every second frame with the unbiased fraction of a warm-up; afterwards every eighth frame trains."""
    options = CacheOptions(warm_up_unbiased=0.75)
    state, trained = msgspec.structs.replace(WARM, late_frames=3), []
    for i in range(24):
        actions, state = frame(state, options)
        trained += [(i, action.reason, action.unbiased) for action in actions if isinstance(action, Train)]
    late = [(i, Reason.LATE, 0.75) for i in (1, 3, 5)]
    assert trained == [*late, (13, Reason.REGULAR, 0.5), (21, Reason.REGULAR, 0.5)]
    assert state.late_frames == 0
    chosen = CacheOptions(train_frames=29)
    assert frames(24, msgspec.structs.replace(WARM, late_frames=3), chosen)[1].late_frames == 3


def test_the_share_of_unbiased_suffixes_is_halved_every_four_training_frames_down_to_the_option():
    state, shares = WARM, []
    for _ in range(14):
        actions, state = frame(state, CacheOptions(train_every=1, unbiased=0.1, warm_up_unbiased=1.0))
        shares += [action.unbiased for action in actions if isinstance(action, Train)]
    assert shares == [0.5] * 4 + [0.25] * 4 + [0.125] * 4 + [0.1] * 2
    # Not more than in the warm-up, unless the option asks for it
    assert frame(WARM, CacheOptions(train_every=1, unbiased=0.1))[0][1] == Train(0.25, Reason.REGULAR)
    assert frame(WARM, CacheOptions(train_every=1, unbiased=1.0))[0][1] == Train(1.0, Reason.REGULAR)


def test_after_a_change_of_the_scene_frames_train_before_they_render():
    """All frames train first for a while, and every fourth measures; afterwards training is as after a warm-up."""
    state = msgspec.structs.replace(WARM, unbiased_step=11, credit=5.0)
    state = begin_adaptation(state, KNOWN)
    assert state.needs_scale
    found, state = frames(ADAPTATION, msgspec.structs.replace(state, needs_scale=False), CacheOptions())
    assert found == [["Measure", "Train", "Render"] if i % 4 == 0 else ["Train", "Render"] for i in range(ADAPTATION)]
    assert (state.unbiased_step, state.credit, state.frame) == (0, 5.0, 32 + ADAPTATION)
    assert frames(3, state, CacheOptions())[0] == [["Render"], ["Render"], ["Render", "Train"]]


def test_a_dark_scene_does_not_measure_its_scale_again():
    assert not begin_adaptation(WARM, dataclasses.replace(KNOWN, has_light=False)).needs_scale


def test_a_frozen_cache_renders_and_nothing_else():
    """This holds even after a change of the scene, and the state does not change."""
    for state in (WARM, begin_adaptation(WARM, KNOWN), msgspec.structs.replace(WARM, credit=100.0, late_frames=9)):
        found, after = frames(20, state, CacheOptions(freeze=True))
        assert found == [["Render"]] * 20
        assert after == state


@pytest.mark.parametrize(("gain", "expected"), [(1.09, 1.0), (1.1, 0.3), (5.0, 0.3), (0.0, 1.0)])
def test_all_paths_continue_unless_the_cache_gains_something(gain, expected):
    assert continue_probability(SampleCost(best_probability=0.3, gain=gain)) == expected


@pytest.mark.parametrize(("step", "expected"), [(0, 1.0), (16, 0.5), (48, 0.25), (144, 0.1), (10_000, 0.1)])
def test_the_learning_rate_falls_hyperbolically_to_a_tenth(step, expected):
    assert learning_rate_factor(step, 16.0) == pytest.approx(expected)


def test_small_and_large_biases():
    """A bias is small within 3 % plus its error of at most 3 %, and large beyond 3 % plus twice the error; NaN is neither."""
    cases = {
        (0.0, 0.0): (True, False),
        (-0.03, 0.0): (True, False),
        (0.031, 0.0): (False, True),
        (-0.05, 0.021): (True, False),
        (0.05, 0.015): (False, False),
        (0.07, 0.019): (False, True),
        (0.0, 0.031): (False, False),
        (math.nan, math.nan): (False, False),
    }
    for (value, error), expected in cases.items():
        bias = Bias(value, error)
        assert (bias.is_small, bias.is_large) == expected, bias


# Rules for every combination

STATES = [
    CacheState(
        frame=frame,
        is_warm=warm,
        warm_up_frames=warm_up_frames,
        adapt_until=adapt_until,
        late_frames=late,
        needs_scale=needs_scale,
        credit=credit,
        unbiased_step=40,
    )
    for (frame, adapt_until), warm, warm_up_frames, late, needs_scale, credit in itertools.product(
        ((8, 0), (8, 9), (9, 10)), (False, True), (0, 3, 31), (0, 5), (False, True), (0.0, 1.5, 8.0)
    )
]
OPTIONS = [CacheOptions(freeze=True), CacheOptions(freeze=True, train_frames=3)] + [
    CacheOptions(train_frames=train_frames, train_every=every, unbiased=0.125, warm_up_unbiased=0.75)
    for train_frames, every in ((None, 1), (None, 8), (0, 8), (3, 1))
]
KNOWNS = [
    Known(True, light, unbiased, decided, 0.5, budget)
    for light, (unbiased, decided), budget in itertools.product(
        (False, True), ((False, False), (True, False), (True, True)), (False, True)
    )
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: f"freeze {o.freeze}, {o.train_frames}, {o.train_every}")
def test_rules_for_every_combination(options):
    """For all states and all that may be known: the actions of a frame, and the changes that it may make."""
    for state, known, (bias, gain) in itertools.product(STATES, KNOWNS, ((SMALL, 1.0), (LARGE, 2.0))):
        actions, after = frame(state, options, known, bias=bias, gain=gain)
        trainings = [action for action in actions if isinstance(action, Train)]
        kinds = [type(action) for action in actions]
        place = (state, known, actions)
        assert len(set(kinds)) == len(kinds), place  # no action is repeated
        assert len(trainings) <= 1, place
        # An image is rendered exactly when the cache is warm
        assert (Render in kinds) == is_warm(state, known), place
        assert (EndFrame in kinds) != (EndWarmUp in kinds), place
        if options.freeze:
            assert set(kinds) <= {Render, EndFrame, EndWarmUp}, place
            assert after.frame == state.frame, place
        elif Render in kinds:
            assert after.frame == state.frame + 1, place
        else:
            assert after.frame - state.frame == after.warm_up_frames - state.warm_up_frames == len(trainings), place
        for training in trainings:
            is_sure = known.has_light and not state.needs_scale
            assert training.measures_scale != is_sure, place
            shares = {Reason.ADAPTATION: (1.0,)}.get(training.reason, (0.75, 0.125))
            assert training.unbiased in (shares if is_sure else (1.0,)), place
            assert (training.reason is Reason.WARM_UP) == (Render not in kinds), place
            # Held-out paths are measured before the cache is trained, in the same frame
            if Measure in kinds:
                assert kinds.index(Measure) < kinds.index(Train), place
        assert after.credit >= 0.0, place
        assert after.is_warm == (state.is_warm or EndWarmUp in kinds), place
        assert (after.adapt_until != state.adapt_until) == any(
            isinstance(action, EndWarmUp) and action.adapts for action in actions
        ), place
