//! `docs/config.md`, made from the table of keys and the list of variables.

use super::env::{ALL, BY_ENVIRONMENT};
use super::keys::{Default, KEYS, Key, Kind, SECTIONS};
use std::fmt::Write as _;

/// The text of `docs/config.md`.
#[must_use]
pub fn reference() -> String {
    let mut out = String::from(INTRODUCTION);
    for section in SECTIONS {
        let _ = write!(out, "\n## `[{}]`\n\n{}\n\n", named(section.path), section.doc);
        out += "| key | value | left out | variable | meaning | since |\n|---|---|---|---|---|---|\n";
        for key in KEYS.iter().filter(|key| key.section() == section.path) {
            let variable = key.variable.map_or(String::new(), |name| format!("`{name}`"));
            let _ = writeln!(
                out,
                "| `{}` | {} | {} | {variable} | {} | {} |",
                key.name(),
                value(key),
                left_out(key),
                cell(key.doc),
                key.since
            );
        }
    }
    out += VARIABLES;
    for variable in BY_ENVIRONMENT.iter().chain(ALL) {
        let key = KEYS.iter().find(|key| key.variable == Some(variable.name));
        let key = key.map_or(String::new(), |key| format!("`{}`", named(key.path)));
        let _ = writeln!(out, "| `{}` | {key} | {} | {} |", variable.name, cell(variable.doc), variable.since);
    }
    out
}

const INTRODUCTION: &str = "\
# Configuration

<!-- Made from `src/config/keys.rs` and `src/config/env.rs`; a test fails when this page is stale. To make it again:
     cargo test --lib write_the_reference -- --ignored -->

dbd works without a configuration file: with one environment variable and a folder of migrations, `dbd start dev` runs. `dbd init`
writes a commented `dbd.toml`.

- The project's root is the nearest folder upward that holds `dbd.toml`, else the current folder. `-C DIR` starts elsewhere.
  Paths in the file are relative to the root; `--config FILE` reads another file and leaves the root as it is.
- A flag wins over a key in `dbd.toml`, a key over its variable, a variable over the default.
- Instead of a value, each key takes `{ env = \"NAME\" }`: the value of that variable. A variable that is not set, or is blank, counts as
  the key left out; only for `sandbox.server`, a `command` and a target's `database_url` it is an error, as soon as they are needed.
- Variables are read from the environment, then from `.env.local`, then from `.env`, both in the root; the first that has one wins.
  In these two files a value with blanks or `#` needs quotes; a `$` stands for itself, and only `${NAME}` outside single quotes is
  replaced, by a variable set elsewhere or on an earlier line.
- A secret written into `dbd.toml` itself is accepted with a warning (DBD-0010).
- An unknown key is an error that names the nearest known one (DBD-0002). A value that does not fit says what would (DBD-0003).
- Durations are written `500ms`, `45s`, `5m`, `12h`, `30d`, `2w`, or put together, `1h30m`.
- `[sandbox.mask]` is the one section whose keys are your own: columns, like `\"public.customers.email\" = \"email\"`. What stands instead of a
  value is `email`, `name`, `text` (as many `x`), `null`, `hash` (the same for the same value), `number` or `constant:VALUE`.
- A connection URL that names no user means `PGUSER`, else `USER`, else `LOGNAME`.
";

const VARIABLES: &str = "
## Variables

`<NAME>` stands for an environment's name in capitals, with `_` for `-`: the target of `eu-west` is `EU_WEST_POSTGRES_URL`. An environment
needs no section: setting its `<NAME>_POSTGRES_URL` is enough.

| variable | key | meaning | since |
|---|---|---|---|
";

fn named(path: &str) -> String {
    path.replace('*', "<name>")
}

fn value(key: &Key) -> String {
    match key.kind {
        Kind::Later => "not available yet".to_owned(),
        kind => cell(&kind.allowed()),
    }
}

fn left_out(key: &Key) -> String {
    match key.default {
        Default::Is(text) => format!("`{text}`"),
        Default::None(words) => cell(words),
    }
}

/// A `|` would end the cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn page() -> PathBuf {
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/config.md"))
    }

    #[test]
    fn the_reference_page_is_up_to_date() {
        let there = fs_err::read_to_string(page()).unwrap();
        assert!(there == reference(), "docs/config.md is stale: cargo test --lib write_the_reference -- --ignored");
    }

    #[test]
    #[ignore = "writes docs/config.md; run it after a change to the keys or variables"]
    fn write_the_reference() {
        fs_err::write(page(), reference()).unwrap();
    }
}
