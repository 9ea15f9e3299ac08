//! Numbers, times and text as people read them.

pub(super) use crate::cli::error::clean;
use crate::domain::event::{Readiness, Swapped};
use crate::domain::schema::Kind;
use std::collections::BTreeMap;

/// `count` and the noun that goes with it: `1 row`, `2 rows`.
#[must_use]
pub fn plural(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// `count` as a `u64`, for [`plural`].
#[must_use]
pub fn count<T>(things: &[T]) -> u64 {
    things.len() as u64
}

/// Milliseconds as people say them: `310ms`, `12.3s`, `3m 20s`, `2h 5m`, `3d 4h`. Rounded to what is worth saying.
#[must_use]
pub fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..60_000 => format!("{seconds}.{}s", ms % 1000 / 100),
        60_000..3_600_000 => format!("{}m {}s", seconds / 60, seconds % 60),
        3_600_000..86_400_000 => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// A size in bytes as people say it: `812 B`, `1.4 MiB`.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    bytesize::ByteSize::b(bytes).display().iec().to_string()
}

/// How far the shadow is, and whether the way back by it loses nothing.
#[must_use]
pub fn readiness(found: &Readiness) -> String {
    if let Some(why) = &found.blocked {
        return format!("it would lose what was written since: {why}");
    }
    let mut said = format!(
        "nothing is lost; {} replayed, {}",
        plural(found.transactions, "transaction", "transactions"),
        plural(found.rows, "row", "rows")
    );
    if !found.residue.is_empty() {
        said.push_str(&format!("; kept apart: {}", found.residue.join(", ")));
    }
    said
}

/// How the swap went.
#[must_use]
pub fn swapped(swap: &Swapped) -> String {
    let fence = swap.fence_ms.map_or_else(String::new, |ms| format!("closed for {ms} ms, "));
    let pooler = swap.pooler.as_ref().map_or_else(String::new, |told| format!(", {told}"));
    format!(
        "{fence}{} compared, the deployed database is kept as {}{pooler}",
        plural(swap.rows_compared, "row", "rows"),
        swap.kept
    )
}

/// The first twelve digits of a commit.
#[must_use]
pub fn commit(commit: &str) -> String {
    commit.chars().take(12).collect()
}

/// A digest short enough to read, `b3:` and twelve digits; other text is cut at the same length.
#[must_use]
pub fn digest(digest: &str) -> String {
    digest.chars().take(15).collect()
}

/// `text` on one line, control characters shown instead of obeyed.
#[must_use]
pub fn one_line(text: &str) -> String {
    clean(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The first letter made a capital.
#[must_use]
pub fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Counts of changes as people say them: `2 tables modified, 5 columns added`. `nothing` when there are none.
///
/// `changes` has keys like `tables_modified`, as a rehearsal counts them; zeros are left out.
#[must_use]
pub fn changes(changes: &BTreeMap<String, u64>) -> String {
    let told: Vec<String> = ["added", "modified", "removed"]
        .into_iter()
        .flat_map(|verb| changes.iter().filter_map(move |(key, count)| Some((key.strip_suffix(verb)?, verb, *count))))
        .filter(|(.., count)| *count > 0)
        .map(|(kinds, verb, count)| format!("{} {verb}", kinds_of(kinds.trim_end_matches('_'), count)))
        .collect();
    if told.is_empty() { "nothing".to_owned() } else { told.join(", ") }
}

fn kinds_of(kinds: &str, count: u64) -> String {
    let many = kinds.replace('_', " ");
    let one = Kind::ALL.iter().find(|kind| kind.plural() == kinds).map_or_else(|| many.clone(), |kind| kind.words());
    plural(count, &one, &many)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_said_with_two_units_at_most() {
        for (ms, said) in [
            (0, "0ms"),
            (999, "999ms"),
            (1_000, "1.0s"),
            (45_299, "45.2s"),
            (60_000, "1m 0s"),
            (200_500, "3m 20s"),
            (7_500_000, "2h 5m"),
            (273_600_000, "3d 4h"),
        ] {
            assert_eq!(duration(ms), said);
        }
    }

    #[test]
    fn counts_have_the_right_plural() {
        let map = |pairs: &[(&str, u64)]| pairs.iter().map(|(key, count)| ((*key).to_owned(), *count)).collect();
        let some = map(&[
            ("columns_added", 5),
            ("indexes_removed", 1),
            ("policies_added", 1),
            ("tables_modified", 2),
            ("views_added", 0),
        ]);
        assert_eq!(changes(&some), "5 columns added, 1 policy added, 2 tables modified, 1 index removed");
        assert_eq!(changes(&BTreeMap::new()), "nothing");
        assert_eq!((plural(1, "row", "rows"), plural(0, "row", "rows")), ("1 row".to_owned(), "0 rows".to_owned()));
    }

    #[test]
    fn text_stays_on_its_line_and_is_not_obeyed() {
        assert_eq!(one_line(" a\n\tb\u{1b}[2J "), "a b\\u{1b}[2J");
        assert_eq!(digest("b3:0123456789abcdef"), "b3:0123456789ab");
        assert_eq!(capital("done"), "Done");
    }
}
