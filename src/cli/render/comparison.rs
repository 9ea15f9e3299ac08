//! A comparison as text for people, as Markdown for reports, and as JSON (`dbd.compare/1`) for programs.

use super::document::{self, Block, Document};
use super::table::Tone;
use crate::domain::schema::catalog::parts;
use crate::domain::schema::data::DataComparison;
use crate::domain::schema::{Breaking, ChangeKind, Comparison, Judged, Kind, ObjectKey, Recommendation};
use anstyle::{AnsiColor, Style};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The comparison as `dbd.compare/1`.
///
/// What an object is like is told without what is empty; a column says `nullable` where the catalog says `not_null`.
#[must_use]
pub fn json(comparison: &Comparison) -> Value {
    let mut breaking: Vec<&str> = Vec::new();
    for one in comparison.breaking() {
        if !breaking.contains(&one.change.object.as_str()) {
            breaking.push(&one.change.object);
        }
    }
    json!({
        "schema": "dbd.compare/1",
        "source": comparison.source,
        "target": comparison.target,
        "identical": comparison.identical(),
        "summary": comparison.summary,
        "changes": comparison.changes.iter().map(change_json).collect::<Vec<_>>(),
        "breaking": breaking,
        "recommendation": comparison.recommendation().as_str(),
    })
}

fn change_json(judged: &Judged) -> Value {
    let change = &judged.change;
    let mut json = json!({
        "kind": change.kind,
        "change": change.change,
        "object": change.object,
        "breaking": judged.breaking.as_str(),
        "reason": judged.reason,
        "before": change.before.as_ref().map(|value| described(change.kind, value)),
        "after": change.after.as_ref().map(|value| described(change.kind, value)),
    });
    if change.nested {
        json["nested"] = Value::Bool(true);
    }
    if !change.attributes.is_empty() {
        json["attributes"] = json!(change.attributes);
    }
    if !judged.verdicts.is_empty() {
        json["codes"] = judged.verdicts.iter().map(|verdict| verdict.code.as_str()).collect();
    }
    if judged.lossy {
        json["lossy"] = Value::Bool(true);
    }
    json
}

/// An object's attributes without those that say nothing.
fn described(kind: Kind, value: &Value) -> Value {
    let Some(attributes) = value.as_object() else { return value.clone() };
    let says_nothing = |value: &Value| value.is_null() || value == false || value.as_str() == Some("");
    let mut described = Map::new();
    for (name, value) in attributes {
        if kind == Kind::Column && name == "not_null" {
            described.insert("nullable".to_owned(), Value::Bool(value != true));
        } else if !says_nothing(value) {
            described.insert(name.clone(), value.clone());
        }
    }
    Value::Object(described)
}

/// How the text is drawn: with colour and pictures on a terminal, or with plain characters.
struct Pen {
    color: bool,
}

impl Pen {
    /// A picture on a terminal, else a sign that any printer knows.
    fn sign(&self, picture: &'static str, plain: &'static str) -> &'static str {
        if self.color { picture } else { plain }
    }

    fn paint(&self, style: Style, text: &str) -> String {
        if self.color { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    fn bold(&self, text: &str) -> String {
        self.paint(Style::new().bold(), text)
    }

    fn colored(&self, color: AnsiColor, text: &str) -> String {
        self.paint(Style::new().fg_color(Some(color.into())), text)
    }

    fn branch(&self, last: bool) -> &'static str {
        match (self.color, last) {
            (true, false) => "├─ ",
            (true, true) => "└─ ",
            (false, _) => "- ",
        }
    }

    fn stem(&self, last: bool) -> &'static str {
        match (self.color, last) {
            (true, false) => "│  ",
            (true, true) => "   ",
            (false, _) => "  ",
        }
    }

    fn of_change(&self, change: ChangeKind) -> &'static str {
        match change {
            ChangeKind::Added => self.sign("➕ ", "+ "),
            ChangeKind::Removed => self.sign("➖ ", "- "),
            ChangeKind::Modified => self.sign("🔄 ", "~ "),
        }
    }
}

/// A comparison of schemas and, where it was asked for, of rows.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// The schemas.
    pub comparison: &'a Comparison,
    /// The rows.
    pub data: Option<&'a DataComparison>,
}

impl Told<'_> {
    /// As `dbd.compare/1`, with `data`.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut document = json(self.comparison);
        if let (Some(object), Some(data)) = (document.as_object_mut(), self.data) {
            object.insert("data".to_owned(), json!(data));
        }
        document
    }

    /// For people.
    #[must_use]
    pub fn text(&self, color: bool) -> String {
        let mut out = text(self.comparison, color);
        if let Some(data) = self.data {
            out.push('\n');
            let pen = Pen { color };
            line(&mut out, &pen.bold("DATA:"));
            data_lines(data).iter().for_each(|one| line(&mut out, &format!("  {one}")));
        }
        out
    }

    /// As Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut out = markdown(self.comparison);
        if let Some(data) = self.data {
            out.push_str("\n### Data\n\n");
            data_lines(data).iter().for_each(|one| line(&mut out, &format!("- {}", escape(one))));
        }
        out
    }

    /// As a page.
    #[must_use]
    pub fn html(&self) -> String {
        let mut page = page(self.comparison);
        if let Some(data) = self.data {
            let lines = data_lines(data).into_iter().map(document::text).collect();
            page.section("Data", vec![Block::List(lines)]);
        }
        document::html(&page)
    }
}

/// What was found in the rows, a sentence each; what is the same in one.
fn data_lines(data: &DataComparison) -> Vec<String> {
    let rows = |rows: Option<i64>| rows.map_or_else(|| "?".to_owned(), |rows| rows.to_string());
    let mut lines = Vec::new();
    for table in data.tables.iter().filter(|table| table.same != Some(true)) {
        let state = if table.same.is_some() { "differs" } else { "is not known" };
        let counted = match (table.source_rows, table.target_rows) {
            (None, None) => String::new(),
            (source, target) => format!(", {} rows in the source and {} in the target", rows(source), rows(target)),
        };
        lines.push(format!("{} {state}{counted} (by {})", table.table, table.how));
        if let Some(found) = &table.rows {
            lines.push(format!(
                "  {} only in the source, {} only in the target, {} not the same: {}",
                found.only_in_source,
                found.only_in_target,
                found.differing,
                found.keys.join(" ")
            ));
        }
    }
    let same = data.tables.iter().filter(|table| table.same == Some(true));
    let sampled = same.clone().filter(|table| table.sampled.is_some()).count();
    let narrower = data.tables.iter().filter(|table| table.columns_left_out > 0).count();
    lines.push(format!(
        "{} the same{}",
        plural(same.count(), "table holds", "tables hold"),
        if sampled > 0 { format!(", {sampled} of them as far as was sampled") } else { String::new() }
    ));
    if narrower > 0 {
        lines.push(format!("{} compared by the columns both sides have", plural(narrower, "table was", "tables were")));
    }
    for orphans in &data.orphans {
        lines.push(match orphans.rows {
            Some(found) => {
                format!("{}: {found} rows of {} refer to nothing ({})", orphans.side, orphans.table, orphans.constraint)
            }
            None => format!("{}: {} of {} could not be checked", orphans.side, orphans.constraint, orphans.table),
        });
    }
    let how = if data.via == "fdw" { "in the source's database, through postgres_fdw" } else { "over two connections" };
    let whole = if data.complete { "everything was looked at" } else { "not everything was looked at" };
    lines.push(format!("compared {how}; {whole}"));
    lines
}

/// The comparison for people, ending in a newline. `color` says whether it goes to a terminal that shows colours and pictures.
#[must_use]
pub fn text(comparison: &Comparison, color: bool) -> String {
    let pen = Pen { color };
    let mut out = String::new();
    let title = format!("Schema Comparison: {} vs {}", comparison.source, comparison.target);
    line(&mut out, &pen.bold(&title));
    line(&mut out, &(if color { "═" } else { "=" }).repeat(title.chars().count().max(47)));
    line(&mut out, "");
    for summary in summary_lines(comparison, &pen) {
        line(&mut out, &summary);
    }

    let groups = groups(comparison);
    if !groups.is_empty() {
        line(&mut out, "");
        line(&mut out, &pen.bold("DIFFERENCES:"));
        for (at, group) in groups.iter().enumerate() {
            let last = at + 1 == groups.len();
            line(&mut out, &format!("{}{}", pen.branch(last), group.title(&pen)));
            for (at, entry) in group.entries.iter().enumerate() {
                let branch = pen.branch(at + 1 == group.entries.len());
                let branch = if color { branch } else { "" };
                line(&mut out, &format!("{}{branch}{}", pen.stem(last), entry.text(&pen)));
            }
            if !last && color && !group.entries.is_empty() {
                line(&mut out, "│");
            }
        }
    }

    line(&mut out, "");
    for (heading, level, paint) in [
        ("BREAKING CHANGES", Breaking::Yes, AnsiColor::Red),
        ("POSSIBLY BREAKING", Breaking::Possibly, AnsiColor::Yellow),
    ] {
        let found: Vec<&Judged> = comparison.changes.iter().filter(|one| one.breaking == level).collect();
        if found.is_empty() {
            if level == Breaking::Yes {
                line(&mut out, &format!("{}: None detected", pen.bold(heading)));
            }
            continue;
        }
        line(&mut out, &format!("{}: {}", pen.colored(paint, heading), found.len()));
        for (at, one) in found.iter().enumerate() {
            let branch = pen.branch(at + 1 == found.len());
            line(&mut out, &format!("{branch}{} {}: {}", one.change.kind.words(), one.change.object, one.reason));
        }
    }
    let lossy: Vec<&str> =
        comparison.changes.iter().filter(|one| one.lossy).map(|one| one.change.object.as_str()).collect();
    if !lossy.is_empty() {
        line(&mut out, &format!("{}: {}", pen.colored(AnsiColor::Red, "STORED VALUES ARE ALTERED"), lossy.join(", ")));
    }
    let (words, color) = match comparison.recommendation() {
        Recommendation::Safe if comparison.identical() => ("Nothing to deploy", AnsiColor::Green),
        Recommendation::Safe => ("Safe to deploy", AnsiColor::Green),
        Recommendation::Review => ("Review before deploying", AnsiColor::Yellow),
        Recommendation::Unsafe => ("Not safe to deploy", AnsiColor::Red),
    };
    let picture = match comparison.recommendation() {
        Recommendation::Safe => pen.sign(" ✅", ""),
        Recommendation::Review => pen.sign(" ⚠️", ""),
        Recommendation::Unsafe => pen.sign(" ❌", ""),
    };
    line(&mut out, &format!("{}: {}{picture}", pen.bold("RECOMMENDATION"), pen.colored(color, words)));
    out
}

/// The comparison as Markdown, for reports and pull requests.
#[must_use]
pub fn markdown(comparison: &Comparison) -> String {
    let pen = Pen { color: false };
    let mut out = String::new();
    line(&mut out, &format!("## Schema comparison: {} vs {}", escape(&comparison.source), escape(&comparison.target)));
    line(&mut out, "");
    for summary in summary_lines(comparison, &pen) {
        line(&mut out, &format!("- {}", escape(summary[2..].trim_start())));
    }
    let shown: Vec<&Judged> = comparison.changes.iter().filter(|one| !one.change.nested).collect();
    if !shown.is_empty() {
        line(&mut out, "");
        line(&mut out, "| change | object | breaking | why |");
        line(&mut out, "|---|---|---|---|");
        for one in shown {
            let details = escape(&cell(&details(one).join(", ")));
            let details = if details.is_empty() { details } else { format!(" ({details})") };
            line(
                &mut out,
                &format!(
                    "| {} | {} `{}`{details} | {} | {}{} |",
                    one.change.change.as_str(),
                    one.change.kind.words(),
                    cell(&one.change.object).replace('`', "'"),
                    one.breaking.as_str(),
                    escape(&cell(&one.reason)),
                    if one.lossy { " **Stored values are altered.**" } else { "" },
                ),
            );
        }
    }
    let nested = comparison.changes.iter().filter(|one| one.change.nested).count();
    if nested > 0 {
        line(&mut out, "");
        line(
            &mut out,
            &format!("{nested} more {} with these.", if nested == 1 { "object goes" } else { "objects go" }),
        );
    }
    line(&mut out, "");
    line(&mut out, &format!("**Recommendation: {}**", comparison.recommendation().as_str()));
    out
}

/// The comparison as a page.
fn page(comparison: &Comparison) -> Document {
    let tone = match comparison.recommendation() {
        Recommendation::Safe => Tone::Good,
        Recommendation::Review => Tone::Odd,
        Recommendation::Unsafe => Tone::Bad,
    };
    let mut page = Document {
        title: format!("{} over {}", comparison.source, comparison.target),
        badge: (tone, comparison.recommendation().as_str().to_owned()),
        lead: if comparison.identical() {
            "Both sides are the same.".to_owned()
        } else {
            format!("What deploying {} over {} would change.", comparison.source, comparison.target)
        },
        sections: Vec::new(),
        foot: String::new(),
    };
    let tables = summary_lines(comparison, &Pen { color: false });
    let tables = tables.iter().map(|line| document::text(line[2..].trim_start())).collect();
    page.section("Tables", vec![Block::List(tables)]);
    page.section("Differences", blocks(comparison));
    page
}

/// What differs, as a table.
pub(super) fn blocks(comparison: &Comparison) -> Vec<Block> {
    super::report::compared(&json(comparison))
}

fn line(out: &mut String, text: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{}", text.trim_end());
}

/// One line of a table's cell.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// Keeps what a name holds from being read as Markdown.
fn escape(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, character| {
        if matches!(character, '*' | '_' | '<' | '`' | '[' | '#') {
            out.push('\\');
        }
        out.push(character);
        out
    })
}

/// A name for people: without `public.`, which is where nearly everything lives.
fn short(name: &str) -> &str {
    name.strip_prefix("public.").unwrap_or(name)
}

fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn summary_lines(comparison: &Comparison, pen: &Pen) -> Vec<String> {
    let summary = &comparison.summary;
    let mut lines = Vec::new();
    if summary.tables_matching > 0 || comparison.identical() {
        let matching = plural(summary.tables_matching, "table matches perfectly", "tables match perfectly");
        lines.push(format!("{}{matching}", pen.sign("✅ ", "= ")));
    }
    if summary.tables_differing > 0 {
        let differing = plural(summary.tables_differing, "table has differences", "tables have differences");
        lines.push(format!("{}{differing}", pen.sign("⚠️  ", "~ ")));
    }
    for (tables, label, change) in [
        (&summary.tables_only_in_source, &comparison.source, ChangeKind::Added),
        (&summary.tables_only_in_target, &comparison.target, ChangeKind::Removed),
    ] {
        if !tables.is_empty() {
            let names: Vec<&str> = tables.iter().map(|name| short(name)).collect();
            let count = plural(tables.len(), "table", "tables");
            lines.push(format!("{}{count} only in {label} ({})", pen.of_change(change), names.join(", ")));
        }
    }
    let others = |one: &&Judged| !one.change.nested && !one.change.root.kind.is_table();
    let others = comparison.changes.iter().filter(others).count();
    if others > 0 {
        lines.push(format!("{}{}", pen.of_change(ChangeKind::Modified), {
            plural(others, "difference outside tables", "differences outside tables")
        }));
    }
    lines
}

/// What is drawn beneath one outermost object.
struct Group<'a> {
    root: &'a ObjectKey,
    /// How the outermost object itself changed, if it did.
    own: Option<&'a Judged>,
    entries: Vec<Entry<'a>>,
}

/// One line beneath an object.
struct Entry<'a> {
    change: ChangeKind,
    kind: Kind,
    name: &'a str,
    details: Vec<String>,
}

impl Group<'_> {
    fn title(&self, pen: &Pen) -> String {
        let name = pen.bold(short(&self.root.name));
        let named = if self.root.kind == Kind::Table {
            format!("{name} table")
        } else {
            format!("{name} {}", self.root.kind.words())
        };
        match self.own {
            None => named,
            Some(own) => {
                let details = details(own);
                let details = if details.is_empty() { String::new() } else { format!(" ({})", details.join(", ")) };
                format!("{named}: {}{}{details}", pen.of_change(own.change.change), own.change.change.as_str())
            }
        }
    }
}

impl Entry<'_> {
    fn text(&self, pen: &Pen) -> String {
        let verb = match self.change {
            ChangeKind::Added => "Added",
            ChangeKind::Removed => "Removed",
            ChangeKind::Modified => "Modified",
        };
        let kind = if self.kind == Kind::Column { String::new() } else { format!("{} ", self.kind.words()) };
        let details = if self.details.is_empty() { String::new() } else { format!(" ({})", self.details.join(", ")) };
        format!("{}{verb}: {kind}{}{details}", pen.of_change(self.change), self.name)
    }
}

/// The changes by their outermost object. What merely follows its parent is not shown, except the columns of a new table.
fn groups(comparison: &Comparison) -> Vec<Group<'_>> {
    let mut by_root: BTreeMap<&ObjectKey, Vec<&Judged>> = BTreeMap::new();
    for one in &comparison.changes {
        by_root.entry(&one.change.root).or_default().push(one);
    }
    let mut groups = Vec::new();
    for (root, changes) in by_root {
        let own = changes.iter().copied().find(|one| one.change.kind == root.kind && one.change.object == root.name);
        let added = own.is_some_and(|own| own.change.change == ChangeKind::Added && root.kind.is_table());
        let shown = |one: &&&Judged| {
            let is_own = own.is_some_and(|own| std::ptr::eq(own, **one));
            !is_own && (!one.change.nested || (added && one.change.kind == Kind::Column))
        };
        let entries = entries(&changes, changes.iter().filter(shown).copied().collect());
        if entries.is_empty() && own.is_none_or(|own| own.change.nested) {
            continue;
        }
        groups.push(Group { root, own, entries });
    }
    groups
}

/// The lines of one group. A column's default and its own foreign key are told on the column's line.
fn entries<'a>(all: &[&'a Judged], shown: Vec<&'a Judged>) -> Vec<Entry<'a>> {
    let mut entries: Vec<Entry<'a>> = Vec::new();
    let mut told: Vec<&str> = Vec::new();
    for one in shown.iter().filter(|one| one.change.kind == Kind::Column) {
        let mut details = details(one);
        let column = parts(&one.change.object).last().copied().unwrap_or_default();
        let references = format!("FOREIGN KEY ({column}) ");
        let foreign_key = all.iter().find(|other| {
            other.change.kind == Kind::Constraint
                && other.change.change == one.change.change
                && other.change.change != ChangeKind::Modified
                && definition(other).starts_with(&references)
        });
        if let Some(foreign_key) = foreign_key {
            details.push("FK".to_owned());
            told.push(&foreign_key.change.object);
        }
        if let Some(default) =
            all.iter().find(|other| other.change.kind == Kind::Default && other.change.object == one.change.object)
        {
            details.push(default_words(default));
        }
        entries.push(Entry { change: one.change.change, kind: Kind::Column, name: column, details });
    }
    for one in shown {
        let change = &one.change;
        let name = parts(&change.object).last().copied().unwrap_or(&change.object);
        match change.kind {
            Kind::Column => {}
            Kind::Default
                if all
                    .iter()
                    .any(|other| other.change.kind == Kind::Column && other.change.object == change.object) => {}
            // A default is something about its column, as people see it.
            Kind::Default => entries.push(Entry {
                change: ChangeKind::Modified,
                kind: Kind::Column,
                name,
                details: vec![default_words(one)],
            }),
            Kind::Constraint if told.contains(&change.object.as_str()) => {}
            Kind::Comment | Kind::Privilege | Kind::PrivilegeRevoked => {
                entries.push(Entry {
                    change: change.change,
                    kind: change.kind,
                    name: &change.object,
                    details: details(one),
                });
            }
            _ => entries.push(Entry { change: change.change, kind: change.kind, name, details: details(one) }),
        }
    }
    entries
}

fn definition(one: &Judged) -> &str {
    let value = one.change.after.as_ref().or(one.change.before.as_ref());
    value.and_then(|value| value["definition"].as_str()).unwrap_or_default()
}

fn default_words(default: &Judged) -> String {
    match default.change.change {
        ChangeKind::Added => "default added",
        ChangeKind::Removed => "default removed",
        ChangeKind::Modified => "default changed",
    }
    .to_owned()
}

/// What there is to say about a change in a few words.
fn details(one: &Judged) -> Vec<String> {
    let change = &one.change;
    if change.change == ChangeKind::Modified {
        return change.attributes.iter().map(|(name, [old, new])| modified_words(name, old, new)).collect();
    }
    let Some(value) = change.after.as_ref().or(change.before.as_ref()) else { return Vec::new() };
    match change.kind {
        Kind::Column => {
            let mut details = vec![value["type"].as_str().unwrap_or_default().to_owned()];
            details.push(if value["not_null"] == true { "not null" } else { "nullable" }.to_owned());
            if value["generated"].is_string() {
                details.push("generated".to_owned());
            }
            if value["identity"].as_str().is_some_and(|identity| !identity.is_empty()) {
                details.push("identity".to_owned());
            }
            details
        }
        Kind::ViewColumn => vec![value["type"].as_str().unwrap_or_default().to_owned()],
        Kind::Constraint | Kind::DomainConstraint => vec![value["definition"].as_str().unwrap_or_default().to_owned()],
        Kind::Index if value["unique"] == true => vec!["unique".to_owned()],
        Kind::Extension => vec![value["version"].as_str().unwrap_or_default().to_owned()],
        _ => Vec::new(),
    }
}

fn modified_words(name: &str, old: &Value, new: &Value) -> String {
    let short = |value: &Value| match value {
        Value::String(text) if text.len() <= 40 && !text.contains('\n') => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(_) | Value::Null | Value::Array(_) | Value::Object(_) | Value::String(_) => None,
    };
    match (name, old, new) {
        ("persistence", _, new) => (if new == "u" { "now unlogged" } else { "now logged" }).to_owned(),
        ("volatility", _, new) => match new.as_str() {
            Some("i") => "now immutable".to_owned(),
            Some("s") => "now stable".to_owned(),
            _ => "now volatile".to_owned(),
        },
        ("identity", _, new) => match new.as_str() {
            Some("a") => "now generated always as identity".to_owned(),
            Some("d") => "now generated by default as identity".to_owned(),
            _ => "no longer an identity".to_owned(),
        },
        ("not_null", _, new) => (if new == true { "now not null" } else { "now nullable" }).to_owned(),
        (_, Value::Array(old), Value::Array(new)) => {
            let list = |values: &[Value], without: &[Value]| -> Vec<String> {
                values.iter().filter(|value| !without.contains(value)).filter_map(short).collect()
            };
            let (gone, come) = (list(old, new), list(new, old));
            let mut words = Vec::new();
            if !come.is_empty() {
                words.push(format!("with {}", come.join(", ")));
            }
            if !gone.is_empty() {
                words.push(format!("without {}", gone.join(", ")));
            }
            let name = name.replace('_', " ");
            if words.is_empty() { format!("{name} reordered") } else { format!("{name} {}", words.join(" and ")) }
        }
        (_, Value::Null | Value::Bool(false), Value::Bool(true)) => format!("{} on", name.replace('_', " ")),
        (_, Value::Bool(true), Value::Null | Value::Bool(false)) => format!("{} off", name.replace('_', " ")),
        _ => match (short(old), short(new)) {
            (Some(old), Some(new)) if !old.is_empty() && !new.is_empty() => {
                format!("{} {old} -> {new}", name.replace('_', " "))
            }
            _ => format!("{} changed", name.replace('_', " ")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::schema::diff::tests::catalog;
    use crate::domain::schema::{Catalog, Object};

    /// The example of the product overview: two tables differ, one is new, nine match.
    fn example() -> Comparison {
        let mut target = catalog(&[
            ("table:public.products", "", json!({})),
            ("column:public.products.status", "table:public.products", json!({"type": "text", "not_null": false})),
            ("default:public.products.status", "column:public.products.status", json!({"expr": "'new'::text"})),
            ("table:public.order_items", "", json!({})),
        ]);
        for number in 0..9 {
            target.insert(ObjectKey::new(Kind::Table, format!("public.t{number}")), Object::default());
        }
        let mut source = target.clone();
        let more = catalog(&[
            ("table:public.product_components", "", json!({})),
            (
                "column:public.products.component_price",
                "table:public.products",
                json!({"type": "real", "not_null": false}),
            ),
            ("column:public.products.replaced_by", "table:public.products", json!({"type": "text", "not_null": false})),
            (
                "constraint:public.products.products_replaced_by_fkey",
                "table:public.products",
                json!({"definition": "FOREIGN KEY (replaced_by) REFERENCES public.products(slug)"}),
            ),
            ("default:public.products.status", "column:public.products.status", json!({"expr": "'old'::text"})),
            (
                "column:public.order_items.product_slug",
                "table:public.order_items",
                json!({"type": "text", "not_null": true}),
            ),
            (
                "default:public.order_items.product_slug",
                "column:public.order_items.product_slug",
                json!({"expr": "''::text"}),
            ),
        ]);
        source.objects.extend(more.objects);
        Comparison::new("local", &source, "dev", &target)
    }

    #[test]
    fn on_a_terminal_it_is_drawn_as_in_the_overview() {
        let drawn = anstream::adapter::strip_str(&text(&example(), true)).to_string();
        insta::assert_snapshot!(drawn, @r"
        Schema Comparison: local vs dev
        ═══════════════════════════════════════════════

        ✅ 9 tables match perfectly
        ⚠️  2 tables have differences
        ➕ 1 table only in local (product_components)

        DIFFERENCES:
        ├─ order_items table
        │  └─ ➕ Added: product_slug (text, not null, default added)
        │
        ├─ product_components table: ➕ added
        └─ products table
           ├─ ➕ Added: component_price (real, nullable)
           ├─ ➕ Added: replaced_by (text, nullable, FK)
           └─ 🔄 Modified: status (default changed)

        BREAKING CHANGES: None detected
        RECOMMENDATION: Safe to deploy ✅
        ");
    }

    #[test]
    fn without_colour_it_reads_as_well() {
        let drawn = text(&example(), false);
        insta::assert_snapshot!(drawn, @r"
        Schema Comparison: local vs dev
        ===============================================

        = 9 tables match perfectly
        ~ 2 tables have differences
        + 1 table only in local (product_components)

        DIFFERENCES:
        - order_items table
          + Added: product_slug (text, not null, default added)
        - product_components table: + added
        - products table
          + Added: component_price (real, nullable)
          + Added: replaced_by (text, nullable, FK)
          ~ Modified: status (default changed)

        BREAKING CHANGES: None detected
        RECOMMENDATION: Safe to deploy
        ");
        assert!(drawn.is_ascii(), "a plain terminal shows no pictures");
    }

    #[test]
    fn what_breaks_is_listed_with_its_reason() {
        let target = catalog(&[
            ("table:public.t", "", json!({})),
            ("column:public.t.a", "table:public.t", json!({"type": "double precision", "not_null": false})),
            ("column:public.t.b", "table:public.t", json!({"type": "text", "not_null": false})),
            ("enum:public.mood", "", json!({"values": ["sad", "ok"]})),
        ]);
        let source = catalog(&[
            ("table:public.t", "", json!({"row_security": true})),
            ("column:public.t.a", "table:public.t", json!({"type": "real", "not_null": true})),
            ("trigger:public.t.log", "table:public.t", json!({"definition": "CREATE TRIGGER ..."})),
            ("comment:table:public.t", "table:public.t", json!({"text": "x"})),
            ("enum:public.mood", "", json!({"values": ["sad", "ok", "happy"]})),
        ]);
        let comparison = Comparison::new("local", &source, "prod", &target);
        insta::assert_snapshot!(text(&comparison, false), @r"
        Schema Comparison: local vs prod
        ===============================================

        ~ 1 table has differences
        ~ 1 difference outside tables

        DIFFERENCES:
        - t table: ~ modified (row security on)
          ~ Modified: a (now not null, type double precision -> real)
          - Removed: b (text, nullable)
          + Added: trigger log
          + Added: comment table:public.t
        - mood enum: ~ modified (values with happy)

        BREAKING CHANGES: 3
        - table public.t: rows that no policy allows can no longer be seen or written
        - column public.t.a: the type changes from double precision to real, and stored values keep 6 instead of 15 significant digits; writes that leave the column out or null, accepted now, are refused
        - column public.t.b: queries that name the column fail
        POSSIBLY BREAKING: 1
        - trigger public.t.log: writes to the table now do more, or are refused
        STORED VALUES ARE ALTERED: public.t.a
        RECOMMENDATION: Not safe to deploy
        ");
        insta::assert_snapshot!(markdown(&comparison), @r"
        ## Schema comparison: local vs prod

        - 1 table has differences
        - 1 difference outside tables

        | change | object | breaking | why |
        |---|---|---|---|
        | modified | table `public.t` (row security on) | yes | rows that no policy allows can no longer be seen or written |
        | modified | column `public.t.a` (now not null, type double precision -> real) | yes | the type changes from double precision to real, and stored values keep 6 instead of 15 significant digits; writes that leave the column out or null, accepted now, are refused **Stored values are altered.** |
        | removed | column `public.t.b` (text, nullable) | yes | queries that name the column fail |
        | added | trigger `public.t.log` | possibly | writes to the table now do more, or are refused |
        | modified | enum `public.mood` (values with happy) | no | the old values stay; a new one is read only once something writes it |
        | added | comment `table:public.t` | no | a comment changes no behaviour |

        **Recommendation: unsafe**
        ");
    }

    #[test]
    fn two_equal_sides_say_so() {
        let comparison = Comparison::new("a", &Catalog::default(), "b", &Catalog::default());
        insta::assert_snapshot!(text(&comparison, false), @r"
        Schema Comparison: a vs b
        ===============================================

        = 0 tables match perfectly

        BREAKING CHANGES: None detected
        RECOMMENDATION: Nothing to deploy
        ");
        assert_eq!(
            json(&comparison),
            json!({
                "schema": "dbd.compare/1", "source": "a", "target": "b", "identical": true,
                "summary": {
                    "tables_matching": 0, "tables_differing": 0, "tables_only_in_source": [], "tables_only_in_target": [],
                },
                "changes": [], "breaking": [], "recommendation": "safe",
            })
        );
    }

    #[test]
    fn the_json_is_the_promised_shape() {
        let target = catalog(&[
            ("table:public.products", "", json!({})),
            ("column:public.products.old_price", "table:public.products", json!({"type": "numeric", "not_null": true})),
            ("column:public.products.n", "table:public.products", json!({"type": "integer", "not_null": true})),
        ]);
        let source = catalog(&[
            ("table:public.products", "", json!({})),
            (
                "column:public.products.component_price",
                "table:public.products",
                json!({"type": "real", "not_null": false, "identity": ""}),
            ),
            ("column:public.products.n", "table:public.products", json!({"type": "bigint", "not_null": true})),
            ("table:public.x", "", json!({"row_security": false})),
            ("column:public.x.a", "table:public.x", json!({"type": "text", "not_null": false})),
        ]);
        let json = json(&Comparison::new("local", &source, "dev", &target));
        assert_eq!(json["schema"], "dbd.compare/1");
        assert_eq!(json["identical"], false);
        assert_eq!(
            json["summary"],
            json!({"tables_matching": 0, "tables_differing": 1, "tables_only_in_source": ["public.x"], "tables_only_in_target": []})
        );
        assert_eq!(json["breaking"], json!(["public.products.old_price"]));
        assert_eq!(json["recommendation"], "unsafe");
        let change = |object: &str| {
            json["changes"].as_array().unwrap().iter().find(|change| change["object"] == object).unwrap().clone()
        };
        let added = change("public.products.component_price");
        assert_eq!(added["kind"], "column");
        assert_eq!(added["change"], "added");
        assert_eq!(added["breaking"], "no");
        assert_eq!(added["before"], Value::Null);
        assert_eq!(added["after"], json!({"type": "real", "nullable": true}));
        assert_eq!(added.get("nested"), None);
        let modified = change("public.products.n");
        assert_eq!(modified["attributes"], json!({"type": ["integer", "bigint"]}));
        assert_eq!(change("public.x.a")["nested"], true);
        assert_eq!(change("public.products.old_price")["codes"], json!(["column_removed"]));
    }
}
