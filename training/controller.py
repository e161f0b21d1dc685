"""The controller of λ: from one measurement of the documents' length (or FLOPS) to the next λ, as a pure function.

In logarithms, since lengths answer to factors of λ. Let e = ln(measured / target), smoothed. The controller asks for a
speed of e, −SPEED · tanh(e / WIDTH) from one measurement to the next, and moves ln λ by GAIN times what the speed is
above that. The part with e takes the error away whatever λ that needs; the part with the speed keeps λ from rising
further once documents are on their way. That is proportional-integral control of e in its velocity form (Åström and
Hägglund 1995, PID Controllers), with one thing more: the optimizer's momentum answers λ a little later, so that the
speed is looked at LEAD measurements ahead.
"""

import math
from typing import NamedTuple

SMOOTHING = 0.7
"""weight of the newest measurement in e"""
SPEED = 0.12
"""the most that e is to move from one measurement to the next"""
WIDTH = 0.3
"""the e at which three quarters of that speed are wanted"""
GAIN, LEAD = 12.0, 1.0
NEAR, FAR = 0.4, 8.0
"""ln λ moves by at most NEAR + FAR · |e| at once: at the target, batches differ more than λ should"""
RISE, FALL = math.log(8), math.log(30)
"""and by no more than this. It may fall faster: where documents become empty, so do their gradients, and no λ brings
them back"""
BOUNDS = math.log(1e-10), math.log(1e4)
LEAST = 0.01
"""share of the target that a smaller measurement, 0 included, counts as"""
BEGIN = 0.01
"""share of the given λ that training begins with: too small is mended later, too large may not be"""


class State(NamedTuple):
    """What the controller knows after a measurement."""

    log_lambda: float
    error: float | None = None
    """e, None before the first measurement"""
    speed: float = 0.0
    """how far e moved from the measurement before"""


def begin(given_lambda: float) -> State:
    """The state before the first measurement."""
    return State(_between(math.log(given_lambda * BEGIN), *BOUNDS))


def advance(state: State, measured: float, target: float, pace: float) -> State:
    """The state after a measurement.

    Args:
        measured, target: tokens, or FLOPS; target above 0.
        pace: the learning rate as a share of its peak, 0 to 1. What does not move because nothing is learnt yet, or any
            more, is no reason to move λ.
    """
    newest = math.log(max(measured / target, LEAST))
    if state.error is None:
        return State(state.log_lambda, newest)
    error = state.error + SMOOTHING * (newest - state.error)
    speed = error - state.error
    wanted = -SPEED * pace * math.tanh(error / WIDTH)
    most = NEAR + FAR * abs(error)
    change = GAIN * (speed + LEAD * (speed - state.speed) - wanted)
    change = _between(change, -min(most, FALL), min(most, RISE))
    return State(_between(state.log_lambda + change, *BOUNDS), error, speed)


def _between(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)
