//! What a column's change of type does to the values it holds, judged from the two names `format_type` gives.

/// What happens to stored values and to later ones when a column's type changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TypeChange {
    /// Same family, and every old value fits unchanged.
    Widened,
    /// Same family, and fewer values fit. PostgreSQL refuses the change if a stored value does not fit.
    Narrowed,
    /// PostgreSQL changes stored values without an error; the text says how.
    Lossy(&'static str),
    /// Another type altogether. Values are converted, or the change is refused.
    Other,
}

/// A type as `format_type` prints it, taken apart: `timestamp(3) without time zone[]`.
#[derive(Debug, PartialEq, Eq)]
struct Name<'a> {
    /// Without modifiers and brackets: `timestamp without time zone`.
    base: String,
    /// What is in the parentheses.
    modifiers: Vec<i64>,
    /// An interval's fields: `year to month`.
    fields: &'a str,
    array: bool,
}

impl<'a> Name<'a> {
    fn parse(text: &'a str) -> Self {
        let (text, array) = match text.strip_suffix("[]") {
            Some(element) => (element.trim_end_matches("[]"), true),
            None => (text, false),
        };
        let (mut base, mut modifiers) = (text.to_owned(), Vec::new());
        if let Some((head, rest)) = text.split_once('(')
            && let Some((inside, tail)) = rest.split_once(')')
        {
            let numbers: Option<Vec<i64>> = inside.split(',').map(|number| number.trim().parse().ok()).collect();
            // Something else in parentheses (a PostGIS type's `Point,4326`) stays part of the name.
            if let Some(numbers) = numbers {
                base = format!("{head}{tail}");
                modifiers = numbers;
            }
        }
        let mut fields = "";
        if let Some(rest) = text.strip_prefix("interval ") {
            fields = rest.split('(').next().unwrap_or(rest);
            base = "interval".to_owned();
        }
        Self { base, modifiers, fields, array }
    }

    fn first(&self) -> Option<i64> {
        self.modifiers.first().copied()
    }
}

/// Judges a change from the type `old` to the type `new`, both as `format_type` prints them.
pub(super) fn type_change(old: &str, new: &str) -> TypeChange {
    use TypeChange::{Lossy, Narrowed, Other, Widened};
    let (old, new) = (Name::parse(old), Name::parse(new));
    if old.array != new.array {
        return Other;
    }
    const ROUNDED_TO_INTEGER: TypeChange = Lossy("stored values are rounded to whole numbers");
    const ROUNDED: TypeChange = Lossy("stored values are rounded to fewer digits");
    const TIME_CUT: TypeChange = Lossy("the time of day is cut off stored values");

    let integer = |name: &str| match name {
        "smallint" => Some(2),
        "integer" => Some(4),
        "bigint" => Some(8),
        _ => None,
    };
    if let (Some(from), Some(to)) = (integer(&old.base), integer(&new.base)) {
        return if to > from { Widened } else { Narrowed };
    }
    match (old.base.as_str(), new.base.as_str()) {
        ("real", "double precision") => Widened,
        ("double precision", "real") => Lossy("stored values keep 6 instead of 15 significant digits"),
        ("numeric" | "real" | "double precision", to) if integer(to).is_some() => ROUNDED_TO_INTEGER,
        ("numeric" | "bigint", "real" | "double precision") | ("integer", "real") => ROUNDED,
        ("real" | "double precision", "numeric") => ROUNDED,
        ("numeric", "numeric") => numeric(&old, &new),
        ("numeric", "money") => ROUNDED,

        ("character varying" | "text", "text") => Widened,
        ("text", "character varying") => longer(None, new.first()),
        ("character varying", "character varying") | ("bit varying", "bit varying") => longer(old.first(), new.first()),
        ("character", "character") => longer(old.first().or(Some(1)), new.first().or(Some(1))),
        ("character", "character varying" | "text") => Lossy("trailing blanks are cut off stored values"),
        ("text" | "character varying" | "character", "name") => Lossy("stored values are cut to 63 bytes"),
        ("text" | "character varying" | "character", "\"char\"") => Lossy("stored values are cut to their first byte"),

        ("timestamp without time zone" | "timestamp with time zone", "date") => TIME_CUT,
        ("timestamp without time zone" | "timestamp with time zone", to) if to.starts_with("time ") => {
            Lossy("the date is cut off stored values")
        }
        ("timestamp with time zone", "timestamp without time zone") => {
            Lossy("stored values lose their time zone, and the result depends on the session's TimeZone")
        }
        ("time with time zone", "time without time zone") => Lossy("stored values lose their time zone"),
        ("interval", to) if to.starts_with("time ") => Lossy("the days are cut off stored values"),
        ("interval", "interval") if !new.fields.is_empty() && old.fields != new.fields => {
            Lossy("fields beyond the new ones are cut off stored values")
        }
        (from, to) if from == to && (from.starts_with("time") || from == "interval") => {
            // Without a precision, six digits are kept.
            let digits = |name: &Name| name.first().unwrap_or(6);
            if digits(&new) >= digits(&old) { Widened } else { Lossy("fractions of a second are rounded") }
        }

        ("cidr", "inet") => Widened,
        ("inet", "cidr") => Lossy("the bits right of the netmask are set to zero in stored values"),
        ("json", "jsonb") => Lossy("key order, duplicate keys and spacing are not kept"),
        _ => Other,
    }
}

/// A type with a maximum length; `None` is no maximum.
fn longer(old: Option<i64>, new: Option<i64>) -> TypeChange {
    match (old, new) {
        (_, None) => TypeChange::Widened,
        (Some(old), Some(new)) if new >= old => TypeChange::Widened,
        _ => TypeChange::Narrowed,
    }
}

fn numeric(old: &Name<'_>, new: &Name<'_>) -> TypeChange {
    let parts =
        |name: &Name<'_>| name.first().map(|precision| (precision, name.modifiers.get(1).copied().unwrap_or(0)));
    match (parts(old), parts(new)) {
        (_, None) => TypeChange::Widened,
        (None, Some(_)) => TypeChange::Lossy("stored values are rounded to the new scale"),
        (Some((_, old_scale)), Some((_, new_scale))) if new_scale < old_scale => {
            TypeChange::Lossy("stored values are rounded to the new scale")
        }
        (Some((old_precision, old_scale)), Some((new_precision, new_scale))) => {
            if new_precision - new_scale >= old_precision - old_scale {
                TypeChange::Widened
            } else {
                TypeChange::Narrowed
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(old: &str, new: &str, expected: &str) {
        let found = match type_change(old, new) {
            TypeChange::Widened => "widened",
            TypeChange::Narrowed => "narrowed",
            TypeChange::Lossy(_) => "lossy",
            TypeChange::Other => "other",
        };
        assert_eq!(found, expected, "{old} -> {new}");
    }

    #[test]
    fn each_change_of_type_is_judged_by_what_happens_to_stored_values() {
        check("integer", "bigint", "widened");
        check("integer", "smallint", "narrowed");
        check("integer", "text", "other");
        check("integer", "integer[]", "other");
        check("integer[]", "bigint[]", "widened");
        check("double precision", "real", "lossy");
        check("real", "double precision", "widened");
        check("double precision", "integer", "lossy");
        check("numeric", "bigint", "lossy");
        check("bigint", "double precision", "lossy");
        check("integer", "double precision", "other");
        check("numeric(10,2)", "numeric(12,2)", "widened");
        check("numeric(10,2)", "numeric", "widened");
        check("numeric(10,2)", "numeric(10,1)", "lossy");
        check("numeric(10,2)", "numeric(10,4)", "narrowed");
        check("numeric(10,2)", "numeric(8,2)", "narrowed");
        check("numeric", "numeric(10,2)", "lossy");
        check("character varying(10)", "text", "widened");
        check("character varying(10)", "character varying(20)", "widened");
        check("character varying(20)", "character varying(10)", "narrowed");
        check("character varying(10)", "character varying", "widened");
        check("text", "character varying(10)", "narrowed");
        check("text", "character varying", "widened");
        check("character(3)", "text", "lossy");
        check("timestamp without time zone", "date", "lossy");
        check("timestamp with time zone", "date", "lossy");
        check("timestamp with time zone", "timestamp without time zone", "lossy");
        check("timestamp without time zone", "timestamp with time zone", "other");
        check("timestamp(6) without time zone", "timestamp(3) without time zone", "lossy");
        check("timestamp without time zone", "timestamp(3) without time zone", "lossy");
        check("timestamp(3) with time zone", "timestamp with time zone", "widened");
        check("timestamp with time zone", "time without time zone", "lossy");
        check("interval", "interval(0)", "lossy");
        check("interval", "interval year to month", "lossy");
        check("interval year to month", "interval", "widened");
        check("inet", "cidr", "lossy");
        check("cidr", "inet", "widened");
        check("json", "jsonb", "lossy");
        check("public.mood", "text", "other");
        check("public.geometry(Point,4326)", "public.geometry(Point,3857)", "other");
    }
}
