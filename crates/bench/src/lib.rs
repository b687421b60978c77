//! Races between Selvedge and others, run by `cargo xtask bench`.

pub mod hit_ratio;
