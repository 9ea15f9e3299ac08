//! The way back from the migrations, made from the two catalogs and tried in the sandbox: statements that run in a transaction which is
//! rolled back, so that the sandbox stays migrated for the tests.

use super::runner::Runner;
use crate::domain::connection::ConnectionUrl;
use crate::domain::failure::Failure;
use crate::domain::rehearsal::Reverse;
use crate::domain::schema::catalog::Catalog;
use crate::domain::schema::data::every_row;
use crate::domain::schema::diff::diff;
use crate::domain::schema::script::script;
use crate::ports::database::Contents;

/// The largest database whose rows are compared: hashing them takes some 5 seconds a gigabyte, twice.
const MOST_BYTES: i64 = 2 * 1024 * 1024 * 1024;

impl Runner<'_> {
    /// What is in the sandbox before the migrations; nothing where it is too much to look at twice.
    pub(super) async fn contents_before(&self, url: &ConnectionUrl, before: &Catalog) -> Option<Contents> {
        let bytes = self.run.preflight.as_ref().map_or(0, |preflight| preflight.server.size_bytes);
        if bytes > MOST_BYTES {
            return None;
        }
        // Not being able to is no reason not to rehearse; it only proves less.
        self.world.database.contents(url, &every_row(before)).await.ok()
    }

    /// Makes the way back from `after` to `before` and looks where it leads.
    pub(super) async fn reverse(
        &self,
        url: &ConnectionUrl,
        before: &Catalog,
        after: &Catalog,
        contents: Option<Contents>,
    ) -> Result<Reverse, Failure> {
        let script = script(after, before);
        let loses: Vec<String> = script.losses().map(str::to_owned).collect();
        let none =
            |why: String| Reverse { proven: false, method: "none".to_owned(), loses: loses.clone(), why: Some(why) };
        if let Some(gap) = script.unsaid.first() {
            return Ok(none(format!("{} {}: {}", gap.object.kind.words(), gap.object.name, gap.why)));
        }
        let tables = if contents.is_some() { every_row(before) } else { Vec::new() };
        let tracking = self.tracking_table();
        let tried = self.world.database.try_script(url, &script.to_string(), tracking, &tables).await;
        let (found, now) = match tried {
            Ok(tried) => tried,
            Err(failure) => return Ok(none(failure.message)),
        };
        let seen = |catalog: &Catalog| if self.roles_kept { catalog.clone() } else { catalog.without_roles() };
        if let Some(change) = diff(&seen(&found), &seen(before)).first() {
            return Ok(none(format!("it does not lead back: {} {} differs", change.kind.words(), change.object)));
        }
        let generated = |proven, why| Reverse { proven, method: "generated".to_owned(), loses: loses.clone(), why };
        let Some(contents) = contents else {
            return Ok(generated(
                false,
                Some("the schema comes back; the rows were too many, or not readable, to compare".to_owned()),
            ));
        };
        let changed: Vec<&str> = contents
            .iter()
            .filter(|(table, content)| now.get(*table) != Some(content))
            .map(|(table, _)| table.as_str())
            .collect();
        Ok(match changed.as_slice() {
            [] => generated(true, None),
            some => generated(false, Some(format!("the schema comes back, what was in {} does not", some.join(", ")))),
        })
    }
}
