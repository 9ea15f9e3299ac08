//! The point in time that `--since` and `--until` name.

use super::duration;
use crate::domain::code::Code;
use crate::domain::failure::Failure;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// Reads a period back from `now` (`30d`), a date (`2024-10-05`, its first moment in UTC) or an RFC 3339 time.
///
/// # Errors
/// [`Code::BadArgument`] if it is none of these.
pub fn parse(text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    let text = text.trim();
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Ok(timestamp);
    }
    // `Date` also reads a time without an offset and drops the time of day; a date is exactly ten characters.
    if text.len() == 10
        && let Ok(date) = text.parse::<Date>()
        && let Ok(zoned) = date.to_zoned(TimeZone::UTC)
    {
        return Ok(zoned.timestamp());
    }
    let wrong = || {
        Failure::new(Code::BadArgument, format!("`{text}` is not a point in time"))
            .hint("write a period like `30d` or `12h`, a date like `2024-10-05`, or a time like `2024-10-05T12:00:00Z`")
    };
    let period = duration::parse(text).map_err(|_| wrong())?;
    let period = SignedDuration::try_from(period).map_err(|_| wrong())?;
    now.checked_sub(period).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        parse(text, "2024-10-31T12:00:00Z".parse().unwrap()).map_or_else(|failure| failure.message, |at| at.to_string())
    }

    #[test]
    fn periods_dates_and_times_read() {
        assert_eq!(read("30d"), "2024-10-01T12:00:00Z");
        assert_eq!(read("2w"), "2024-10-17T12:00:00Z");
        assert_eq!(read("90m"), "2024-10-31T10:30:00Z");
        assert_eq!(read("2024-10-05"), "2024-10-05T00:00:00Z");
        assert_eq!(read("2024-10-05T14:00:00+02:00"), "2024-10-05T12:00:00Z");
        assert_eq!(read("2024-10-05T12:00:00.123Z"), "2024-10-05T12:00:00.123Z");
    }

    #[test]
    fn what_is_no_point_in_time_is_refused() {
        for text in ["", "yesterday", "2024-13-01", "2024-10-05T12:00:00", "-3d", "30"] {
            assert_eq!(read(text), format!("`{text}` is not a point in time"));
        }
        assert_eq!(read("999999999w"), "`999999999w` is not a point in time", "before the first representable time");
    }
}
