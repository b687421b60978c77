//! Content that says what it is: every byte follows from the path, the version and the place, so that a mixture
//! of two bodies is seen wherever it lies.

/// What the origin has at a path in one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) path: String,
    pub(super) version: u64,
    pub(super) length: u64,
}

impl Content {
    /// The entity tag, from which a client learns what it should have got.
    pub(super) fn etag(&self) -> String {
        format!("\"{}-{}\"", self.version, self.length)
    }

    /// What an entity tag names.
    pub(super) fn named(path: &str, etag: &str) -> Option<Content> {
        let (version, length) = etag.trim_start_matches("W/").trim_matches('"').split_once('-')?;
        Some(Content { path: path.to_owned(), version: version.parse().ok()?, length: length.parse().ok()? })
    }

    /// The bytes from `start` to before `end`.
    pub(super) fn bytes(&self, start: u64, end: u64) -> Vec<u8> {
        let seed = self.seed();
        (start..end.min(self.length)).map(|at| byte_at(seed, at)).collect()
    }

    /// The first place, counted from `start`, at which `bytes` are other than they should be.
    pub(super) fn first_difference(&self, start: u64, bytes: &[u8]) -> Option<u64> {
        let seed = self.seed();
        let differs = |&(at, byte): &(u64, &u8)| at >= self.length || *byte != byte_at(seed, at);
        (start..).zip(bytes).find(differs).map(|(at, _)| at)
    }

    fn seed(&self) -> u64 {
        let text = format!("{} {} {}", self.path, self.version, self.length);
        let mut first = [0; 8];
        first.copy_from_slice(&blake3::hash(text.as_bytes()).as_bytes()[..8]);
        u64::from_le_bytes(first)
    }
}

/// One byte of a sequence that differs with the seed (the finalizer of SplitMix64).
fn byte_at(seed: u64, at: u64) -> u8 {
    let mut z = seed.wrapping_add(at.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z >> 56) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mixture_is_seen_where_it_begins() {
        let old = Content { path: "/a".into(), version: 1, length: 1000 };
        let new = Content { version: 2, ..old.clone() };
        assert_eq!(Content::named("/a", &old.etag()), Some(old.clone()));
        let mut mixed = old.bytes(0, 1000);
        assert_eq!(old.first_difference(0, &mixed), None);
        assert_eq!(old.first_difference(100, &mixed[100..]), None);
        mixed[500..].copy_from_slice(&new.bytes(500, 1000));
        assert!(old.first_difference(0, &mixed).is_some_and(|at| (500..510).contains(&at)));
        assert!(old.first_difference(0, &old.bytes(1, 1000)).is_some());
    }
}
