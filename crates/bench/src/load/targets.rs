//! Which paths a load asks for.

/// A source of paths, `/SIZE/NUMBER`: the origin answers with a body of SIZE bytes.
#[derive(Clone, Debug)]
pub enum Targets {
    /// Always the same path.
    One {
        /// Body size in bytes.
        size: usize,
    },
    /// Never the same path twice, from `from` on.
    Unique {
        /// Body size in bytes.
        size: usize,
        /// The next number.
        from: u64,
    },
    /// Numbers `next..end`, each once; then the run ends.
    Each {
        /// Body size in bytes.
        size: usize,
        /// The next number.
        next: u64,
        /// The number after the last.
        end: u64,
    },
    /// Numbers below `count`, uniformly at random.
    Random {
        /// Body size in bytes.
        size: usize,
        /// How many different paths.
        count: u64,
        /// State of the generator (SplitMix64): equal states give equal sequences.
        state: u64,
    },
}

impl Targets {
    /// The next size and number, or `None` when the run shall end.
    pub fn next_target(&mut self) -> Option<(usize, u64)> {
        match self {
            Self::One { size } => Some((*size, 0)),
            Self::Unique { size, from } => Some((*size, post_increment(from))),
            Self::Each { size, next, end } => (*next < *end).then(|| (*size, post_increment(next))),
            Self::Random { size, count, state } => Some((*size, below(*count, split_mix(state)))),
        }
    }
}

/// The path for a size and number.
#[must_use]
pub fn path(size: usize, number: u64) -> String {
    format!("/{size}/{number}")
}

/// Writes a GET for a size and number over what `buffer` held.
pub(super) fn write_request(buffer: &mut Vec<u8>, (size, number): (usize, u64)) {
    buffer.clear();
    buffer.extend_from_slice(b"GET /");
    push_decimal(buffer, size as u64);
    buffer.push(b'/');
    push_decimal(buffer, number);
    buffer.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    buffer.extend_from_slice(super::HOST.as_bytes());
    buffer.extend_from_slice(b"\r\nUser-Agent: selvedge-bench\r\nAccept: */*\r\n\r\n");
}

fn push_decimal(buffer: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    buffer.extend_from_slice(&digits[at..]);
}

fn post_increment(number: &mut u64) -> u64 {
    let now = *number;
    *number += 1;
    now
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn below(count: u64, random: u64) -> u64 {
    ((u128::from(random) * u128::from(count)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ends_after_the_last() {
        let mut targets = Targets::Each { size: 1, next: 5, end: 7 };
        let numbers: Vec<u64> = std::iter::from_fn(|| targets.next_target()).map(|(_, n)| n).collect();
        assert_eq!(numbers, [5, 6]);
    }

    #[test]
    fn random_stays_below_its_count_and_reaches_all() {
        let mut targets = Targets::Random { size: 1, count: 4, state: 1 };
        let mut seen = [false; 4];
        for _ in 0..100 {
            let (_, number) = targets.next_target().expect("never ends");
            seen[usize::try_from(number).expect("below 4")] = true;
        }
        assert_eq!(seen, [true; 4]);
    }

    #[test]
    fn requests_ask_for_the_path() {
        let mut buffer = b"left over".to_vec();
        write_request(&mut buffer, (1024, 0));
        assert!(buffer.starts_with(b"GET /1024/0 HTTP/1.1\r\nHost: bench.test\r\n"));
        write_request(&mut buffer, (0, u64::MAX));
        assert!(buffer.starts_with(b"GET /0/18446744073709551615 "));
        assert_eq!(path(1024, 7), "/1024/7");
    }
}
