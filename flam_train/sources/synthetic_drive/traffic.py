"""Who drives on the road: each car wants a speed and a lane of its own, brakes now and then, and keeps its distance."""

from dataclasses import dataclass, replace

import numpy as np

from flam_train.sources.synthetic_drive.road import LANES

STEP = 0.1
"""Seconds from one frame to the next, as from a camera of nuPlan."""

SPEEDS = (3.0, 16.0)  # what drivers want, in metres a second
HARDEST, STRONGEST = 5.0, 3.0  # braking and acceleration, in metres a second squared
LENGTH, GAP, HEADWAY = 4.5, 3.0, 1.0  # of a car and to the one ahead, in metres; and in seconds
NEW_SPEED, NEW_LANE, SUDDEN = 0.04, 0.03, 0.01  # chances in each step
SUDDEN_STEPS = 12
SIDEWAYS = 1.5  # metres a second at which another lane is reached
BEHIND, AHEAD = 20.0, 110.0  # metres from the camera at which a car is lost to it, and another one comes


@dataclass(frozen=True, kw_only=True)
class Car:
    """A car and what its driver wants.

    Attributes:
        s, d: of the middle of its rear; speed: in metres a second; acceleration: in metres a second squared.
        wanted: speed; lane: number of the lane that it is in or goes to; braking: steps for which it still brakes
            without reason; paint: a number in [0, 1) that decides its colour.
    """

    s: float
    d: float
    speed: float
    wanted: float
    lane: int
    acceleration: float = 0.0
    braking: int = 0
    paint: float = 0.0


def decide(car: Car, others: list[Car], random: np.random.Generator) -> Car:
    """The car after its driver made up his mind about speed, lane and brake, and pressed a pedal accordingly."""
    chances = random.random(3)
    wanted = random.uniform(*SPEEDS) if chances[0] < NEW_SPEED else car.wanted
    braking = SUDDEN_STEPS if chances[1] < SUDDEN else max(car.braking - 1, 0)
    lane = car.lane
    if chances[2] < NEW_LANE and abs(car.d - LANES[lane]) < 0.3:
        lane = min(max(lane + int(random.choice([-1, 1])), 0), len(LANES) - 1)
        lane = lane if _is_free(lane, car, others) else car.lane
    pedal = -0.8 * HARDEST if braking else _pedal(car, wanted, others)
    acceleration = car.acceleration + 0.5 * (pedal - car.acceleration)  # a foot takes time
    return replace(car, wanted=wanted, braking=braking, lane=lane, acceleration=acceleration)


def drive(car: Car) -> Car:
    """The car one step later; it goes sideways until it is in its lane."""
    speed = max(car.speed + STEP * car.acceleration, 0.0)
    aside = np.clip(LANES[car.lane] - car.d, -STEP * SIDEWAYS, STEP * SIDEWAYS)
    return replace(car, s=car.s + STEP * (car.speed + speed) / 2, d=car.d + float(aside), speed=speed)


def first_cars(ego: Car, random: np.random.Generator) -> list[Car]:
    """Two to five cars ahead, none of them in another."""
    cars = list[Car]()
    for number in range(random.integers(2, 6)):
        cars.append(_new_car(ego.s + 9 + 12 * number + random.uniform(0, 5), random))
    return cars


def in_sight(car: Car, ego: Car, others: list[Car], random: np.random.Generator) -> Car:
    """The car, or another one in its place if it was lost from sight: far ahead, or overtaking from behind."""
    if -BEHIND < car.s - ego.s < AHEAD:
        return car
    from_behind = car.s > ego.s
    place = ego.s - random.uniform(0.5, 0.9) * BEHIND if from_behind else ego.s + random.uniform(0.6, 0.9) * AHEAD
    fresh = _new_car(place, random)
    if not _is_free(fresh.lane, fresh, [ego, *others]):
        return replace(car, s=ego.s - 2 * BEHIND)  # it is tried again in the next step
    return replace(fresh, speed=ego.speed + 3, wanted=SPEEDS[1]) if from_behind else fresh


def _new_car(s: float, random: np.random.Generator) -> Car:
    lane, speed = int(random.integers(len(LANES))), random.uniform(*SPEEDS)
    return Car(s=s, d=LANES[lane], speed=speed, wanted=speed, lane=lane, paint=random.random())


def _pedal(car: Car, wanted: float, others: list[Car]) -> float:
    """Acceleration towards the wanted speed, less the nearer the car ahead (the intelligent driver model)."""
    free = 1 - (car.speed / wanted) ** 2
    ahead = [other for other in others if other.s > car.s and abs(other.d - car.d) < 2.2]
    if not ahead:
        return float(np.clip(STRONGEST * free, -HARDEST, STRONGEST))
    nearest = min(ahead, key=lambda other: other.s)
    closing = car.speed * (car.speed - nearest.speed) / (2 * (STRONGEST * HARDEST) ** 0.5)
    keep = GAP + max(car.speed * HEADWAY + closing, 0.0)
    room = max(nearest.s - car.s - LENGTH, 0.5)
    return float(np.clip(STRONGEST * (free - (keep / room) ** 2), -HARDEST, STRONGEST))


def _is_free(lane: int, car: Car, others: list[Car]) -> bool:
    return all(abs(other.s - car.s) > 2.5 * LENGTH for other in others if abs(other.d - LANES[lane]) < 2.2)
