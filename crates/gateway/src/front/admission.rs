//! How many connections there may be, in all and from one client.

use super::counters::Cause;
use super::options::ConnectionLimits;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts connections. Clones share the count.
#[derive(Debug, Clone, Default)]
pub(crate) struct Admission(Arc<Mutex<Open>>);

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_client: HashMap<IpAddr, usize>,
}

/// One connection's place; freed when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    admission: Admission,
    client: Option<IpAddr>,
}

impl Admission {
    /// A place among all connections, or the limit that leaves none.
    pub(crate) fn admit(&self, limits: &ConnectionLimits) -> Result<Place, Cause> {
        let mut open = self.lock();
        if open.total >= limits.total_max {
            return Err(Cause::TotalConnections);
        }
        open.total += 1;
        Ok(Place { admission: self.clone(), client: None })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Counts the place among its client's, once that is known.
    pub(crate) fn name_client(&mut self, addr: IpAddr, limits: &ConnectionLimits) -> Result<(), Cause> {
        let client = client_of(addr);
        let mut open = self.admission.lock();
        let here = open.by_client.entry(client).or_default();
        if *here >= limits.per_client_max {
            return Err(Cause::ClientConnections);
        }
        *here += 1;
        self.client = Some(client);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.admission.lock();
        open.total = open.total.saturating_sub(1);
        let Some(client) = self.client else {
            return;
        };
        let left = open.by_client.get(&client).map_or(0, |here| here - 1);
        if left == 0 {
            open.by_client.remove(&client);
        } else {
            open.by_client.insert(client, left);
        }
    }
}

/// What counts as one client: an IPv4 address, or an IPv6 /64, which one subscriber usually has.
fn client_of(addr: IpAddr) -> IpAddr {
    match addr.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(admission: &Admission, addr: &str, limits: &ConnectionLimits) -> Result<Place, Cause> {
        let mut place = admission.admit(limits)?;
        place.name_client(addr.parse().unwrap(), limits).map(|()| place)
    }

    #[test]
    fn places_are_limited_in_all_and_by_client_and_freed() {
        let limits = ConnectionLimits { total_max: 3, per_client_max: 2, ..ConnectionLimits::default() };
        let admission = Admission::default();
        let admit = |addr: &str| admit(&admission, addr, &limits);
        let first = admit("2001:db8::1").unwrap();
        let _second = admit("2001:db8::2").unwrap();
        assert_eq!(admit("2001:db8::3").unwrap_err(), Cause::ClientConnections);
        let _other = admit("192.0.2.1").unwrap();
        assert_eq!(admit("192.0.2.2").unwrap_err(), Cause::TotalConnections);
        drop(first);
        let _third = admit("2001:db8::3").unwrap();
    }

    #[test]
    fn an_ipv4_address_is_one_client_however_it_is_written() {
        let limits = ConnectionLimits { per_client_max: 1, ..ConnectionLimits::default() };
        let admission = Admission::default();
        let _place = admit(&admission, "192.0.2.1", &limits).unwrap();
        assert_eq!(admit(&admission, "::ffff:192.0.2.1", &limits).unwrap_err(), Cause::ClientConnections);
    }
}
