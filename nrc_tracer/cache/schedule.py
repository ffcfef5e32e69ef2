"""When a cache measures, trains and renders: pure functions of its state, its options and what is known about it.

`next_action` decides, `state_after` gives the state that follows, and `nrc_tracer.cache.frames` carries actions out in between.

A frame of the warm-up measures now and then, and trains. A frame of the image renders, and trains once enough has been rendered
since the last time; after a change of the scene it first measures and trains, every time, for `ADAPTATION` frames.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from msgspec.structs import replace

from nrc_tracer.cache.measurements import Bias, SampleCost
from nrc_tracer.cache.options import CacheOptions
from nrc_tracer.cache.state import CacheState
from nrc_tracer.errors import CacheError

MEASURE_EVERY = 4
"""Training frames per measurement, in the warm-up and in an adaptation."""

SHORTEST_WARM_UP = 16
"""Smallest number of frames of a warm-up that ends by its measured bias; later training makes up for a shorter one."""

USUAL_WARM_UP = 32
"""Largest number of frames of a warm-up that has no other budget."""

SMALL_ESTIMATES = 2
"""Consecutive small estimates of the bias that end a warm-up, each from all held-out paths so far."""

ADAPTATION = 32
"""Frames after a change of the scene in which the cache trains every time, as in the warm-up."""

LATE_TRAIN_EVERY = 2
"""Largest value of `train_every` while training makes up for a warm-up that was too short."""

PIXELS_PER_RECORD = 8
"""Pixels of a frame of the image per training record at which one frame in `train_every` trains."""

LEAST_GAIN = 1.1
"""Smallest gain of time by an unbiased cache that is worth using it: training costs time as well."""

HALVING_STEPS = 4
"""Training frames after which the share of unbiased suffixes is halved, from 1/2 down to the option `unbiased`."""

LEAST_LEARNING_RATE = 0.1
"""Smallest learning rate, as a fraction of the first."""


# Actions


@dataclass(frozen=True)
class Measure:
    """Trace held-out paths."""


@dataclass(frozen=True)
class EstimateBias:
    """Estimate the cache's bias on held-out paths: `Known.bias`."""


@dataclass(frozen=True)
class EstimateGain:
    """Estimate what a perfect cache would gain: `Known.perfect_gain`."""


class Reason(enum.Enum):
    """Why a frame trains."""

    WARM_UP = "warm-up"
    ADAPTATION = "adaptation"
    LATE = "late warm-up"
    REGULAR = "regular"


@dataclass(frozen=True)
class Train:
    """Trace training paths and train on their records.

    Attributes:
        unbiased: Share of suffixes that end by Russian roulette alone instead of in the cache.
        reason: Why.
        measures_scale: Whether the radiance scale is measured on the targets first.
    """

    unbiased: float
    reason: Reason
    measures_scale: bool = False


@dataclass(frozen=True)
class Render:
    """Add a sample to every pixel."""


@dataclass(frozen=True)
class EndWarmUp:
    """Decide from the measurements how the image is rendered.

    Attributes:
        adapts: Whether the cache, trained elsewhere, has to adapt to this scene.
    """

    adapts: bool = False


@dataclass(frozen=True)
class EndFrame:
    """Nothing is left to do in this frame."""


Action = Measure | EstimateBias | EstimateGain | Train | Render | EndWarmUp | EndFrame


# The facts that decide the actions, besides state and options


@dataclass(frozen=True)
class Known:
    """What is known about cache and image.

    Attributes:
        is_trained: Whether the cache has taken a training step; assumed of a cache that is not frozen.
        has_light: Whether the cache has seen light, and so has a gain.
        is_unbiased: Whether the mode is `unbiased`.
        is_decided: In that mode, whether the probability of continuing beyond a cut is decided.
        credit_per_frame: What a frame of the image adds to `CacheState.credit`.
        budget_is_over: Whether this is the last frame that the warm-up may have.
        bias: The cache's bias as of now; None where it was not estimated.
        perfect_gain: The gain of time that a perfect cache would bring; None where it was not estimated.
    """

    is_trained: bool
    has_light: bool
    is_unbiased: bool
    is_decided: bool
    credit_per_frame: float
    budget_is_over: bool = False
    bias: Bias | None = None
    perfect_gain: float | None = None


@dataclass(frozen=True)
class Done:
    """What the current frame has done so far."""

    measured: bool = False
    trained: bool = False
    rendered: bool = False


def is_warm(state: CacheState, known: Known) -> bool:
    """Whether the image can begin: the warm-up is over, and in mode `unbiased` the probability is decided."""
    return state.is_warm and (known.is_decided or not known.is_unbiased)


def next_action(state: CacheState, options: CacheOptions, known: Known, done: Done) -> Action:
    """Decide what a frame does next: one of the warm-up until `is_warm`, then one of the image.

    Raises:
        CacheError: A cache that has learnt nothing is frozen.
    """
    return _in_image(state, options, known, done) if is_warm(state, known) else _in_warm_up(state, options, known, done)


def _in_warm_up(state: CacheState, options: CacheOptions, known: Known, done: Done) -> Action:
    if done.trained:
        return _after_warm_up_training(state, options, known)
    if options.freeze and not known.is_trained:
        raise CacheError("freeze: the cache has learnt nothing yet; load one that has, or let it learn")

    # End a warm-up that is to have no frames, or that has had them elsewhere
    if state.is_warm and not options.freeze:
        if known.bias is None:
            return EstimateBias()
        return EndWarmUp(adapts=known.bias.is_large)
    if options.freeze or options.train_frames == 0:
        return EndWarmUp()

    # End it where even a perfect cache would cost more than it saves
    if known.is_unbiased and options.train_frames is None and state.warm_up_frames == 0:
        if known.perfect_gain is None:
            return EstimateGain()
        if known.perfect_gain < LEAST_GAIN:
            return EndWarmUp()

    if state.warm_up_frames % MEASURE_EVERY == 0 and not done.measured:
        return Measure()
    return _training(state, known, options.warm_up_unbiased, Reason.WARM_UP)


def _after_warm_up_training(state: CacheState, options: CacheOptions, known: Known) -> Action:
    """End the warm-up after its frames, its budget, or once the bias is small."""
    frames = state.warm_up_frames
    if options.train_frames is not None:
        return EndWarmUp() if frames >= options.train_frames else EndFrame()
    if known.budget_is_over:
        return EndWarmUp()
    first_estimate = SHORTEST_WARM_UP - (SMALL_ESTIMATES - 1) * MEASURE_EVERY
    if frames < first_estimate or frames % MEASURE_EVERY != 0:
        return EndFrame()
    if known.bias is None:
        return EstimateBias()
    return EndWarmUp() if _small_estimates(state, known) >= SMALL_ESTIMATES else EndFrame()


def _small_estimates(state: CacheState, known: Known) -> int:
    """Consecutive small estimates of the bias, with the one of this frame if there is one."""
    if known.bias is None:
        return state.small_estimates
    return state.small_estimates + 1 if known.bias.is_small else 0


def _in_image(state: CacheState, options: CacheOptions, known: Known, done: Done) -> Action:
    if _adapts(state, options) and not done.trained:
        # Before rendering, for the image must not show predictions of another scene
        if state.frame % MEASURE_EVERY == 0 and not done.measured:
            return Measure()
        return _training(
            state, known, 1.0, Reason.ADAPTATION
        )  # the cache's own value is still that of the former scene
    if not done.rendered:
        return Render()
    if options.freeze or done.trained or state.credit < _train_every(state, options):
        return EndFrame()
    if _is_late(state, options):
        return _training(state, known, options.warm_up_unbiased, Reason.LATE)
    return _training(state, known, unbiased_share(state, options), Reason.REGULAR)


def _training(state: CacheState, known: Known, unbiased: float, reason: Reason) -> Train:
    """Train; with all suffixes unbiased where the scale is unknown, before the cache has seen light and after a change."""
    measures_scale = state.needs_scale or not known.has_light
    return Train(1.0 if measures_scale else unbiased, reason, measures_scale)


def unbiased_share(state: CacheState, options: CacheOptions) -> float:
    """Share of unbiased suffixes of a training frame after the warm-up: halved step by step down to the option `unbiased`.

    It begins with at most the share of the warm-up.
    """
    halved = 0.5 ** (1 + state.unbiased_step // HALVING_STEPS)
    return max(options.unbiased, min(halved, options.warm_up_unbiased))


def continue_probability(cost: SampleCost) -> float:
    """Probability of continuing beyond a cut in mode `unbiased`; 1, which is path tracing, where the cache gains too little."""
    return cost.best_probability if cost.gain >= LEAST_GAIN else 1.0


def learning_rate_factor(step: int, decay_frames: float) -> float:
    """Learning rate of the training frame number `step`, counted from 0, as a fraction of the configuration's."""
    return max(LEAST_LEARNING_RATE, 1.0 / (1.0 + step / decay_frames))


def _adapts(state: CacheState, options: CacheOptions) -> bool:
    return state.frame < state.adapt_until and not options.freeze


def _is_late(state: CacheState, options: CacheOptions) -> bool:
    """Whether training makes up for a warm-up whose budget was too small."""
    return options.train_frames is None and state.late_frames > 0


def _train_every(state: CacheState, options: CacheOptions) -> int:
    """Credit of a training frame."""
    return min(options.train_every, LATE_TRAIN_EVERY) if _is_late(state, options) else options.train_every


# What follows


def state_after(state: CacheState, action: Action, options: CacheOptions, known: Known, done: Done) -> CacheState:
    """The state after an action that `next_action` decided on from the same arguments."""
    if isinstance(action, Train):
        return _after_training(state, action.reason, options)
    if isinstance(action, Render) and not options.freeze and not done.trained:
        return replace(state, credit=state.credit + known.credit_per_frame)
    if isinstance(action, EndWarmUp):
        late = max(0, SHORTEST_WARM_UP - state.warm_up_frames)
        state = replace(state, is_warm=True, late_frames=late)
        return begin_adaptation(state, known) if action.adapts else state
    if isinstance(action, EndFrame) and done.rendered and not options.freeze:
        return replace(state, frame=state.frame + 1)
    if isinstance(action, EndFrame):
        return replace(state, small_estimates=_small_estimates(state, known))
    return state


def done_after(done: Done, action: Action) -> Done:
    """What the frame has done after an action."""
    return Done(
        measured=done.measured or isinstance(action, Measure),
        trained=done.trained or isinstance(action, Train),
        rendered=done.rendered or isinstance(action, Render),
    )


def _after_training(state: CacheState, reason: Reason, options: CacheOptions) -> CacheState:
    if reason is Reason.WARM_UP:
        return replace(state, frame=state.frame + 1, warm_up_frames=state.warm_up_frames + 1)
    if reason is Reason.ADAPTATION:
        return replace(state, unbiased_step=0)
    every = float(_train_every(state, options))
    state = replace(state, credit=min(state.credit - every, every))  # not more than for the next training frame
    if reason is Reason.LATE:
        return replace(state, late_frames=state.late_frames - 1)
    return replace(state, unbiased_step=state.unbiased_step + 1)


def begin_adaptation(state: CacheState, known: Known) -> CacheState:
    """The state after a change of the scene."""
    return replace(state, adapt_until=state.frame + ADAPTATION, needs_scale=known.has_light)
