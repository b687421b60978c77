//! Races: Selvedge and its peers in turn, on one machine, under one load. The ratio is the result.

pub mod edge;
pub mod hit_ratio;
pub mod load;
pub mod mesh;
pub mod origin;
pub mod store;
