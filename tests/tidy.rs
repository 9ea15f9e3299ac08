//! The habits of this project, kept by reading its own files: who may see whom, where each package lives, links that lead somewhere.

use dbd::domain::code::Code;
use dbd::domain::finding;
use regex::Regex;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `folder` whose name ends in one of `endings`, relative to the root, in order.
fn files(folder: &str, endings: &[&str]) -> Vec<PathBuf> {
    fn walk(at: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
        for entry in fs_err::read_dir(at).unwrap().map(Result::unwrap) {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let made = ["target", ".git", ".dbd", ".deployments"].contains(&name.as_str());
            if path.is_dir() && !made {
                walk(&path, endings, found);
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(folder), endings, &mut found);
    found.sort();
    assert!(!found.is_empty(), "nothing under {folder}");
    found
}

fn read(path: &Path) -> String {
    fs_err::read_to_string(root().join(path)).unwrap()
}

/// The lines of code with their numbers: without comments, and without the tests, at the end or in a file of their own.
fn code(path: &Path) -> Vec<(usize, String)> {
    let text = if path.ends_with("tests.rs") { String::new() } else { read(path) };
    let shipped = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines =
        shipped.lines().enumerate().map(|(at, line)| (at + 1, line.split("//").next().unwrap_or_default().to_owned()));
    lines.filter(|(_, line)| !line.trim().is_empty()).collect()
}

/// The module a file is, as parts: `src/adapters/postgres/apply.rs` is `adapters`, `postgres`, `apply`.
fn module(path: &Path) -> Vec<String> {
    let inside = path.strip_prefix("src").unwrap().with_extension("");
    let parts = inside.iter().map(|part| part.to_string_lossy().into_owned());
    parts.filter(|part| !["mod", "lib", "main"].contains(&part.as_str())).collect()
}

/// A path from the crate's root or from where the line stands, with the group it may end in.
static PATH: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\b(?:crate|(?:super::)*super)(?:::\w+)*(?:::\{[^}]*\})?").unwrap());

/// The modules a line names, from the crate's root on: `crate::…`, and `super::…` resolved against where it stands.
fn named(module: &[String], line: &str) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    if !line.contains("crate") && !line.contains("super") {
        return all;
    }
    for found in PATH.find_iter(line) {
        let (head, group) = found.as_str().split_once("::{").unwrap_or((found.as_str(), ""));
        let mut at = module.to_vec();
        for part in head.split("::") {
            match part {
                "crate" => at.clear(),
                "super" => {
                    at.pop();
                }
                part => at.push(part.to_owned()),
            }
        }
        let members: Vec<&str> = group
            .trim_end_matches('}')
            .split(',')
            .filter_map(|member| member.trim().split(|c: char| !c.is_alphanumeric() && c != '_').next())
            .filter(|member| !["", "self"].contains(member))
            .collect();
        if members.is_empty() {
            all.push(at);
        } else {
            all.extend(members.into_iter().map(|member| at.iter().cloned().chain([member.to_owned()]).collect()));
        }
    }
    all
}

/// Whether code in `module` may name something in `other`.
fn may_see(module: &[String], other: &[String]) -> bool {
    let part = |path: &[String], at: usize| path.get(at).cloned().unwrap_or_default();
    let (from, to) = (part(module, 0), part(other, 0));
    if from == to && from != "adapters" {
        return true;
    }
    let below: &[&str] = match from.as_str() {
        "domain" => &[],
        "ports" | "config" => &["domain"],
        "engine" => &["domain", "ports"],
        "adapters" => {
            let same = part(module, 1) == part(other, 1);
            return match to.as_str() {
                "adapters" => same || part(other, 1) == "support",
                to => ["domain", "ports"].contains(&to),
            };
        }
        // The JSON of a comparison is the rim's own shape: wire hands the function in, so that the engine needs not know it.
        "wire" => &["adapters", "config", "domain", "engine", "ports", "cli"],
        // The stage of the story is a server and children of its own, which have to be accounted for like all others.
        "demo" if to == "adapters" => return part(other, 1) == "support",
        "cli" | "demo" => &["config", "domain", "engine", "ports", "wire", "cli", "demo"],
        // lib.rs and main.rs
        "" => return true,
        other => panic!("{other} is a layer this rule does not know; say in docs/architecture.md where it belongs"),
    };
    below.contains(&to.as_str())
}

#[test]
fn layers_see_only_what_is_below_them() {
    let layers: BTreeSet<String> =
        files("src", &[".rs"]).iter().filter_map(|path| module(path).first().cloned()).collect();
    let mut wrong = Vec::new();
    for path in files("src", &[".rs"]) {
        let module = module(&path);
        for (at, line) in code(&path) {
            assert!(
                !line.trim_end().ends_with("crate::{"),
                "{}:{at}: a group over several layers hides them",
                path.display()
            );
            for other in named(&module, &line) {
                // A path that names no layer is something of the module's own.
                if other.first().is_some_and(|first| layers.contains(first)) && !may_see(&module, &other) {
                    wrong.push(format!("{}:{at} names {}", path.display(), other.join("::")));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_import_rule_notices_what_it_is_there_for() {
    let parts = |text: &str| text.split("::").map(str::to_owned).collect::<Vec<_>>();
    let seen =
        |module: &str, line: &str| named(&parts(module), line).iter().all(|other| may_see(&parts(module), other));
    assert!(!seen("domain::run", "use crate::ports::journal::Journal;"));
    assert!(!seen("adapters::sandbox", "use super::pg_tools::PgTools;"));
    assert!(seen("adapters::sandbox", "use super::support::{child, psql::query};"));
    assert!(!seen("adapters::postgres::apply", "use super::super::git::GitTree;"));
    assert!(seen("adapters::postgres::apply", "use super::connect::connect;"));
    assert!(!seen("engine::runner", "let x = crate::adapters::postgres::Postgres;"));
    assert!(!seen("cli::commands::start", "use crate::{adapters::journal, config};"));
    assert!(seen("cli::commands::start", "use crate::{config, wire::world};"));
}

/// Packages that the rest of the program must not come to depend on, each with the one place that knows it.
const HOMES: &[(&str, &[&str])] = &[
    ("statig", &["src/domain/machine.rs"]),
    ("pg_query", &["src/domain/migration/", "src/domain/hazard/", "src/domain/sql.rs", "src/domain/finding.rs"]),
    ("rusqlite", &["journal/src/", "journal/tests/", "journal/benches/"]),
    // Evidence is made of the store's own lines, roots and notes.
    (
        "dbd_journal",
        &[
            "src/adapters/journal.rs",
            "src/wire.rs",
            "src/cli/commands/mod.rs",
            "src/cli/commands/audit.rs",
            "src/cli/evidence/",
            "journal/",
            "tests/",
        ],
    ),
    ("ed25519_dalek", &["journal/src/note.rs"]),
    ("tokio_postgres", &["src/adapters/postgres/", "tests/"]),
    ("tokio_postgres_rustls", &["src/adapters/postgres/"]),
    ("rustls", &["src/adapters/postgres/"]),
    ("reqwest", &["src/adapters/http_health.rs"]),
    ("nix", &["src/adapters/support/os_user.rs", "src/adapters/system.rs"]),
    ("clap", &["src/cli/"]),
    ("clap_complete", &["src/cli/"]),
    ("clap_mangen", &["src/cli/"]),
    ("comfy_table", &["src/cli/"]),
    ("indicatif", &["src/cli/"]),
    ("maud", &["src/cli/"]),
    ("csv", &["src/cli/", "tests/"]),
    ("dotenvy", &["src/config/"]),
    ("toml", &["src/config/", "tests/"]),
    ("toml_edit", &["src/config/"]),
    ("zstd", &["src/engine/keep.rs"]),
];

#[test]
fn each_package_has_one_home() {
    let usage =
        |package: &str| Regex::new(&format!(r"(?m)^[^/\n]*(?:^|[^\w:]){package}::|^\s*use {package}\b")).unwrap();
    let packages: Vec<_> = HOMES.iter().map(|(package, homes)| (package, homes, usage(package))).collect();
    let mut wrong = Vec::new();
    for path in ["src", "journal", "tests"].iter().flat_map(|folder| files(folder, &[".rs"])) {
        if path.ends_with("tests/tidy.rs") {
            continue;
        }
        let shown = path.to_string_lossy().replace('\\', "/");
        let text = read(&path);
        for (package, homes, used) in &packages {
            if text.contains(**package) && used.is_match(&text) && !homes.iter().any(|home| shown.starts_with(home)) {
                wrong.push(format!("{shown} uses {package}, whose home is {}", homes.join(" and ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_domain_only_computes() {
    let outside = Regex::new(
        r"\b(tokio|fs_err|tracing|rustix|getrandom|rand)::|std::(fs|env|net|process|io|thread)\b|SystemTime|Instant\b|Timestamp::now|e?print(ln)?!|async fn",
    )
    .unwrap();
    for path in files("src/domain", &[".rs"]) {
        for (at, line) in code(&path) {
            assert!(!outside.is_match(&line), "{}:{at} reaches outside: {line}", path.display());
        }
    }
}

#[test]
fn the_machine_has_no_actions() {
    let machine: String = code(Path::new("src/domain/machine.rs")).into_iter().map(|(_, line)| line + "\n").collect();
    assert!(machine.contains("#[state_machine("));
    for word in ["#[action", "entry_action", "exit_action", "on_transition", "on_dispatch"] {
        assert!(!machine.contains(word), "{word}: replay would act again");
    }
}

#[test]
fn only_what_fences_says_that_something_is_fenced() {
    let fences = [
        "src/adapters/commands/port.rs",
        "src/adapters/pg_tools/port.rs",
        "src/adapters/postgres/capture/tidy.rs",
        "src/adapters/postgres/ledger.rs",
        "src/engine/capture.rs",
        "src/engine/reconcile.rs",
        "src/ports/fence.rs",
    ];
    let making: Vec<String> = files("src", &[".rs"])
        .into_iter()
        .filter(|path| read(path).contains("Fenced::after("))
        .map(|path| path.to_string_lossy().replace('\\', "/"))
        .collect();
    assert_eq!(making, fences, "a probe could come before its fence");
}

#[test]
fn every_source_file_is_part_of_the_program() {
    for path in ["src", "journal/src", "journal/tests", "tests"].iter().flat_map(|folder| files(folder, &[".rs"])) {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let folder = path.parent().unwrap();
        let top = ["src", "journal/src", "journal/tests", "tests"].iter().any(|top| folder == Path::new(top));
        if top && ["main", "lib"].contains(&name.as_str()) {
            continue;
        }
        // The module a `mod.rs` is, is declared one folder up.
        let (name, folder) = match name.as_str() {
            "mod" => (folder.file_name().unwrap().to_string_lossy().into_owned(), folder.parent().unwrap()),
            _ => (name, folder),
        };
        let mut parents =
            vec![folder.join("mod.rs"), folder.join("lib.rs"), folder.join("main.rs"), folder.with_extension("rs")];
        parents.retain(|parent| root().join(parent).is_file());
        let declares = |parent: &PathBuf| {
            read(parent).lines().any(|line| line.ends_with(&format!("mod {name};")) && !line.contains("//"))
        };
        assert!(parents.iter().any(declares), "{} is declared nowhere, so it is never compiled", path.display());
    }
}

/// The anchor a heading gets on the usual forges.
fn anchor(heading: &str) -> String {
    let kept = heading
        .trim()
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c))
        .collect::<String>();
    kept.replace(' ', "-")
}

#[test]
fn links_in_the_papers_lead_somewhere() {
    let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for path in files(".", &[".md"]) {
        let text = read(&path);
        for target in link.captures_iter(&text).map(|found| found.get(1).unwrap().as_str().to_owned()) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            seen += 1;
            let (file, fragment) =
                target.split_once('#').map_or((target.as_str(), None), |(file, fragment)| (file, Some(fragment)));
            let there = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            if !root().join(&there).exists() {
                wrong.push(format!("{} links to {target}, which is not there", path.display()));
            } else if let Some(fragment) = fragment {
                let headings = read(&there);
                let headings = headings
                    .lines()
                    .filter_map(|line| line.strip_prefix('#').map(|rest| anchor(rest.trim_start_matches('#'))));
                if !headings.into_iter().any(|heading| heading == fragment) {
                    wrong.push(format!("{} links to {target}, a heading that is not there", path.display()));
                }
            }
        }
    }
    assert!(seen > 0);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn papers_that_the_code_names_are_there() {
    let paper = Regex::new(r"\b(?:docs|journal|migrations)/[\w./-]*\w\.(?:md|sql)\b").unwrap();
    for path in ["src", "journal/src", "tests"].iter().flat_map(|folder| files(folder, &[".rs"])) {
        for found in paper.find_iter(&read(&path)).filter(|_| !path.starts_with("tests")) {
            let there = root().join(found.as_str());
            // Messages and tests speak of a user's own migrations too.
            let ours = found.as_str().starts_with("docs/") || found.as_str().starts_with("journal/");
            assert!(!ours || there.is_file(), "{} names {}, which is not there", path.display(), found.as_str());
        }
    }
}

#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    let stems = |folder: &str| -> BTreeSet<String> {
        files(folder, &[".md"]).iter().map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect()
    };
    let codes: BTreeSet<String> = Code::ALL.iter().map(ToString::to_string).collect();
    assert_eq!(stems("docs/errors"), codes);
    for code in Code::ALL {
        assert!(code.page().lines().filter(|line| !line.trim().is_empty()).count() > 5, "{code} says too little");
    }
    assert_eq!(stems("docs/findings"), finding::codes().map(str::to_owned).collect());
}

#[test]
fn the_architecture_page_names_every_module() {
    let page = read(Path::new("docs/architecture.md"));
    for path in files("src", &[".rs"]) {
        let parts = module(&path);
        // Two levels are a map; what lies deeper is for the module's own head to tell.
        if parts.len() <= 2 && !parts.is_empty() {
            let name = parts.last().unwrap();
            assert!(
                page.contains(&format!("`{name}`")),
                "docs/architecture.md does not name `{name}` ({})",
                path.display()
            );
        }
    }
}

#[test]
fn the_changelog_knows_the_version() {
    let version = env!("CARGO_PKG_VERSION");
    assert!(
        read(Path::new("CHANGELOG.md")).contains(&format!("## [{version}]")),
        "CHANGELOG.md has no section for {version}"
    );
}

#[test]
fn nothing_is_tied_to_one_machine_or_left_unsaid() {
    // Put together, so that this file does not name what it looks for.
    let machine = [["/ro", "ot/"], ["/wo", "rk/"], ["/fa", "rm/"]].map(|parts| parts.concat());
    let unfinished = [["TO", "DO"], ["FIX", "ME"], ["to", "do!("], ["unimple", "mented!("]].map(|parts| parts.concat());
    for path in files(".", &[".rs", ".md", ".sql", ".toml", ".sh", "prepare", "run"]) {
        let text = read(&path);
        let place = |at: usize| format!("{}:{}", path.display(), text[..at].matches('\n').count() + 1);
        for word in &unfinished {
            let found = text.find(word.as_str());
            assert!(found.is_none(), "{word} at {}", found.map(place).unwrap_or_default());
        }
        for folder in &machine {
            // A folder of that name within a path is somebody's own.
            let absolute = |at: &usize| {
                !text[..*at].ends_with(|before: char| before.is_alphanumeric() || "_.-}>*".contains(before))
            };
            let found = text.match_indices(folder.as_str()).map(|(at, _)| at).find(absolute);
            assert!(found.is_none(), "a path of one machine at {}", found.map(place).unwrap_or_default());
        }
    }
}
