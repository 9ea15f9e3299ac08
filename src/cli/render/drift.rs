//! A drift as text, Markdown, HTML, and JSON (`dbd.drift/1`): the comparison, and the two scripts that end it.

use super::comparison;
use super::document::{self, Block, Document, code, text as words};
use super::table::Tone;
use crate::domain::digest::Digest;
use crate::domain::failure::Failure;
use crate::domain::schema::Comparison;
use crate::domain::schema::script::Script;
use serde_json::{Value, json};

/// A way to end a drift.
#[derive(Clone, Debug)]
pub struct Offer {
    /// What to run.
    pub script: Script,
    /// Whether it led where it should in a sandbox; or why that is not known.
    pub tried: Result<bool, Failure>,
}

impl Offer {
    fn word(&self) -> String {
        match &self.tried {
            Ok(true) => "tried out in a sandbox: it leads exactly there".to_owned(),
            Ok(false) => "tried out in a sandbox: it does not lead the whole way; finish it by hand".to_owned(),
            Err(failure) => {
                let why: Vec<&str> =
                    std::iter::once(&failure.message).chain(failure.causes.first()).map(String::as_str).collect();
                format!("not tried out: {}", why.join(": "))
            }
        }
    }
}

/// How a target differs from what its last run left.
#[derive(Clone, Debug)]
pub struct Drift {
    /// The environment.
    pub environment: String,
    /// The run that left the target as it should be.
    pub run: String,
    /// The fingerprint of what it left, without the bookkeeping of tools.
    pub left: Digest,
    /// The fingerprint of what is there.
    pub found: Digest,
    /// What is there, compared with what was left.
    pub comparison: Comparison,
    /// Tables and when DDL last changed them, where the server knows.
    pub changed: Vec<(String, String)>,
    /// What takes it back; none without a difference.
    pub revert: Option<Offer>,
    /// What keeps it, as a migration; none without a difference.
    pub adopt: Option<Offer>,
}

/// The drift as `dbd.drift/1`.
#[must_use]
pub fn json(drift: &Drift) -> Value {
    let offer = |offer: &Option<Offer>| match offer {
        None => Value::Null,
        Some(offer) => json!({
            "sql": offer.script.to_string(),
            "statements": offer.script.statements.len(),
            "by_hand": offer.script.unsaid,
            "loses": offer.script.losses().collect::<Vec<_>>(),
            "proven": matches!(offer.tried, Ok(true)),
            "why_not": if matches!(offer.tried, Ok(true)) { None } else { Some(offer.word()) },
        }),
    };
    let mut document = comparison::json(&drift.comparison);
    if let Some(object) = document.as_object_mut() {
        object.insert("schema".to_owned(), json!("dbd.drift/1"));
        object.insert("environment".to_owned(), json!(drift.environment));
        object.insert("run".to_owned(), json!(drift.run));
        object.insert("schema_fingerprint".to_owned(), json!({"left": drift.left, "found": drift.found}));
        let changed = drift.changed.iter().map(|(table, at)| json!({"object": table, "at": at}));
        object.insert("changed".to_owned(), changed.collect());
        object.insert("revert".to_owned(), offer(&drift.revert));
        object.insert("adopt".to_owned(), offer(&drift.adopt));
    }
    document
}

fn head(drift: &Drift) -> String {
    if drift.comparison.identical() {
        return format!("{} is as {} left it ({}).", drift.environment, drift.run, drift.found.short());
    }
    format!(
        "{} is not as {} left it: left {}, found {}.",
        drift.environment,
        drift.run,
        drift.left.short(),
        drift.found.short()
    )
}

/// What the server tells about who and when.
fn known(drift: &Drift) -> Vec<String> {
    if drift.comparison.identical() {
        return Vec::new();
    }
    let mut known: Vec<String> =
        drift.changed.iter().map(|(table, at)| format!("{table} was last changed at {at}")).collect();
    let mut owners: Vec<String> = drift
        .comparison
        .changes
        .iter()
        .filter(|judged| !judged.change.nested && judged.change.before.is_none())
        .filter_map(|judged| {
            let owner = judged.change.after.as_ref()?.get("owner")?.as_str()?;
            Some(format!("{} belongs to {owner}", judged.change.object))
        })
        .collect();
    known.append(&mut owners);
    if drift.changed.is_empty() {
        known.push("when is not known: the server does not keep it (track_commit_timestamp = off)".to_owned());
    }
    known
}

/// The drift for people.
#[must_use]
pub fn text(drift: &Drift, color: bool) -> String {
    let mut out = format!("{}\n", head(drift));
    if drift.comparison.identical() {
        return out;
    }
    out.push('\n');
    out.push_str(&comparison::text(&drift.comparison, color));
    out.push('\n');
    for line in known(drift) {
        out.push_str(&format!("{line}\n"));
    }
    for (title, offer) in offers(drift) {
        out.push_str(&format!("\n{title} ({}):\n\n", offer.word()));
        out.push_str(&indented(&offer.script.to_string()));
    }
    out
}

fn indented(sql: &str) -> String {
    sql.lines().map(|line| if line.is_empty() { "\n".to_owned() } else { format!("    {line}\n") }).collect()
}

fn offers(drift: &Drift) -> impl Iterator<Item = (&'static str, &Offer)> {
    let revert = drift.revert.as_ref().map(|offer| ("To take it back", offer));
    let adopt = drift.adopt.as_ref().map(|offer| ("To keep it, as a migration", offer));
    revert.into_iter().chain(adopt)
}

/// The drift as Markdown.
#[must_use]
pub fn markdown(drift: &Drift) -> String {
    let mut out = format!("{}\n", head(drift));
    if drift.comparison.identical() {
        return out;
    }
    out.push('\n');
    out.push_str(&comparison::markdown(&drift.comparison));
    out.push('\n');
    for line in known(drift) {
        out.push_str(&format!("- {line}\n"));
    }
    for (title, offer) in offers(drift) {
        out.push_str(&format!("\n### {title}\n\n{}\n\n```sql\n{}```\n", offer.word(), offer.script));
    }
    out
}

/// The drift as a page.
#[must_use]
pub fn html(drift: &Drift) -> String {
    let identical = drift.comparison.identical();
    let badge = if identical { (Tone::Good, "no drift".to_owned()) } else { (Tone::Odd, "drift".to_owned()) };
    let mut document = Document {
        title: format!("Drift of {}", drift.environment),
        badge,
        lead: head(drift),
        sections: Vec::new(),
        foot: format!("{} left {}, found {}", drift.run, drift.left, drift.found),
    };
    document.section("Differences", comparison::blocks(&drift.comparison));
    document.section("What is known", vec![Block::List(known(drift).into_iter().map(words).collect())]);
    for (title, offer) in offers(drift) {
        let lines = offer.script.to_string();
        let blocks = vec![Block::Text(words(offer.word())), Block::List(lines.lines().map(code).collect())];
        document.section(title, blocks);
    }
    document::html(&document)
}

/// The script that takes it back, as a file.
#[must_use]
pub fn revert_file(drift: &Drift, offer: &Offer) -> String {
    format!(
        "-- Takes {} back to what {} left.\n-- {}\nBEGIN;\n{}COMMIT;\n",
        drift.environment,
        drift.run,
        offer.word(),
        offer.script
    )
}

/// The migration that keeps it, as a file. dbd brings the transaction.
#[must_use]
pub fn adopt_file(drift: &Drift, offer: &Offer) -> String {
    format!(
        "-- What was changed on {} by another way since {}.\n-- {}\n{}",
        drift.environment,
        drift.run,
        offer.word(),
        offer.script
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::schema::Catalog;
    use crate::domain::schema::diff::tests::catalog;
    use crate::domain::schema::script::script;
    use serde_json::json;

    fn drift() -> Drift {
        let left = catalog(&[("table:public.orders", "", json!({"owner": "app"}))]);
        let now = catalog(&[
            ("table:public.orders", "", json!({"owner": "app"})),
            ("column:public.orders.note", "table:public.orders", json!({"type": "text", "not_null": false})),
            ("view:public.peek", "", json!({"owner": "eve", "definition": " SELECT 1;"})),
        ]);
        let offer = |from: &Catalog, to: &Catalog, tried| Some(Offer { script: script(from, to), tried });
        Drift {
            environment: "dev".to_owned(),
            run: "deploy-dev-1".to_owned(),
            left: Digest::of(b"left"),
            found: Digest::of(b"found"),
            changed: vec![("public.orders".to_owned(), "2026-01-02T03:04:05.000Z".to_owned())],
            revert: offer(&now, &left, Ok(true)),
            adopt: offer(&left, &now, Ok(false)),
            comparison: Comparison::new("dev", &now, "deploy-dev-1", &left),
        }
    }

    #[test]
    fn the_text_names_who_when_and_both_ways_out() {
        insta::assert_snapshot!(text(&drift(), false));
    }

    #[test]
    fn json_holds_the_comparison_and_the_scripts() {
        let document = json(&drift());
        assert_eq!(document["schema"], "dbd.drift/1");
        assert_eq!(document["identical"], false);
        assert_eq!(document["revert"]["proven"], true);
        assert_eq!(document["revert"]["loses"], json!(["the values of public.orders.note"]));
        assert_eq!(document["adopt"]["proven"], false);
        assert!(document["adopt"]["sql"].as_str().unwrap().contains("ADD COLUMN note text"));
        assert_eq!(document["changed"][0]["object"], "public.orders");
    }

    #[test]
    fn the_page_escapes_and_holds_the_scripts() {
        let page = html(&drift());
        assert!(page.contains("ALTER TABLE public.orders DROP COLUMN note"), "{page}");
        assert!(page.contains("CREATE VIEW public.peek"));
    }
}
