//! Points in time; parse and print, no clock.
//!
//! The calendar is the proleptic Gregorian one and is computed here, because values in tables reach
//! years that date libraries refuse: a 64-bit count of microseconds spans half a million years,
//! a 32-bit count of days ten million. All arithmetic is on day numbers that cannot overflow, and a
//! text that names a time out of range is no time.

use std::fmt;
use std::str::FromStr;

use crate::error::{Code, Error, Result};

const MILLIS_PER_DAY: i64 = 86_400_000;
const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Milliseconds since 1970-01-01T00:00:00Z.
///
/// ```
/// use lakebed_log::time::Timestamp;
///
/// let time: Timestamp = "2026-08-01T12:00:00+02:00".parse()?;
/// assert_eq!(time.to_string(), "2026-08-01T10:00:00.000Z");
/// assert_eq!("2026-08-01".parse::<Timestamp>()?.plus_millis(36_000_000), time);
/// # Ok::<(), lakebed_log::error::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since the epoch.
    pub const fn from_millis(millis: i64) -> Timestamp {
        Timestamp(millis)
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Shifted by `millis`, saturating.
    #[must_use]
    pub const fn plus_millis(self, millis: i64) -> Timestamp {
        Timestamp(self.0.saturating_add(millis))
    }
}

/// Parses RFC 3339; a bare date or a time without zone is read as UTC. Digits below the millisecond
/// are cut: the point asked for is then the last millisecond before it.
impl FromStr for Timestamp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Timestamp> {
        let millis = Written::parse(text).and_then(|it| {
            // In 128 bits, as the first day of the range lies before it.
            let day = i128::from(it.days) * i128::from(MILLIS_PER_DAY);
            let offset = i128::from(it.offset_seconds.unwrap_or(0)) * 1000;
            i64::try_from(day + i128::from(it.micros_of_day / 1000) - offset).ok()
        });
        let hint = "use the form 2026-08-01T12:00:00Z";
        millis
            .map(Timestamp)
            .ok_or_else(|| Error::invalid(format!("`{text}` is no point in time; {hint}")))
    }
}

/// RFC 3339 in UTC with milliseconds.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = self.0.div_euclid(MILLIS_PER_DAY);
        let millis = self.0.rem_euclid(MILLIS_PER_DAY);
        write_date(f, day)?;
        let (seconds, millis) = (millis / 1000, millis % 1000);
        write!(f, "T{}.{millis:03}Z", Clock(seconds))
    }
}

/// Parses a Spark calendar interval such as `interval 1 week 3 hours` or `7 days`, to milliseconds.
///
/// Units are weeks, days, hours, minutes, seconds, milliseconds and microseconds, singular or
/// plural, in any case; the word `interval` may be left out.
///
/// # Errors
///
/// `invalid-metadata` for months and years, whose length is not fixed, and for anything that is not
/// an interval, is negative, or does not fit 64 bits of milliseconds: a retention that wraps around
/// would delete live files.
///
/// ```
/// use lakebed_log::time::parse_interval;
/// assert_eq!(parse_interval("interval 1 week 3 hours")?, (7 * 24 + 3) * 3_600_000);
/// assert!(parse_interval("1 month").is_err());
/// # Ok::<(), lakebed_log::error::Error>(())
/// ```
pub fn parse_interval(text: &str) -> Result<i64> {
    let bad = |why: &str| {
        let what = format!("`{text}` is no interval such as `interval 7 days`: {why}");
        Error::new(Code::InvalidMetadata, what)
    };
    let lower = text.to_ascii_lowercase();
    let mut words = lower.split_ascii_whitespace().peekable();
    words.next_if_eq(&"interval");
    if words.peek().is_none() {
        return Err(bad("it is empty"));
    }
    let mut micros: i128 = 0;
    while let Some(count) = words.next() {
        let count: i64 = count.parse().map_err(|_| bad("a count is not a whole number"))?;
        let unit = words.next().ok_or_else(|| bad("a count has no unit"))?;
        let unit_micros: i64 = match unit.strip_suffix('s').unwrap_or(unit) {
            "week" => 7 * MICROS_PER_DAY,
            "day" => MICROS_PER_DAY,
            "hour" => 3_600_000_000,
            "minute" => 60_000_000,
            "second" => 1_000_000,
            "millisecond" => 1000,
            "microsecond" => 1,
            "month" | "year" => return Err(bad("months and years have no fixed length")),
            _ => return Err(bad("a unit is unknown")),
        };
        // Each product is below 2^103 and a text of 2^24 of them is past every limit.
        micros = micros.saturating_add(i128::from(count) * i128::from(unit_micros));
    }
    if micros < 0 {
        return Err(bad("it is negative"));
    }
    i64::try_from(micros / 1000).map_err(|_| bad("it is out of range"))
}

/// A date, or date and time, as someone wrote it.
///
/// `YYYY-M-D`, with a sign for years before zero and a sign allowed for years of more than four
/// digits; then optionally `T` or a space and `H:M[:S[.fraction]]`; then optionally `Z` or an
/// offset such as `+02:00`. Leap seconds, hour 24 and spaces around are not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Days since 1970-01-01.
    pub days: i64,
    /// `0..86_400_000_000`; digits below the microsecond are cut.
    pub micros_of_day: i64,
    /// Whether a digit below the microsecond was there and not zero.
    pub is_cut: bool,
    /// Whether there was a time at all.
    pub has_time: bool,
    /// What to subtract to get UTC; `None` if no zone was written.
    pub offset_seconds: Option<i64>,
}

impl Written {
    /// `None` if the text is of another form or names no day of the calendar.
    pub fn parse(text: &str) -> Option<Written> {
        let mut rest = text;
        let days = take_date(&mut rest)?;
        let mut written = Written {
            days,
            micros_of_day: 0,
            is_cut: false,
            has_time: false,
            offset_seconds: None,
        };
        if rest.is_empty() {
            return Some(written);
        }
        rest = rest.strip_prefix(['T', 't', ' '])?;
        written.has_time = true;
        (written.micros_of_day, written.is_cut) = take_time(&mut rest)?;
        written.offset_seconds = take_zone(&mut rest)?;
        rest.is_empty().then_some(written)
    }

    /// Days since the epoch, of a bare date.
    pub fn date(self) -> Option<i32> {
        if self.has_time { None } else { i32::try_from(self.days).ok() }
    }

    /// Microseconds since the epoch in UTC, where no zone means UTC. `None` if that is not exact
    /// or does not fit.
    pub fn micros_utc(self) -> Option<i64> {
        let offset = i128::from(self.offset_seconds.unwrap_or(0)) * 1_000_000;
        if self.is_cut { None } else { i64::try_from(self.micros_of_clock() - offset).ok() }
    }

    /// Microseconds since the epoch as a clock without zone shows them. `None` also if a zone was
    /// written, since then this is not what was meant.
    pub fn micros_local(self) -> Option<i64> {
        let meant = !self.is_cut && self.offset_seconds.is_none();
        if meant { i64::try_from(self.micros_of_clock()).ok() } else { None }
    }

    /// In 128 bits, as the first day of the range lies before it and its time makes up for that.
    fn micros_of_clock(self) -> i128 {
        i128::from(self.days) * i128::from(MICROS_PER_DAY) + i128::from(self.micros_of_day)
    }
}

/// Prints days since the epoch as `YYYY-MM-DD`. Years past 9999 carry a plus sign, years before
/// zero a minus, as Java does, so that every date reads back.
pub fn format_date(days: i32) -> String {
    fmt::from_fn(|f| write_date(f, i64::from(days))).to_string()
}

/// Prints microseconds since the epoch as `YYYY-MM-DDTHH:MM:SS` with `separator` in place of the
/// `T`. The fraction has `digits` digits, rounded down, or six or none as needed if `None`.
pub fn format_micros(micros: i64, separator: char, digits: Option<u32>) -> String {
    fmt::from_fn(|f| {
        let (day, of_day) = (micros.div_euclid(MICROS_PER_DAY), micros.rem_euclid(MICROS_PER_DAY));
        write_date(f, day)?;
        let (seconds, fraction) = (of_day / 1_000_000, of_day % 1_000_000);
        write!(f, "{separator}{}", Clock(seconds))?;
        match digits {
            None if fraction == 0 => Ok(()),
            None | Some(6..) => write!(f, ".{fraction:06}"),
            Some(0) => Ok(()),
            Some(digits) => {
                let cut = fraction / 10i64.pow(6 - digits);
                write!(f, ".{cut:0width$}", width = usize::try_from(digits).unwrap_or(6))
            }
        }
    })
    .to_string()
}

/// Seconds of a day as `HH:MM:SS`.
struct Clock(i64);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}:{:02}", self.0 / 3600, self.0 / 60 % 60, self.0 % 60)
    }
}

fn write_date(f: &mut fmt::Formatter<'_>, days: i64) -> fmt::Result {
    let (year, month, day) = civil_from_days(days);
    match year {
        0..=9999 => write!(f, "{year:04}-{month:02}-{day:02}"),
        10_000.. => write!(f, "+{year}-{month:02}-{day:02}"),
        _ => write!(f, "-{:04}-{month:02}-{day:02}", year.unsigned_abs()),
    }
}

/// `[+-]YYYY-M-D` off the front. At least four digits of year, because `24-01-01` is sooner a slip
/// than a date of Roman times.
fn take_date(rest: &mut &str) -> Option<i64> {
    let negative = rest.starts_with('-');
    *rest = rest.strip_prefix(['+', '-']).unwrap_or(rest);
    let year = take_number(rest, 4, 9)?;
    let month = take_after(rest, '-')?;
    let day = take_after(rest, '-')?;
    let year = if negative { -year } else { year };
    days_from_civil(year, month, day)
}

/// `H:M[:S[.fraction]]` off the front: microseconds of the day, and whether digits were lost.
fn take_time(rest: &mut &str) -> Option<(i64, bool)> {
    let hour = take_number(rest, 1, 2)?;
    let minute = take_after(rest, ':')?;
    let mut second = 0;
    let (mut micros, mut is_cut) = (0, false);
    if rest.starts_with(':') {
        second = take_after(rest, ':')?;
        if let Some(fraction) = rest.strip_prefix('.') {
            let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
            let (fraction, after) = fraction.split_at_checked(digits)?;
            let (kept, cut) = fraction.split_at(fraction.len().min(6));
            micros = format!("{kept:0<6}").parse().ok().filter(|_| digits > 0)?;
            is_cut = cut.bytes().any(|it| it != b'0');
            *rest = after;
        }
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some((((hour * 60 + minute) * 60 + second) * 1_000_000 + micros, is_cut))
}

/// `Z`, `+HH`, `+HHMM`, `+HH:MM` or nothing off the front; the outer `None` is an error.
#[allow(clippy::option_option, reason = "no zone and a bad zone are different answers")]
fn take_zone(rest: &mut &str) -> Option<Option<i64>> {
    if rest.is_empty() {
        return Some(None);
    }
    if let Some(after) = rest.strip_prefix(['Z', 'z']) {
        *rest = after;
        return Some(Some(0));
    }
    let negative = rest.starts_with('-');
    *rest = rest.strip_prefix(['+', '-'])?;
    let hours = take_two_digits(rest)?;
    let minutes = match rest.strip_prefix(':') {
        None if rest.is_empty() => 0,
        after_colon => {
            *rest = after_colon.unwrap_or(rest);
            take_two_digits(rest)?
        }
    };
    if hours > 18 || minutes > 59 {
        return None;
    }
    let seconds = (hours * 60 + minutes) * 60;
    Some(Some(if negative { -seconds } else { seconds }))
}

/// A separator and one or two digits off the front.
fn take_after(rest: &mut &str, separator: char) -> Option<i64> {
    *rest = rest.strip_prefix(separator)?;
    take_number(rest, 1, 2)
}

/// Two digits off the front, whatever follows.
fn take_two_digits(rest: &mut &str) -> Option<i64> {
    let (mut two, after) = rest.split_at_checked(2)?;
    *rest = after;
    take_number(&mut two, 2, 2)
}

fn take_number(rest: &mut &str, digits_min: usize, digits_max: usize) -> Option<i64> {
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    if digits < digits_min || digits_max < digits {
        return None;
    }
    let (number, after) = rest.split_at_checked(digits)?;
    *rest = after;
    number.parse().ok()
}

/// Days since the epoch of a day of the calendar, `None` if there is no such day.
///
/// Years are counted from March, so that the leap day is the last of its year, and in eras of 400
/// years, which all have the same number of days.
fn days_from_civil(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    if day < 1 || last < day {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

/// The inverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `expected` is the time printed, or `-` for a text that is no time.
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let seen = text.parse::<Timestamp>().map_or("-".to_string(), |it| it.to_string());
        assert_eq!(seen, expected, "{text}");
    }

    #[test]
    fn timestamps() {
        check("1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z");
        check("2024-02-29", "2024-02-29T00:00:00.000Z");
        check("2024-02-29 12:34", "2024-02-29T12:34:00.000Z");
        check("2024-02-29t12:34:56.789z", "2024-02-29T12:34:56.789Z");
        check("2024-02-29T12:34:56.789999999Z", "2024-02-29T12:34:56.789Z");
        check("2024-02-29T12:34:56+02:00", "2024-02-29T10:34:56.000Z");
        check("2024-02-29T12:34:56-0230", "2024-02-29T15:04:56.000Z");
        check("2024-02-29T23:00:00-02", "2024-03-01T01:00:00.000Z");
        check("1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59.999Z");
        check("+10000-01-01", "+10000-01-01T00:00:00.000Z");
        check("-0001-01-01", "-0001-01-01T00:00:00.000Z");
        check("0000-02-29", "0000-02-29T00:00:00.000Z");
        for bad in [
            "",
            "yesterday",
            "24-01-01",
            "2023-02-29",
            "2024-13-01",
            "2024-00-01",
            "2024-01-32",
            "2024-01-01T",
            "2024-01-01T24:00:00Z",
            "2024-01-01T23:59:60Z",
            "2024-01-01T12:60Z",
            "2024-01-01T12:00:00.Z",
            "2024-01-01T12:00:00+",
            "2024-01-01T12:00:00+02:",
            "2024-01-01T12:00:00+02000",
            "2024-01-01T12:00:00+2",
            "2024-01-01T12:00:00+19:00",
            "2024-01-01T12:00:00Zx",
            " 2024-01-01",
            "2024-01-01 ",
            "2024-01-01Z",
            "9999999999-01-01",
            "999999999-01-01",
            "2024-01-01T12:00:00.\u{0661}Z",
        ] {
            check(bad, "-");
        }
    }

    #[track_caller]
    fn check_interval(text: &str, expected: Option<i64>) {
        let seen = parse_interval(text);
        assert_eq!(seen.as_ref().ok().copied(), expected, "{text}");
        if let Err(error) = seen {
            assert_eq!(error.code(), Code::InvalidMetadata, "{text}");
        }
    }

    #[test]
    fn intervals() {
        let hour = 3_600_000;
        check_interval("interval 1 week", Some(7 * 24 * hour));
        check_interval("7 days", Some(7 * 24 * hour));
        check_interval("INTERVAL 30 Days", Some(30 * 24 * hour));
        check_interval(" interval  1 week 3 hours ", Some((7 * 24 + 3) * hour));
        check_interval("1 day -1 hour", Some(23 * hour));
        check_interval("0 seconds", Some(0));
        check_interval("1 minute 1 second 1 millisecond", Some(61_001));
        check_interval("1500 microseconds", Some(1));
        check_interval("9223372036854775807 milliseconds", Some(i64::MAX));
        for bad in [
            "",
            "interval",
            "interval banana",
            "interval 7",
            "7 dayss",
            "7.5 days",
            "1 month",
            "2 years",
            "interval -7 days",
            "1 hour -1 day",
            "interval 9223372036854775807 weeks",
            "99999999999999999999 days",
        ] {
            check_interval(bad, None);
        }
    }

    #[test]
    fn the_ends_of_the_range_read_back() {
        for end in [i64::MIN, i64::MAX] {
            let time = Timestamp::from_millis(end);
            assert_eq!(time.to_string().parse::<Timestamp>().unwrap(), time);
            let written = Written::parse(&format_micros(end, 'T', None)).unwrap();
            assert_eq!(written.micros_local(), Some(end));
            assert_eq!(written.micros_utc(), Some(end));
        }
        for end in [i32::MIN, i32::MAX] {
            assert_eq!(Written::parse(&format_date(end)).unwrap().date(), Some(end));
        }
    }

    #[test]
    fn fractions() {
        let micros = -1;
        assert_eq!(format_micros(micros, 'T', None), "1969-12-31T23:59:59.999999");
        assert_eq!(format_micros(micros, ' ', Some(3)), "1969-12-31 23:59:59.999");
        assert_eq!(format_micros(0, ' ', None), "1970-01-01 00:00:00");
        assert_eq!(format_micros(10, 'T', Some(6)), "1970-01-01T00:00:00.000010");
        let cut = Written::parse("1970-01-01T00:00:00.0000001Z").unwrap();
        assert_eq!((cut.is_cut, cut.micros_utc()), (true, None));
        let zeros = Written::parse("1970-01-01T00:00:00.000001000").unwrap();
        assert_eq!(zeros.micros_local(), Some(1));
    }

    proptest! {
        /// Every value prints a text that reads back to it.
        #[test]
        fn print_and_parse_are_inverse(micros: i64, days: i32) {
            let text = format_micros(micros, 'T', None);
            let read = Written::parse(&text).and_then(Written::micros_local);
            prop_assert_eq!(read, Some(micros), "{}", text);
            let read = Written::parse(&format_date(days)).and_then(Written::date);
            prop_assert_eq!(read, Some(days));
            let time = Timestamp::from_millis(micros);
            prop_assert_eq!(time.to_string().parse::<Timestamp>().unwrap(), time);
        }

        /// Consecutive days are consecutive dates: one step of day, month or year.
        #[test]
        fn days_are_in_order(day in -4_000_000i64..4_000_000) {
            let (a, b) = (civil_from_days(day), civil_from_days(day + 1));
            prop_assert!(a < b);
            prop_assert_eq!(days_from_civil(a.0, a.1, a.2), Some(day));
        }

        #[test]
        fn parse_is_total(text in "[-+]?[0-9]{0,10}[-0-9:. TtZ+]{0,30}|.*") {
            if let Some(written) = Written::parse(&text) {
                let _ = (written.date(), written.micros_utc(), written.micros_local());
            }
            let _ = parse_interval(&text);
            let _ = text.parse::<Timestamp>();
        }
    }
}
