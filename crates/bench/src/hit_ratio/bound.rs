//! What no cache can exceed.

use super::trace::Trace;

/// An upper bound, in percent, on the share of hits of any cache of `capacity` bytes, also of one that knows
/// the future: a hit needs its object's bytes for the whole time since the request before, and all these
/// together cannot be more than the capacity at all times (Berger et al., PFOO-U, SIGMETRICS 2018, with one
/// segment).
pub(super) fn upper_bound(trace: &Trace, capacity: u64) -> f64 {
    let mut last = vec![None; trace.sizes.len()];
    let mut needs = Vec::new();
    for (now, &object) in trace.requests.iter().enumerate() {
        if let Some(before) = last[object].replace(now)
            && trace.sizes[object] <= capacity
        {
            needs.push(u128::from(trace.sizes[object]) * (now - before) as u128);
        }
    }
    needs.sort_unstable();
    let mut room = u128::from(capacity) * trace.requests.len() as u128;
    let met = needs.iter().take_while(|&&need| {
        let enough = need <= room;
        room = room.saturating_sub(need);
        enough
    });
    100.0 * met.count() as f64 / trace.requests.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternating_objects_fill_a_cache_of_one_half_the_time() {
        let trace = Trace { name: String::new(), sizes: vec![1, 1], requests: vec![0, 1, 0, 1, 0, 1] };
        assert!((upper_bound(&trace, 1) - 50.0).abs() < 1e-9, "three of the four needs of two fit into six");
        assert!((upper_bound(&trace, 2) - 100.0 * 4.0 / 6.0).abs() < 1e-9);
    }
}
