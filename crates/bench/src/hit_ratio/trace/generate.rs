//! Generated traces: Zipf popularity, sizes as the web has them, and the disturbances that caches meet.

use super::Trace;

/// A generator of 64-bit numbers (splitmix64), the same on every machine.
#[derive(Debug, Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Evenly in [0, 1).
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn below(&mut self, n: usize) -> usize {
        (self.unit() * n as f64) as usize
    }

    /// Normally, mean 0 and deviation 1 (Box and Muller).
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

/// How large objects are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sizes {
    /// One byte each: every object costs the same.
    Unit,
    /// Log-normal: median 8 KiB, sigma 1.5 (mean 25 KiB).
    LogNormal,
    /// Pareto: at least 1 KiB, shape 1.2 (mean 6 KiB, a heavy tail), at most 256 MiB.
    Pareto,
}

impl Sizes {
    fn draw(self, random: &mut Random) -> u64 {
        let bytes = match self {
            Sizes::Unit => 1.0,
            Sizes::LogNormal => 8192.0 * (1.5 * random.normal()).exp(),
            Sizes::Pareto => 1024.0 * (1.0 - random.unit()).powf(-1.0 / 1.2),
        };
        bytes.clamp(1.0, f64::from(1 << 28)) as u64
    }
}

/// What the requests are like beyond their Zipf popularity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Popularity {
    /// The same from the first request to the last.
    Still,
    /// Every 50,000 requests, 10,000 objects that are asked for once, in a row.
    Scans,
    /// At every hundredth request two objects exchange their places in the order of popularity, in such a
    /// way that by the end all have moved many times.
    Drift,
}

/// What a generated trace is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    /// What to call it.
    pub name: String,
    /// Zipf's exponent: the object at place k is asked for in proportion to k^-alpha.
    pub alpha: f64,
    /// How large objects are.
    pub sizes: Sizes,
    /// What else happens.
    pub popularity: Popularity,
    /// How many objects there are, without those of scans.
    pub objects: usize,
    /// How many requests there are.
    pub requests: usize,
}

/// The traces of the race: every exponent with both sizes, and each disturbance.
pub fn recipes(objects: usize, requests: usize) -> Vec<Recipe> {
    use {Popularity::*, Sizes::*};
    let recipe = |name: &str, alpha, sizes, popularity| {
        let name = format!("zipf-{alpha}-{name}");
        Recipe { name, alpha, sizes, popularity, objects, requests }
    };
    let mut all = Vec::new();
    for alpha in [0.7, 0.9, 1.1] {
        all.push(recipe("lognormal", alpha, LogNormal, Still));
        all.push(recipe("pareto", alpha, Pareto, Still));
    }
    all.push(recipe("unit", 0.9, Unit, Still));
    all.push(recipe("unit-scans", 0.9, Unit, Scans));
    all.push(recipe("unit-drift", 0.9, Unit, Drift));
    all.push(recipe("lognormal-scans", 0.9, LogNormal, Scans));
    all.push(recipe("lognormal-drift", 0.9, LogNormal, Drift));
    all.push(recipe("pareto-drift", 1.1, Pareto, Drift));
    all
}

impl Recipe {
    /// The trace, the same for the same seed.
    pub fn generate(&self, seed: u64) -> Trace {
        let mut random = Random(seed);
        let cumulative = cumulative(self.objects, self.alpha);
        let mut places: Vec<usize> = (0..self.objects).collect();
        let mut sizes: Vec<u64> = (0..self.objects).map(|_| self.sizes.draw(&mut random)).collect();
        let mut requests = Vec::with_capacity(self.requests);
        while requests.len() < self.requests {
            match self.popularity {
                Popularity::Scans if requests.len() % 50_000 == 40_000 => {
                    let first = sizes.len();
                    sizes.extend((0..10_000).map(|_| self.sizes.draw(&mut random)));
                    requests.extend(first..first + 10_000);
                }
                Popularity::Drift if requests.len() % 100 == 0 => {
                    let near = (random.unit().powi(3) * self.objects as f64) as usize;
                    places.swap(near, random.below(self.objects));
                }
                _ => {}
            }
            let u = random.unit();
            let place = cumulative.partition_point(|&c| c <= u).min(self.objects - 1);
            requests.push(places[place]);
        }
        requests.truncate(self.requests);
        Trace { name: self.name.clone(), sizes, requests }
    }
}

/// For each place, how likely it or one before it is.
fn cumulative(objects: usize, alpha: f64) -> Vec<f64> {
    let weights = (1..=objects).map(|place| (place as f64).powf(-alpha));
    let mut sum = 0.0;
    let sums: Vec<f64> = weights
        .map(|w| {
            sum += w;
            sum
        })
        .collect();
    sums.into_iter().map(|s| s / sum).collect()
}
