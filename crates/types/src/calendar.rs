//! Days and the Gregorian calendar (Hinnant, "chrono-compatible low-level date algorithms").

/// The months' names as HTTP dates and logs write them, January first.
pub const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    /// The year.
    pub year: i64,
    /// From 1 for January.
    pub month: u8,
    /// From 1.
    pub day: u8,
}

impl Date {
    /// A day that the calendar has.
    pub fn new(year: i64, month: u8, day: u8) -> Option<Date> {
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let last = match month {
            2 if leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return None,
        };
        // Far more than any format writes, and no arithmetic on it overflows.
        let known = year.unsigned_abs() < 1 << 40 && (1..=last).contains(&day);
        known.then_some(Date { year, month, day })
    }

    /// The day that many days after 1970-01-01.
    pub fn from_days(days: u64) -> Date {
        let z = days.min(1 << 48) + 719_468;
        let (era, of_era) = (z / 146_097, z % 146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * of_year + 2) / 153;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        Date {
            year: (year_of_era + era * 400 + u64::from(month <= 2)) as i64,
            month: month as u8,
            day: (of_year - (153 * shifted + 2) / 5 + 1) as u8,
        }
    }

    /// Days since 1970-01-01; negative before.
    pub fn days(self) -> i64 {
        let (month, day) = (i64::from(self.month), i64::from(self.day));
        let year = if month <= 2 { self.year - 1 } else { self.year };
        let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
        era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
    }

    /// The month's name.
    pub fn month_name(self) -> &'static str {
        MONTHS.get(usize::from(self.month).wrapping_sub(1)).unwrap_or(&"")
    }
}

/// The month with that name, from 1, in any case.
pub fn month_of(name: &[u8]) -> Option<u8> {
    let at = MONTHS.iter().position(|month| month.as_bytes().eq_ignore_ascii_case(name))?;
    u8::try_from(at + 1).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_days() {
        for (days, date) in [
            (0, (1970, 1, 1)),
            (9_075, (1994, 11, 6)),
            (11_016, (2000, 2, 29)),
            (47_540, (2100, 2, 28)),
            (2_932_896, (9999, 12, 31)),
        ] {
            let found = Date::from_days(days);
            assert_eq!((found.year, found.month, found.day), date);
        }
        assert_eq!(Date::new(1969, 12, 31).unwrap().days(), -1);
    }

    #[test]
    fn days_that_the_calendar_does_not_have_are_none() {
        for (year, month, day) in
            [(2023, 2, 29), (2100, 2, 29), (2024, 4, 31), (2024, 13, 1), (2024, 0, 1), (2024, 1, 0)]
        {
            assert_eq!(Date::new(year, month, day), None);
        }
        assert!(Date::new(2024, 2, 29).is_some() && Date::new(2000, 2, 29).is_some());
    }

    proptest! {
        #[test]
        fn days_and_dates_are_one_to_one(days in 0u64..5_000_000) {
            let date = Date::from_days(days);
            prop_assert_eq!(date.days(), days as i64);
            prop_assert_eq!(Date::new(date.year, date.month, date.day), Some(date));
        }
    }
}
