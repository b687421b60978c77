//! Where a node is on the network: Vivaldi (Dabek, Cox, Kaashoek, Morris 2004) with a height, tuned as in Serf.
//!
//! Round-trip times pull and push nodes like springs, until the distance between any two tells the round trip
//! between them without measuring it. The height is what every packet of a node pays on its way to the network.

use minicbor::decode::{Decoder, Error as DecodeError};
use minicbor::encode::{Encoder, Error as EncodeError, Write};
use minicbor::{Decode, Encode};
use std::time::Duration;

const DIMENSIONS: usize = 4;
const FLOATS: usize = DIMENSIONS + 2;
const BYTES: usize = FLOATS * 4;

/// How much one measurement may change the error (`c_e`) and the place (`c_c`).
const ERROR_STEP: f32 = 0.25;
const PLACE_STEP: f32 = 0.25;
/// The error of a node that knows nothing.
const ERROR_MAX: f32 = 1.5;
const HEIGHT_MIN: f32 = 10e-6;
/// Seconds of a round trip below which being wrong by as much says little: without it the neighbours, half a
/// millisecond away, would make every node believe that it knows nothing.
const RESOLUTION: f32 = 5e-3;
/// How far from the middle the pull that keeps all from drifting equals one second.
const GRAVITY_RADIUS: f32 = 150.0;
/// Seconds beyond which a place or a round trip is nonsense.
const SECONDS_MAX: f32 = 10.0;

/// A place, in seconds of round trip.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coordinate {
    place: [f32; DIMENSIONS],
    height: f32,
    error: f32,
}

impl Default for Coordinate {
    fn default() -> Self {
        Coordinate { place: [0.0; DIMENSIONS], height: HEIGHT_MIN, error: ERROR_MAX }
    }
}

impl Coordinate {
    /// The round trip to expect between two nodes.
    pub fn round_trip(&self, other: &Coordinate) -> Duration {
        Duration::from_secs_f32(self.distance(other).clamp(0.0, SECONDS_MAX))
    }

    /// How wrong it may be: 0.1 is a tenth. 1 and more means that nothing is known yet.
    pub fn error(&self) -> f32 {
        self.error
    }

    /// Takes in a measured round trip to a node that says it is at `other`. `direction` is used when both are at
    /// the same place: any way out is right, but all must not take the same one.
    pub(crate) fn measured(
        &mut self,
        other: &Coordinate,
        round_trip: Duration,
        direction: [f32; DIMENSIONS],
    ) {
        let rtt = round_trip.as_secs_f32().max(HEIGHT_MIN);
        if rtt > SECONDS_MAX {
            return;
        }
        let distance = self.distance(other);
        let weight = self.error / (self.error + other.error).max(f32::EPSILON);
        let wrongness = (distance - rtt).abs() / rtt.max(RESOLUTION);
        let step = ERROR_STEP * weight;
        self.error = (wrongness * step + self.error * (1.0 - step)).clamp(0.0, ERROR_MAX);
        self.push(other, PLACE_STEP * weight * (rtt - distance), direction);
        self.pull_to_the_middle();
    }

    fn distance(&self, other: &Coordinate) -> f32 {
        self.flat_distance(other) + self.height + other.height
    }

    fn flat_distance(&self, other: &Coordinate) -> f32 {
        self.place.iter().zip(other.place).map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt()
    }

    fn push(&mut self, other: &Coordinate, force: f32, direction: [f32; DIMENSIONS]) {
        let flat = self.flat_distance(other);
        let apart = flat > HEIGHT_MIN;
        let length = direction.iter().map(|d| d * d).sum::<f32>().sqrt().max(f32::EPSILON);
        for ((own, other), drawn) in self.place.iter_mut().zip(other.place).zip(direction) {
            let unit = if apart { (*own - other) / flat } else { drawn / length };
            *own = (*own + unit * force).clamp(-SECONDS_MAX, SECONDS_MAX);
        }
        if apart {
            let height = self.height + (self.height + other.height) * force / flat;
            self.height = height.clamp(HEIGHT_MIN, SECONDS_MAX);
        }
    }

    fn pull_to_the_middle(&mut self) {
        let far = self.flat_distance(&Coordinate::default());
        if far > HEIGHT_MIN {
            let pull = (far / GRAVITY_RADIUS) * (far / GRAVITY_RADIUS) / far;
            self.place.iter_mut().for_each(|own| *own -= *own * pull.min(1.0));
        }
    }

    fn is_sound(&self) -> bool {
        let near = |v: &f32| v.is_finite() && v.abs() <= SECONDS_MAX;
        let within = |v: f32, least: f32, most: f32| v.is_finite() && v >= least && v <= most;
        self.place.iter().all(near)
            && within(self.height, 0.0, SECONDS_MAX)
            && within(self.error, 0.0, ERROR_MAX)
    }
}

impl<C> Encode<C> for Coordinate {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        let mut bytes = [0; BYTES];
        let floats = self.place.iter().chain([&self.height, &self.error]);
        bytes
            .chunks_exact_mut(4)
            .zip(floats)
            .for_each(|(to, float)| to.copy_from_slice(&float.to_le_bytes()));
        e.bytes(&bytes)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Coordinate {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        let bytes = d.bytes()?;
        if bytes.len() != BYTES {
            return Err(DecodeError::message(format!("a coordinate has {BYTES} bytes")));
        }
        let mut floats = [0.0; FLOATS];
        for (float, four) in floats.iter_mut().zip(bytes.chunks_exact(4)) {
            *float = f32::from_le_bytes([four[0], four[1], four[2], four[3]]);
        }
        let [a, b, c, d, height, error] = floats;
        let coordinate = Coordinate { place: [a, b, c, d], height, error };
        if coordinate.is_sound() {
            Ok(coordinate)
        } else {
            Err(DecodeError::message("a coordinate out of bounds"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    fn direction(dice: &mut Dice) -> [f32; DIMENSIONS] {
        [(); DIMENSIONS].map(|()| dice.below(2_001) as f32 - 1_000.0)
    }

    #[test]
    fn places_tell_round_trips_after_a_while() {
        // Three PoPs of three nodes; 5, 40 and 120 ms between the PoPs, half a millisecond inside.
        let ms = [[0.5, 5.0, 40.0], [5.0, 0.5, 120.0], [40.0, 120.0, 0.5]];
        // 40 and 5 do not reach 120: what no map can show is shared out among the three.
        let mut nodes = [Coordinate::default(); 9];
        let mut dice = Dice::new(3);
        for _ in 0..9_000 {
            let (a, b) = (dice.below(9), dice.below(9));
            if a != b {
                let rtt = Duration::from_secs_f32(ms[a / 3][b / 3] / 1_000.0);
                let (other, away) = (nodes[b], direction(&mut dice));
                nodes[a].measured(&other, rtt, away);
            }
        }
        let inside = nodes[0].round_trip(&nodes[1]).as_secs_f32() * 1_000.0;
        let near = nodes[0].round_trip(&nodes[3]).as_secs_f32() * 1_000.0;
        let middle = nodes[0].round_trip(&nodes[6]).as_secs_f32() * 1_000.0;
        let far = nodes[3].round_trip(&nodes[6]).as_secs_f32() * 1_000.0;
        assert!(inside < near && near < middle && middle < far, "{inside} {near} {middle} {far}");
        assert!((40.0..130.0).contains(&far), "{far}");
    }

    #[test]
    fn two_nodes_at_the_same_place_are_driven_apart() {
        let (mut a, b) = (Coordinate::default(), Coordinate::default());
        for _ in 0..100 {
            a.measured(&b, Duration::from_millis(80), [1.0, 0.0, 0.0, 0.0]);
        }
        let rtt = a.round_trip(&b);
        assert!(rtt > Duration::from_millis(70) && rtt < Duration::from_millis(90), "{rtt:?}");
    }

    #[test]
    fn nonsense_is_refused() {
        for float in [f32::NAN, f32::INFINITY, 1e9] {
            let bytes = minicbor::to_vec(Coordinate { height: float, ..Coordinate::default() }).unwrap();
            assert!(minicbor::decode::<Coordinate>(&bytes).is_err());
        }
        let good = Coordinate::default();
        assert_eq!(minicbor::decode::<Coordinate>(&minicbor::to_vec(good).unwrap()).unwrap(), good);
    }
}
