//! How old a response was when it arrived (RFC 9111 sections 4.2.3 and 5.1).

use super::http_date;
use super::list::members;
use super::seconds::Seconds;
use selvedge_types::{Fields, UnixMillis, name};

/// When a request was sent and when its response's head arrived, by this node's wall clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Times {
    /// When the request was sent.
    pub requested: UnixMillis,
    /// When the response's head arrived.
    pub responded: UnixMillis,
}

/// The Age field's value: its first member, if that is a non-negative integer (section 5.1).
pub fn age_value(fields: &Fields) -> Option<Seconds> {
    Seconds::parse(members(fields.get(name::AGE)?).next()?)
}

/// The Date field's value, if there is one and it is valid.
pub fn date_value(fields: &Fields, now: UnixMillis) -> Option<UnixMillis> {
    single_date(fields, name::DATE, now)
}

/// The date in a field that may occur once only; none if it is absent, repeated or invalid.
pub fn single_date(fields: &Fields, field: selvedge_types::Name, now: UnixMillis) -> Option<UnixMillis> {
    let mut values = fields.get_all(field);
    let value = values.next()?;
    if values.next().is_some() { None } else { http_date::parse(value, now) }
}

/// `corrected_initial_age`, in milliseconds: the larger of what Date shows (`apparent_age`) and what Age
/// says plus the time the response took (`corrected_age_value`). Clocks that disagree never make it negative.
pub fn initial_age_ms(fields: &Fields, times: Times) -> u64 {
    let now = times.responded;
    // Dates are whole seconds: a fraction of a second apart is not a second old.
    let apparent = date_value(fields, now).map_or(0, |date| now.secs().saturating_sub(date.secs()) * 1000);
    let delay = times.responded.0.saturating_sub(times.requested.0);
    let corrected = age_value(fields).map_or(0, Seconds::millis) + delay;
    apparent.max(corrected)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis::from_secs(1_790_000_000);

    fn age(wire: &str, delay_ms: u64) -> u64 {
        let fields = Fields::from_wire(wire.replace('|', "\r\n").as_bytes()).unwrap();
        initial_age_ms(
            &fields,
            Times { requested: UnixMillis(NOW.0.saturating_sub(delay_ms)), responded: NOW },
        )
    }

    #[test]
    fn the_first_member_of_age_counts_if_it_is_valid() {
        for (wire, expected) in [
            ("Age: 7200|", 7200),
            ("Age: 0|", 0),
            ("Age: 0, 7200|", 0),
            ("Age: 7200, 0|", 7200),
            ("Age: 7200|Age: 0|", 7200),
            ("Age: 2147483649|", 1 << 31),
            ("Age: 99999999999|", 1 << 31),
            ("Age: -7200|", 0),
            ("Age: abc|", 0),
            ("Age: 7200.0|", 0),
            ("Age: a7200|", 0),
            ("Age: 7200a|", 0),
            ("Age: 7200;foo=bar|", 0),
            ("Age: |", 0),
        ] {
            assert_eq!(age(wire, 0), expected * 1000, "{wire}");
        }
    }

    #[test]
    fn the_larger_of_dates_and_ages_view_counts() {
        let date = |offset: i64| {
            let at = UnixMillis::from_secs((NOW.secs() as i64 + offset) as u64);
            format!("Date: {}|", String::from_utf8_lossy(&http_date::write(at)))
        };
        for (wire, delay_ms, expected_ms) in [
            (date(-60), 0, 60_000),
            (date(-60) + "Age: 10|", 0, 60_000),
            (date(-60) + "Age: 100|", 0, 100_000),
            (date(60), 0, 0),
            (date(60), 1_500, 1_500),
            (date(0) + "Age: 10|", 2_000, 12_000),
            ("Date: foo|Age: 5|".into(), 0, 5_000),
            (date(-60) + &date(-90), 0, 0),
            (String::new(), 700, 700),
        ] {
            assert_eq!(age(&wire, delay_ms), expected_ms, "{wire}");
        }
    }

    #[test]
    fn a_clock_that_went_back_during_the_request_does_no_harm() {
        let times = Times { requested: UnixMillis(NOW.0 + 5_000), responded: NOW };
        assert_eq!(initial_age_ms(&Fields::new(), times), 0);
    }
}
