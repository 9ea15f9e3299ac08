//! What the next migration is called: as those before it are, and after them.

use jiff::ToSpan;
use jiff::civil::DateTime;

/// What a new migration is to be called.
#[derive(Clone, Copy, Debug)]
pub struct NewName<'a> {
    /// In a person's words.
    pub title: &'a str,
    /// In lower-case letters, digits and `_`.
    pub slug: &'a str,
    /// The time, `YYYYMMDDHHMMSS` in UTC.
    pub stamp: &'a str,
    /// The time, in milliseconds since 1970.
    pub now_ms: i64,
}

impl NewName<'_> {
    /// What goes in front of the name: the number or the time after those of `ids`, of their kind and width; else the number one.
    pub(super) fn number<'i>(&self, ids: impl Iterator<Item = &'i str>, width: usize) -> String {
        let newest = ids.filter_map(lead).max_by_key(|digits| digits.parse::<u64>().unwrap_or(0));
        newest.map_or_else(|| format!("{:0width$}", 1), |last| self.after(last))
    }

    /// The time, for tools that stamp; later than every stamp of `ids`, though somebody's clock was fast.
    pub(super) fn stamp<'i>(&self, ids: impl Iterator<Item = &'i str>) -> String {
        let newest = ids.filter_map(lead).filter(|digits| digits.len() == 14).max();
        newest.map_or_else(|| self.stamp.to_owned(), |last| self.after(last))
    }

    /// What goes in front after `last`, which is written with digits and what parts them: `0009`, `1.9`, `20240131120000`, `2024-01-31`.
    pub(super) fn after(&self, last: &str) -> String {
        let digits: String = last.chars().filter(char::is_ascii_digit).collect();
        let later = |now: i64| digits.parse::<i64>().map_or(now, |last| now.max(last + 1)).to_string();
        match (moment(&digits), digits.len() == last.len(), digits.len()) {
            (Some(was), ..) => {
                let now = moment(self.stamp).unwrap_or(was);
                let written = written_as(last, now);
                // Not before the last one, nor in its place.
                if written.as_str() > last { written } else { written_as(last, next_moment(was, digits.len())) }
            }
            (None, true, 13) => later(self.now_ms),
            (None, true, 10) if digits.starts_with(['1', '2']) => later(self.now_ms / 1000),
            _ => {
                let head = last.trim_end_matches(|c: char| c.is_ascii_digit());
                let number = &last[head.len()..];
                let next = number.parse::<u64>().map_or(1, |number| number + 1);
                format!("{head}{next:0width$}", width = number.len())
            }
        }
    }
}

/// The digits in front of a name.
fn lead(id: &str) -> Option<&str> {
    let end = id.bytes().take_while(u8::is_ascii_digit).count();
    (end > 0).then(|| &id[..end])
}

/// The moment that is written `YYYYMMDD`, with hours, minutes and seconds as far as they go.
fn moment(digits: &str) -> Option<DateTime> {
    if ![8, 10, 12, 14].contains(&digits.len()) {
        return None;
    }
    let whole = format!("{digits:0<14}");
    let part = |from: usize, to: usize| whole[from..to].parse::<i8>().ok();
    let year = whole[..4].parse::<i16>().ok().filter(|year| (1970..2200).contains(year))?;
    DateTime::new(year, part(4, 6)?, part(6, 8)?, part(8, 10)?, part(10, 12)?, part(12, 14)?, 0).ok()
}

/// The next one that is written otherwise with so many digits.
fn next_moment(was: DateTime, digits: usize) -> DateTime {
    let step = match digits {
        8 => 1.day(),
        10 => 1.hour(),
        12 => 1.minute(),
        _ => 1.second(),
    };
    was.checked_add(step).unwrap_or(was)
}

/// A moment in the digits of `last`, what parts them left as it is.
fn written_as(last: &str, at: DateTime) -> String {
    let written = at.strftime("%Y%m%d%H%M%S").to_string();
    let mut digits = written.chars();
    last.chars().map(|c| if c.is_ascii_digit() { digits.next().unwrap_or('0') } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: NewName<'_> =
        NewName { title: "Add a note", slug: "add_a_note", stamp: "20240131120000", now_ms: 1_706_702_400_000 };

    #[test]
    fn what_comes_after_is_written_like_the_last_and_sorts_behind_it() {
        for (last, next) in [
            ("0009", "0010"),
            ("9", "10"),
            ("099", "100"),
            ("1.9", "1.10"),
            ("2024.9", "2024.10"),
            ("20230101000000", "20240131120000"),
            ("2023010100", "2024013112"),
            ("20230101", "20240131"),
            ("2023-01-01", "2024-01-31"),
            ("2023_01_01_090000", "2024_01_31_120000"),
            ("2023-01-01T09-30", "2024-01-31T12-00"),
            ("1700000000000", "1706702400000"),
            ("1700000000", "1706702400"),
            // Somebody's clock is fast, or two are made within a second.
            ("20240131120000", "20240131120001"),
            ("20241231235959", "20250101000000"),
            ("20240131", "20240201"),
            ("2024-12-31", "2025-01-01"),
            ("1800000000000", "1800000000001"),
            // No day has this number.
            ("20240132", "20240133"),
        ] {
            assert_eq!(NOW.after(last), next, "{last}");
        }
    }

    #[test]
    fn the_first_number_is_one_and_stamps_are_never_in_the_past() {
        assert_eq!(NOW.number([].into_iter(), 4), "0001");
        assert_eq!(NOW.number(["0002_b", "R__x", "0010_a"].into_iter(), 4), "0011");
        assert_eq!(NOW.stamp(["20230101000000_a", "7_b"].into_iter()), "20240131120000");
        assert_eq!(NOW.stamp(["20300101000000_a"].into_iter()), "20300101000001");
    }
}
