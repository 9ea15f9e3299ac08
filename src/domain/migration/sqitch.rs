//! Sqitch: `sqitch.plan` names the changes, `deploy/`, `revert/` and `verify/` hold their scripts, the schema `sqitch`
//! keeps track.
//!
//! Sqitch writes its record after the script's own transaction, so a crash between the two leaves it one change behind.

use super::{
    AppliedRow, Bookkeeping, Cut, Folder, Format, FormatReader, Migration, MigrationSet, NewFile, NewName, ProofsIn,
    Renaming, Standing, ToolLock, Tracking, is_transaction_control, marks, pieces, read_down, read_file, standing,
};
use crate::domain::code::Code;
use crate::domain::failure::Failure;
use crate::domain::ids::{MigrationId, RunId};
use crate::domain::sql::{quote_ident, quote_literal};
use sha1::{Digest as _, Sha1};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The reader of Sqitch.
pub(super) struct Sqitch;

const PLAN: &str = "sqitch.plan";

/// Sqitch's configuration, beside the plan or in the project's root.
const CONF: &str = "sqitch.conf";

/// Who deploys or reverts, by name and address.
const COMMITTER: &str = "session_user::text, session_user || '@' || current_database()";

/// What a plan says.
#[derive(Default)]
struct Plan {
    project: String,
    uri: Option<String>,
    changes: Vec<Change>,
}

/// One change of a plan.
struct Change {
    name: String,
    id: String,
    note: String,
    requires: Vec<(String, String)>,
    conflicts: Vec<String>,
    planned_at: String,
    planner: (String, String),
    tags: Vec<Tag>,
    /// The script's name, which a change that is reworked later shares with nobody.
    script: String,
}

struct Tag {
    name: String,
    id: String,
    note: String,
    planned_at: String,
    planner: (String, String),
}

impl FormatReader for Sqitch {
    fn format(&self) -> Format {
        Format::Sqitch
    }

    fn name(&self) -> &'static str {
        "sqitch"
    }

    fn detect(&self, folder: &Folder) -> bool {
        folder.files.contains_key(PLAN)
    }

    fn read(&self, folder: &Folder) -> Result<MigrationSet, Failure> {
        let plan = parse(folder)?;
        let mut set = MigrationSet::empty(Format::Sqitch, folder);
        for change in &plan.changes {
            let path = format!("deploy/{}.sql", change.script);
            if !folder.files.contains_key(&path) {
                let message = format!("{} is missing, though {PLAN} names the change", folder.shown(&path));
                return Err(
                    Failure::new(Code::BadMigrationJournal, message).hint("bring the file back from version control")
                );
            }
            let file = read_file(folder, &path, &Cut::default())?;
            set.warnings.extend(file.emptiness());
            let revert = format!("revert/{}.sql", change.script);
            let down = match folder.files.contains_key(&revert) {
                true => read_down(folder, &revert, &Cut::default(), &mut set.warnings),
                false => None,
            };
            let insert = insert(&plan, change, &hash(&file.text));
            let looks = format!("verify/{}.sql", change.script);
            let looks = match folder.files.contains_key(&looks) {
                true => verify(folder, &looks, &mut set.warnings),
                false => String::new(),
            };
            let values = [("insert", insert.as_str()), ("checksum", &hash(&file.text)), ("verify", &looks)];
            let row = Bookkeeping::row(&change.id, if looks.is_empty() { &values[..2] } else { &values });
            set.migrations.push(file.into_migration(MigrationId::new(&change.script), row, down));
        }
        for path in folder.files.keys().filter(|path| path.starts_with("deploy/") && path.ends_with(".sql")) {
            if !plan.changes.iter().any(|change| *path == format!("deploy/{}.sql", change.script)) {
                let message = format!("{} is not run: {PLAN} does not name it", folder.shown(path));
                set.warnings
                    .push(Failure::new(Code::OrphanFile, message).hint("add it to the plan, or remove the file"));
            }
        }
        Ok(set)
    }

    fn renaming(&self) -> Renaming {
        Renaming::Schema
    }

    fn table_said(&self, folder: &Folder) -> Result<Option<String>, Failure> {
        let text = match folder.files.get(CONF) {
            Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            None => folder.said.get(CONF).cloned().unwrap_or_default(),
        };
        Ok(registry(&text)?.map(|schema| format!("{}.changes", quote_ident(&schema))))
    }

    fn tracking(&self) -> Tracking {
        Tracking {
            table: Cow::Borrowed("sqitch.changes"),
            more: &["sqitch.releases", "sqitch.projects", "sqitch.tags", "sqitch.dependencies", "sqitch.events"],
            columns: &["change_id", "script_hash", "committed_at"],
            create: Cow::Borrowed(REGISTRY),
            read: Cow::Borrowed(
                "SELECT change_id, script_hash, to_char(committed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), \
                committer_name, NULL::text FROM sqitch.changes",
            ),
            proofs: ProofsIn::Beside,
            lock: Some(ToolLock::Key(75_474_063)),
        }
    }

    fn key(&self, migration: &Migration) -> String {
        marks::key(migration)
    }

    fn verify_sql(&self, migration: &Migration) -> Option<String> {
        Some(migration.bookkeeping.value("verify").to_owned()).filter(|sql| !sql.is_empty())
    }

    fn insert_row_sql(&self, migration: &Migration, _run: &RunId) -> String {
        migration.bookkeeping.value("insert").to_owned()
    }

    fn delete_row_sql(&self, migration: &Migration) -> String {
        let id = quote_literal(migration.bookkeeping.key());
        // As `sqitch revert` does it: the event says what the registry knew of the change until now.
        let named = |kind: &str| {
            format!(
                "ARRAY(SELECT dependency FROM sqitch.dependencies WHERE change_id = c.change_id AND type = '{kind}' ORDER BY 1)"
            )
        };
        format!(
            "INSERT INTO sqitch.events (event, change_id, change, project, note, requires, conflicts, tags, committer_name, \
             committer_email, planned_at, planner_name, planner_email) \
             SELECT 'revert', c.change_id, c.change, c.project, c.note, {}, {}, \
             ARRAY(SELECT tag FROM sqitch.tags WHERE change_id = c.change_id ORDER BY 1), {COMMITTER}, \
             c.planned_at, c.planner_name, c.planner_email FROM sqitch.changes c WHERE c.change_id = {id};\n\
             DELETE FROM sqitch.tags WHERE change_id = {id};\nDELETE FROM sqitch.dependencies WHERE change_id = {id};\n\
             DELETE FROM sqitch.changes WHERE change_id = {id}",
            named("require"),
            named("conflict")
        )
    }

    fn standing(&self, set: &MigrationSet, rows: &[AppliedRow]) -> Standing {
        standing::by_row(set, rows, marks::key, hash)
    }

    fn new_files(&self, folder: &Folder, _ids: &[&str], name: NewName<'_>) -> Result<Vec<NewFile>, Failure> {
        let plan = parse(folder)?;
        let stamp = name.stamp;
        let part = |from: usize, to: usize| stamp.get(from..to).unwrap_or("00");
        let at =
            format!("{}-{}-{}T{}:{}:{}Z", part(0, 4), part(4, 6), part(6, 8), part(8, 10), part(10, 12), part(12, 14));
        let (planner, mail) = plan
            .changes
            .last()
            .map_or_else(|| ("dbd".to_owned(), "dbd@localhost".to_owned()), |last| last.planner.clone());
        let mut text = folder.text(PLAN)?.trim_end().to_owned();
        text.push_str(&format!("\n{} {at} {planner} <{mail}> # {}\n", name.slug, name.title));
        let script = |what: &str| {
            let end = if what == "verify" { "ROLLBACK" } else { "COMMIT" };
            let words = match what {
                "deploy" => format!("-- Deploy {}:{} to pg", plan.project, name.slug),
                "revert" => format!("-- Revert {}:{} from pg", plan.project, name.slug),
                _ => format!("-- Verify {}:{} on pg", plan.project, name.slug),
            };
            NewFile::made(format!("{what}/{}.sql", name.slug), format!("{words}\n\nBEGIN;\n\n\n{end};\n"))
        };
        let plan = NewFile { path: PLAN.to_owned(), text, replaces: true };
        Ok(vec![script("deploy"), script("revert"), script("verify"), plan])
    }
}

/// The statements of a verify script, without the `BEGIN` and `ROLLBACK` that people put around them. One that cannot be read is left out, with a
/// warning: the way forward does not hang on it.
fn verify(folder: &Folder, path: &str, warnings: &mut Vec<Failure>) -> String {
    let file = folder.shown(path);
    let read = folder.text(path).and_then(|text| {
        let spans = pieces(text).map_err(|error| error.into_failure(&file))?;
        let told = spans.iter().map(|span| span.of(text)).filter(|sql| !is_transaction_control(sql));
        Ok(told.collect::<Vec<_>>().join(";\n"))
    });
    read.unwrap_or_else(|failure| {
        warnings.push(failure.hint("the change is deployed without being verified until it is corrected"));
        String::new()
    })
}

/// The schema that `sqitch.conf` has the registry in, if it names one: for PostgreSQL, or for every target alike.
fn registry(conf: &str) -> Result<Option<String>, Failure> {
    let mut section = String::new();
    let mut engine = None;
    let mut targets: BTreeMap<String, Option<String>> = BTreeMap::new();
    for line in conf.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            name.trim().clone_into(&mut section);
        }
        let target = section.strip_prefix("target").map(|name| name.trim().trim_matches('"').to_owned());
        let registry = target.as_ref().map(|name| targets.entry(name.clone()).or_default());
        let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('[')) else { continue };
        if !key.trim().eq_ignore_ascii_case("registry") {
            continue;
        }
        let value = value.trim();
        let value = match value.strip_prefix('"').and_then(|rest| rest.split_once('"')) {
            Some((quoted, _)) => quoted,
            None => value.split(['#', ';']).next().unwrap_or_default().trim(),
        };
        match registry {
            Some(registry) => *registry = Some(value.to_owned()),
            None if section.replace('"', "").split_whitespace().eq(["engine", "pg"]) => engine = Some(value.to_owned()),
            None => {}
        }
    }
    let said = targets.iter().map(|(name, registry)| (name, registry.as_ref().or(engine.as_ref())));
    let mut first: Option<(&String, Option<&String>)> = None;
    for (name, registry) in said {
        match first {
            Some((other, one)) if one != registry => {
                let called = |one: Option<&String>| one.map_or("sqitch", String::as_str).to_owned();
                let (one, two) = (called(one), called(registry));
                return Err(Failure::new(
                    Code::BadValue,
                    format!("{CONF} has the registry of {other} in {one}, and that of {name} in {two}"),
                )
                .hint("dbd keeps track in the same place everywhere: name it in dbd.toml, [migrations] table = \"<registry>.changes\""));
            }
            _ => first = Some((name, registry)),
        }
    }
    Ok(first.map_or(engine.as_ref(), |(_, registry)| registry).cloned())
}

/// The SHA-1 of a script, in hexadecimal.
fn hash(text: &str) -> String {
    data_encoding::HEXLOWER.encode(&Sha1::digest(text))
}

/// A name of Sqitch's objects: the SHA-1 over kind, length and content, as Git makes them.
fn object_id(kind: &str, info: &[String]) -> String {
    let info = info.join("\n");
    hash(&format!("{kind} {}\0{info}", info.len()))
}

fn parse(folder: &Folder) -> Result<Plan, Failure> {
    let text = folder.text(PLAN)?;
    let mut plan = Plan::default();
    for (index, (_, line)) in marks::lines(text).enumerate() {
        let bad = |message: &str| {
            let line = u32::try_from(index + 1).unwrap_or(u32::MAX);
            Failure::new(Code::BadMigrationJournal, format!("{} cannot be read: {message}", folder.shown(PLAN)))
                .hint("see `sqitch help plan` for what a line may be")
                .at(folder.shown(PLAN), line, 1)
        };
        let (content, note) = match split_note(line) {
            ("", _) => continue,
            found => found,
        };
        if let Some(pragma) = content.strip_prefix('%') {
            match pragma.split_once('=') {
                Some(("project", name)) => name.trim().clone_into(&mut plan.project),
                Some(("uri", uri)) => plan.uri = Some(uri.trim().to_owned()),
                _ => {}
            }
            continue;
        }
        if plan.project.is_empty() {
            return Err(bad("there is no %project before the first change"));
        }
        let (head, planned_at, planner) = entry(content).ok_or_else(|| bad("a line is neither a change nor a tag"))?;
        if let Some(name) = head.strip_prefix('@') {
            let project = plan.project.clone();
            let uri = plan.uri.clone();
            let Some(change) = plan.changes.last_mut() else { return Err(bad("a tag has no change before it")) };
            let mut info = vec![format!("project {project}")];
            info.extend(uri.map(|uri| format!("uri {uri}")));
            info.push(format!("tag @{name}"));
            info.push(format!("change {}", change.id));
            info.extend(said(&planner, &planned_at, &note));
            let id = object_id("tag", &info);
            change.tags.push(Tag { name: format!("@{name}"), id, note, planned_at, planner });
            continue;
        }
        let (name, dependencies) = match head.split_once('[') {
            Some((name, rest)) => (name.trim(), rest.trim_end().trim_end_matches(']').split_whitespace().collect()),
            None => (head.trim(), Vec::new()),
        };
        if name.starts_with(['-', '+']) || name.is_empty() || name.contains(char::is_whitespace) {
            return Err(bad("a change has no name that Sqitch accepts"));
        }
        let (conflicts, requires): (Vec<&str>, Vec<&str>) =
            dependencies.into_iter().partition(|one| one.starts_with('!'));
        let conflicts: Vec<String> = conflicts.into_iter().map(|one| one[1..].to_owned()).collect();
        let mut info = vec![format!("project {}", plan.project)];
        info.extend(plan.uri.as_ref().map(|uri| format!("uri {uri}")));
        info.push(format!("change {name}"));
        info.extend(plan.changes.last().map(|parent| format!("parent {}", parent.id)));
        let mut tail = said(&planner, &planned_at, "");
        if !requires.is_empty() {
            tail.push(format!("requires\n  + {}", requires.join("\n  + ")));
        }
        if !conflicts.is_empty() {
            tail.push(format!("conflicts\n  - {}", conflicts.join("\n  - ")));
        }
        if !note.is_empty() {
            tail.extend([String::new(), note.clone()]);
        }
        info.extend(tail);
        let requires: Vec<(String, String)> = requires
            .into_iter()
            .map(|one| {
                let id = resolve(&plan, one)
                    .ok_or_else(|| bad(&format!("{name} requires {one}, which is not in the plan before it")))?;
                Ok((one.to_owned(), id))
            })
            .collect::<Result<_, Failure>>()?;
        let id = object_id("change", &info);
        let script = name.to_owned();
        let (name, tags) = (name.to_owned(), Vec::new());
        plan.changes.push(Change { name, id, note, requires, conflicts, planned_at, planner, tags, script });
    }
    name_reworked(folder, &mut plan)?;
    Ok(plan)
}

/// A reworked change's older script is called after the first tag that follows it.
fn name_reworked(folder: &Folder, plan: &mut Plan) -> Result<(), Failure> {
    for index in 0..plan.changes.len() {
        let name = plan.changes[index].name.clone();
        let Some(next) = plan.changes[index + 1..].iter().position(|later| later.name == name) else { continue };
        let tags: Vec<&str> = plan.changes[index..=index + next]
            .iter()
            .flat_map(|change| &change.tags)
            .map(|tag| tag.name.as_str())
            .collect();
        let there =
            tags.iter().find(|tag| folder.files.contains_key(&format!("deploy/{name}{tag}.sql"))).or(tags.first());
        let Some(tag) = there else {
            let message = format!("{} names {name} twice, with no tag between", folder.shown(PLAN));
            return Err(
                Failure::new(Code::DuplicateMigration, message).hint("use `sqitch rework`, which asks for a tag")
            );
        };
        plan.changes[index].script = format!("{name}{tag}");
    }
    Ok(())
}

fn said(planner: &(String, String), planned_at: &str, note: &str) -> Vec<String> {
    let mut lines = vec![format!("planner {} <{}>", planner.0, planner.1), format!("date {planned_at}")];
    if !note.is_empty() {
        lines.extend([String::new(), note.to_owned()]);
    }
    lines
}

/// A line without its note, and the note.
fn split_note(line: &str) -> (&str, String) {
    match line.split_once('#') {
        Some((content, note)) => {
            (content.trim(), note.trim().replace("\\n", "\n").replace("\\r", "\r").replace("\\\\", "\\"))
        }
        None => (line.trim(), String::new()),
    }
}

/// What stands before the time, the time, and the planner's name and address.
fn entry(content: &str) -> Option<(&str, String, (String, String))> {
    let is_time = |word: &str| word.len() == 20 && word.ends_with('Z') && word.as_bytes()[10] == b'T';
    let time = content.split_whitespace().find(|word| is_time(word))?;
    let (head, planner) = content.split_once(time)?;
    let (name, mail) = planner.trim().strip_suffix('>')?.rsplit_once('<')?;
    Some((head.trim(), time.to_owned(), (name.trim().to_owned(), mail.trim().to_owned())))
}

/// The change a dependency speaks of: `name`, `name@tag` or `@tag`.
fn resolve(plan: &Plan, dependency: &str) -> Option<String> {
    let own = dependency.strip_prefix(&format!("{}:", plan.project)).unwrap_or(dependency);
    let (name, tag) = own.split_once('@').map_or((own, None), |(name, tag)| (name, Some(format!("@{tag}"))));
    let until = match &tag {
        Some(tag) => plan.changes.iter().position(|change| change.tags.iter().any(|one| one.name == *tag))?,
        None => plan.changes.len().checked_sub(1)?,
    };
    let mut before = plan.changes[..=until].iter().rev();
    let found = if name.is_empty() { before.next() } else { before.find(|change| change.name == name) };
    found.map(|change| change.id.clone())
}

/// Everything Sqitch writes about a deployed change.
fn insert(plan: &Plan, change: &Change, script_hash: &str) -> String {
    let q = quote_literal;
    let committer = COMMITTER;
    let planned =
        |at: &str, planner: &(String, String)| format!("{}::timestamptz, {}, {}", q(at), q(&planner.0), q(&planner.1));
    let array =
        |items: Vec<&str>| format!("ARRAY[{}]::text[]", items.into_iter().map(q).collect::<Vec<_>>().join(", "));
    let (project, id, name) = (q(&plan.project), q(&change.id), q(&change.name));
    let uri = plan.uri.as_deref().map_or_else(|| "NULL".to_owned(), q);
    let planner = planned(&change.planned_at, &change.planner);
    let note = q(&change.note);
    let mut sql = vec![
        format!(
            "INSERT INTO sqitch.projects (project, uri, creator_name, creator_email) SELECT {project}, {uri}, {committer} \
             WHERE NOT EXISTS (SELECT FROM sqitch.projects WHERE project = {project})"
        ),
        format!(
            "INSERT INTO sqitch.changes (change_id, script_hash, change, project, note, committer_name, committer_email, \
             planned_at, planner_name, planner_email) SELECT {id}, {}, {name}, {project}, {note}, {committer}, {planner}",
            q(script_hash)
        ),
    ];
    for (dependency, of) in &change.requires {
        sql.push(format!(
            "INSERT INTO sqitch.dependencies (change_id, type, dependency, dependency_id) VALUES ({id}, 'require', {}, {})",
            q(dependency),
            q(of)
        ));
    }
    for dependency in &change.conflicts {
        sql.push(format!(
            "INSERT INTO sqitch.dependencies (change_id, type, dependency) VALUES ({id}, 'conflict', {})",
            q(dependency)
        ));
    }
    // A tag that the plan got after its change was deployed is noted with the next change, as `sqitch deploy` does.
    let place = plan.changes.iter().position(|other| other.id == change.id).unwrap_or(0);
    let before = plan.changes[..place].last();
    let tags = before.into_iter().chain([change]).flat_map(|of| of.tags.iter().map(move |tag| (of, tag)));
    for (of, tag) in tags {
        sql.push(format!(
            "INSERT INTO sqitch.tags (tag_id, tag, project, change_id, note, committer_name, committer_email, planned_at, \
             planner_name, planner_email) SELECT {}, {}, {project}, c.change_id, {}, {committer}, {} FROM sqitch.changes c \
             WHERE c.change_id = {} AND NOT EXISTS (SELECT FROM sqitch.tags t WHERE t.tag_id = {})",
            q(&tag.id),
            q(&tag.name),
            q(&tag.note),
            planned(&tag.planned_at, &tag.planner),
            q(&of.id),
            q(&tag.id)
        ));
    }
    sql.push(format!(
        "INSERT INTO sqitch.events (event, change_id, change, project, note, requires, conflicts, tags, committer_name, \
         committer_email, planned_at, planner_name, planner_email) \
         SELECT 'deploy', {id}, {name}, {project}, {note}, {}, {}, {}, {committer}, {planner}",
        array(change.requires.iter().map(|(name, _)| name.as_str()).collect()),
        array(change.conflicts.iter().map(String::as_str).collect()),
        array(change.tags.iter().map(|tag| tag.name.as_str()).collect()),
    ));
    sql.join(";\n")
}

/// Sqitch's registry, release 1.1.
const REGISTRY: &str = "CREATE SCHEMA IF NOT EXISTS sqitch;
CREATE TABLE IF NOT EXISTS sqitch.releases (
    version         REAL        PRIMARY KEY,
    installed_at    TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    installer_name  TEXT        NOT NULL,
    installer_email TEXT        NOT NULL
);
INSERT INTO sqitch.releases (version, installer_name, installer_email)
SELECT 1.1, session_user, session_user || '@' || current_database() WHERE NOT EXISTS (SELECT FROM sqitch.releases);
CREATE TABLE IF NOT EXISTS sqitch.projects (
    project         TEXT        PRIMARY KEY,
    uri             TEXT        NULL UNIQUE,
    created_at      TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    creator_name    TEXT        NOT NULL,
    creator_email   TEXT        NOT NULL
);
CREATE TABLE IF NOT EXISTS sqitch.changes (
    change_id       TEXT        PRIMARY KEY,
    script_hash     TEXT        NULL,
    change          TEXT        NOT NULL,
    project         TEXT        NOT NULL REFERENCES sqitch.projects(project) ON UPDATE CASCADE,
    note            TEXT        NOT NULL DEFAULT '',
    committed_at    TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    committer_name  TEXT        NOT NULL,
    committer_email TEXT        NOT NULL,
    planned_at      TIMESTAMPTZ NOT NULL,
    planner_name    TEXT        NOT NULL,
    planner_email   TEXT        NOT NULL,
    UNIQUE(project, script_hash)
);
CREATE TABLE IF NOT EXISTS sqitch.tags (
    tag_id          TEXT        PRIMARY KEY,
    tag             TEXT        NOT NULL,
    project         TEXT        NOT NULL REFERENCES sqitch.projects(project) ON UPDATE CASCADE,
    change_id       TEXT        NOT NULL REFERENCES sqitch.changes(change_id) ON UPDATE CASCADE,
    note            TEXT        NOT NULL DEFAULT '',
    committed_at    TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    committer_name  TEXT        NOT NULL,
    committer_email TEXT        NOT NULL,
    planned_at      TIMESTAMPTZ NOT NULL,
    planner_name    TEXT        NOT NULL,
    planner_email   TEXT        NOT NULL,
    UNIQUE(project, tag)
);
CREATE TABLE IF NOT EXISTS sqitch.dependencies (
    change_id       TEXT        NOT NULL REFERENCES sqitch.changes(change_id) ON UPDATE CASCADE ON DELETE CASCADE,
    type            TEXT        NOT NULL,
    dependency      TEXT        NOT NULL,
    dependency_id   TEXT        NULL REFERENCES sqitch.changes(change_id) ON UPDATE CASCADE
        CONSTRAINT dependencies_check CHECK (
            (type = 'require'  AND dependency_id IS NOT NULL)
         OR (type = 'conflict' AND dependency_id IS NULL)
        ),
    PRIMARY KEY (change_id, dependency)
);
CREATE TABLE IF NOT EXISTS sqitch.events (
    event           TEXT        NOT NULL
        CONSTRAINT events_event_check CHECK (event IN ('deploy', 'revert', 'fail', 'merge')),
    change_id       TEXT        NOT NULL,
    change          TEXT        NOT NULL,
    project         TEXT        NOT NULL REFERENCES sqitch.projects(project) ON UPDATE CASCADE,
    note            TEXT        NOT NULL DEFAULT '',
    requires        TEXT[]      NOT NULL DEFAULT '{}',
    conflicts       TEXT[]      NOT NULL DEFAULT '{}',
    tags            TEXT[]      NOT NULL DEFAULT '{}',
    committed_at    TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    committer_name  TEXT        NOT NULL,
    committer_email TEXT        NOT NULL,
    planned_at      TIMESTAMPTZ NOT NULL,
    planner_name    TEXT        NOT NULL,
    planner_email   TEXT        NOT NULL,
    PRIMARY KEY (change_id, committed_at)
);";

#[cfg(test)]
mod tests {
    use super::super::tests::{folder, rows};
    use super::super::{FormatChoice, read_folder};
    use super::*;

    const TEXT: &str = "%syntax-version=1.0.0\n%project=flipr\n%uri=https://example.com/flipr/\n\n\
        appschema 2013-12-30T23:19:37Z Marge N. O’Vera <marge@example.com> # Adds the schema.\n\
        users [appschema] 2013-12-30T23:49:20Z Marge N. O’Vera <marge@example.com>\n\
        @v1.0 2013-12-31T00:18:37Z Marge N. O’Vera <marge@example.com> # First.\n\
        users [users@v1.0 !old] 2014-01-01T00:00:00Z Marge N. O’Vera <marge@example.com> # Reworked.\n";

    fn files(plan: &str) -> Vec<(&str, &str)> {
        vec![
            (PLAN, plan),
            ("deploy/appschema.sql", "BEGIN;\nCREATE SCHEMA flipr;\nCOMMIT;\n"),
            ("revert/appschema.sql", "BEGIN;\nDROP SCHEMA flipr;\nCOMMIT;\n"),
            ("deploy/users@v1.0.sql", "CREATE TABLE flipr.users ();"),
            ("deploy/users.sql", "ALTER TABLE flipr.users ADD a int;"),
            ("deploy/stray.sql", "SELECT 1;"),
        ]
    }

    fn read(plan: &str) -> Result<MigrationSet, Failure> {
        read_folder(&folder(&files(plan)), FormatChoice::Auto)
    }

    #[test]
    fn the_plan_names_the_changes_and_a_reworked_one_has_two_scripts() {
        let set = read(TEXT).unwrap();
        let ids: Vec<&str> = set.migrations.iter().map(|one| one.id.as_str()).collect();
        assert_eq!(ids, ["appschema", "users@v1.0", "users"]);
        assert!(set.migrations[0].down.is_some());
        assert_eq!(set.warnings.iter().map(|one| one.code).collect::<Vec<_>>(), [Code::OrphanFile]);
        let insert = set.migrations[1].bookkeeping.value("insert");
        assert!(insert.contains("INTO sqitch.tags") && insert.contains("'@v1.0'"), "{insert}");
        let last = set.migrations[2].bookkeeping.value("insert");
        assert!(last.contains("'conflict', 'old'") && last.contains("'require', 'users@v1.0'"), "{last}");
        assert!(super::super::split(insert).is_ok() && super::super::split(REGISTRY).is_ok());
    }

    #[test]
    fn a_verify_script_looks_before_the_change_is_recorded() {
        let mut files = files(TEXT);
        files.push((
            "verify/appschema.sql",
            "-- looks\nBEGIN;\nSELECT pg_catalog.has_schema_privilege('flipr', 'usage');\nSELECT 1/1;\nROLLBACK;\n",
        ));
        files.push(("verify/users.sql", "\\set x 1\n"));
        let set = read_folder(&folder(&files), FormatChoice::Auto).unwrap();
        let sql = Sqitch.verify_sql(&set.migrations[0]).unwrap();
        assert_eq!(sql, "SELECT pg_catalog.has_schema_privilege('flipr', 'usage');\nSELECT 1/1");
        let run = RunId::parse("deploy-dev-1").unwrap();
        let record = Sqitch.record_sql(&set.migrations[0], "", &run);
        let (looks, row) = record.split_once(super::super::VERIFIED).unwrap();
        assert!(looks.contains("read_only") && looks.ends_with("RELEASE SAVEPOINT dbd_verify;"), "{looks}");
        assert!(row.contains("INTO sqitch.changes") && !row.contains("SAVEPOINT"), "{row}");
        assert_eq!(Sqitch.verify_sql(&set.migrations[1]), None);
        assert_eq!(Sqitch.verify_sql(&set.migrations[2]), None);
        assert!(
            set.warnings.iter().any(|one| one.hints.iter().any(|hint| hint.contains("verified"))),
            "{:?}",
            set.warnings
        );
    }

    #[test]
    fn a_change_is_known_by_the_id_sqitch_gives_it() {
        // As `git hash-object` would with the type `change`: kind, length, a NUL and the content.
        let info = "project flipr\nuri https://example.com/flipr/\nchange appschema\n\
            planner Marge N. O’Vera <marge@example.com>\ndate 2013-12-30T23:19:37Z\n\nAdds the schema.";
        let id = hash(&format!("change {}\0{info}", info.len()));
        let set = read(TEXT).unwrap();
        assert_eq!(Sqitch.key(&set.migrations[0]), id);
        let first = hash("BEGIN;\nCREATE SCHEMA flipr;\nCOMMIT;\n");
        let standing = Sqitch.standing(&set, &rows(&[(&id, Some(first))]));
        assert_eq!((standing.applied, standing.pending, standing.errors), (vec![0], vec![1, 2], vec![]));
    }

    #[test]
    fn a_plan_that_cannot_be_followed_is_refused_at_its_line() {
        for (plan, code) in [
            ("a 2013-12-30T23:19:37Z M <m@e>\n", Code::BadMigrationJournal),
            ("%project=p\nappschema\n", Code::BadMigrationJournal),
            ("%project=p\nappschema [other] 2013-12-30T23:19:37Z M <m@e>\n", Code::BadMigrationJournal),
            ("%project=p\nnowhere 2013-12-30T23:19:37Z M <m@e>\n", Code::BadMigrationJournal),
        ] {
            assert_eq!(read(plan).unwrap_err().code, code, "{plan}");
        }
        let twice = "%project=p\nusers 2013-12-30T23:19:37Z M <m@e>\nusers 2013-12-31T23:19:37Z M <m@e>\n";
        assert_eq!(read(twice).unwrap_err().code, Code::DuplicateMigration);
    }
}
