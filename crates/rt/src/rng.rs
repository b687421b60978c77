//! Randomness as a tree: each component draws from a branch of its own.

use std::sync::{Arc, Mutex, PoisonError};

/// A deterministic generator with named branches. Not for secrets: see [`Secrets`].
///
/// A branch depends on the seed and the path of names alone, never on what was drawn before, so that an
/// extra draw in one component disturbs no other.
#[derive(Clone)]
pub struct Rng {
    seed: [u8; 32],
    draws: fastrand::Rng,
}

impl Rng {
    /// The root of a tree that is the same for the same seed.
    pub fn from_seed(seed: u64) -> Self {
        Self::at(blake3::derive_key("selvedge rng root", &seed.to_le_bytes()))
    }

    /// The root of a tree seeded by the operating system.
    pub fn from_os() -> std::io::Result<Self> {
        Ok(Self::at(system_bytes()?))
    }

    /// The branch called `name`.
    pub fn branch(&self, name: &str) -> Self {
        Self::at(*blake3::keyed_hash(&self.seed, name.as_bytes()).as_bytes())
    }

    /// A uniform 64-bit number.
    pub fn next_u64(&mut self) -> u64 {
        self.draws.u64(..)
    }

    /// A uniform number below `bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.draws.u64(..bound) }
    }

    /// A uniform number in [0, 1).
    pub fn fraction(&mut self) -> f64 {
        self.draws.f64()
    }

    fn at(seed: [u8; 32]) -> Self {
        let mut first = [0; 8];
        first.copy_from_slice(&seed[..8]);
        Rng { seed, draws: fastrand::Rng::with_seed(u64::from_le_bytes(first)) }
    }
}

/// Where keys and tokens get their randomness.
#[derive(Clone)]
pub enum Secrets {
    /// The operating system (`/dev/urandom`).
    System,
    /// A simulation's seed: nothing that it makes is secret.
    Simulated(Arc<Mutex<Rng>>),
}

impl Secrets {
    /// 32 bytes fit for keys and tokens.
    pub fn bytes(&self) -> std::io::Result<[u8; 32]> {
        match self {
            Secrets::System => system_bytes(),
            Secrets::Simulated(rng) => {
                let drawn = rng.lock().unwrap_or_else(PoisonError::into_inner).next_u64();
                Ok(blake3::derive_key("selvedge simulated secret", &drawn.to_le_bytes()))
            }
        }
    }
}

fn system_bytes() -> std::io::Result<[u8; 32]> {
    use std::io::Read;
    let mut bytes = [0; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_does_not_depend_on_what_others_drew() {
        let mut root = Rng::from_seed(7);
        let before = root.branch("a").next_u64();
        root.next_u64();
        root.branch("b").next_u64();
        assert_eq!(root.branch("a").next_u64(), before);
        assert_ne!(root.branch("b").next_u64(), before);
    }

    #[test]
    fn secrets_differ_and_those_of_a_simulation_come_again_with_its_seed() {
        let simulated = || Secrets::Simulated(Arc::new(Mutex::new(Rng::from_seed(1))));
        let (one, again) = (simulated(), simulated());
        let first = one.bytes().unwrap();
        assert_eq!(again.bytes().unwrap(), first);
        assert_ne!(one.bytes().unwrap(), first);
        assert_ne!(Secrets::System.bytes().unwrap(), Secrets::System.bytes().unwrap());
    }
}
