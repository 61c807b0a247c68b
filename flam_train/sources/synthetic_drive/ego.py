"""The car with the camera: it drives like the others, but turns its wheels instead of going sideways."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from flam_train.sources.synthetic_drive.road import LANES, Road
from flam_train.sources.synthetic_drive.traffic import STEP, Car, decide, drive, first_cars, in_sight

START = 30.0  # metres of road behind it at first
STEEPEST = 0.16  # radians to the road at which it changes lanes
PITCH = 0.0045  # radians that the nose goes up for each metre a second squared


class Moment(NamedTuple):
    """What there is to be seen at a time.

    s: of the camera along the road; x, y, heading: of the camera; pitch: radians, positive if the nose is up; cars: all
    others.
    """

    s: float
    x: float
    y: float
    heading: float
    pitch: float
    cars: list[Car]


def moments(road: Road, frames: int, random: np.random.Generator) -> list[Moment]:
    """So many moments of one drive, a step apart."""
    lane, speed = int(random.integers(len(LANES))), random.uniform(6, 14)
    ego = Car(s=START, d=LANES[lane], speed=speed, wanted=speed, lane=lane)
    (x, y), heading, turning = _place(road, ego), road.at(START)[0], 0.0
    cars, seen = first_cars(ego, random), list[Moment]()
    for _ in range(frames):
        seen.append(Moment(ego.s, x, y, heading, PITCH * ego.acceleration, cars))
        others = [decide(car, [ego, *(each for each in cars if each is not car)], random) for car in cars]
        pressed = decide(ego, cars, random)
        moved = drive(pressed)
        turning += 0.5 * (_steering(road, pressed, heading) - turning)  # as does a wheel
        way, middle = moved.s - ego.s, heading + STEP * turning / 2
        x, y, heading = x + way * np.cos(middle), y + way * np.sin(middle), heading + STEP * turning
        ego = _on_the_road(road, moved, x, y)
        cars = [in_sight(drive(car), ego, [each for each in others if each is not car], random) for car in others]
    return seen


def _steering(road: Road, ego: Car, heading: float) -> float:
    """Radians a second that keep the road's bend and lead to the wanted lane."""
    along, bend = road.at(ego.s)
    wanted = along + float(np.clip(0.12 * (LANES[ego.lane] - ego.d), -STEEPEST, STEEPEST))
    return ego.speed * bend + 1.5 * (wanted - heading)


def _place(road: Road, car: Car) -> tuple[float, float]:
    x, y = road.places(np.array([car.s]), np.array([car.d]))
    return float(x[0]), float(y[0])


def _on_the_road(road: Road, moved: Car, x: float, y: float) -> Car:
    """The car where its wheels took it: s is that of the point of the road beside it."""
    near = slice(max(int(moved.s) - 8, 0), int(moved.s) + 9)
    nearest = int(np.argmin((road.x[near] - x) ** 2 + (road.y[near] - y) ** 2)) + near.start
    heading = road.heading[nearest]
    dx, dy = x - road.x[nearest], y - road.y[nearest]
    along, aside = dx * np.cos(heading) + dy * np.sin(heading), dy * np.cos(heading) - dx * np.sin(heading)
    return replace(moved, s=float(road.s[nearest] + along), d=float(aside))
