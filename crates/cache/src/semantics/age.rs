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

/// What a response's Age field says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AgeField {
    /// It has none.
    Absent,
    /// This old.
    Of(Seconds),
    /// Something that is no age, so that nobody knows how old the response is.
    Unreadable,
}

impl AgeField {
    /// Reads a response's Age (section 5.1). Of a list, the first member counts.
    ///
    /// Section 5.1 would have a value that is no number ignored; here it makes the response stale, which costs
    /// a validation at most. So does an age that is repeated, on lines of its own or as it was: a cache on
    /// the way passed it on without counting its own time.
    pub fn of(response: &Fields) -> Self {
        let mut lines = response.get_all(name::AGE);
        let Some(line) = lines.next() else { return AgeField::Absent };
        let mut values = members(line);
        let first = values.next().unwrap_or_default();
        match Seconds::parse(first) {
            Some(age) if lines.next().is_none() && values.all(|v| v != first) => AgeField::Of(age),
            _ => AgeField::Unreadable,
        }
    }

    fn millis(self) -> u64 {
        if let AgeField::Of(age) = self { age.millis() } else { 0 }
    }
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
    let corrected = AgeField::of(fields).millis() + delay;
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
    fn the_first_member_of_age_counts_unless_it_is_repeated_or_no_number() {
        let read = |wire: &str| {
            let fields = Fields::from_wire(wire.replace('|', "\r\n").as_bytes()).unwrap();
            AgeField::of(&fields)
        };
        assert_eq!(read(""), AgeField::Absent);
        for (wire, expected) in [
            ("Age: 7200|", Some(7200)),
            ("Age: 0|", Some(0)),
            ("Age: 0,7200|", Some(0)),
            ("Age: 7200, 0|", Some(7200)),
            ("Age: 2147483649|", Some(1 << 31)),
            ("Age: 99999999999|", Some(1 << 31)),
            ("Age: 7200|Age: 0|", None),
            ("Age: 0|Age: 7200|", None),
            ("Age: 0, 0|", None),
            ("Age: 3600, 3600|", None),
            ("Age: 0|Age: 0|", None),
            ("Age: -7200|", None),
            ("Age: abc|", None),
            ("Age: 7200.0|", None),
            ("Age: a7200|", None),
            ("Age: 7200a|", None),
            ("Age: 7200;foo=bar|", None),
            ("Age: |", None),
        ] {
            let expected = expected.map_or(AgeField::Unreadable, |secs| AgeField::Of(Seconds::new(secs)));
            assert_eq!(read(wire), expected, "{wire}");
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
