//! Roles that were dropped while a run stood: nobody can grant them anything again, and that is no reason not to go back.

use super::runner::Runner;
use crate::domain::digest::Digest;
use crate::domain::effect::Effect;
use crate::domain::failure::Failure;
use crate::domain::migration::granted_to;
use crate::domain::schema::catalog::Catalog;
use crate::domain::schema::fingerprint::fingerprint;
use std::collections::BTreeSet;

/// The catalog of the checkpoint, beside the run. The checkpoint's fingerprint says whether it is that.
pub(super) const CATALOG_BEFORE: &str = "catalog-before.json";

impl Runner<'_> {
    /// Keeps the catalog of the checkpoint. Without it a role that is gone is told from no other difference.
    pub(super) fn remember_before(&self, catalog: &Catalog) {
        if let Ok(bytes) = serde_json::to_vec(catalog) {
            let _ = self.world.files.write(CATALOG_BEFORE, &bytes);
        }
    }

    /// The statements of a way back without those that grant something to roles that are gone, and those.
    pub(super) async fn without_roles_gone(
        &self,
        effect: Effect,
        statements: Vec<String>,
    ) -> Result<(Vec<String>, Vec<String>), Failure> {
        let roles: BTreeSet<String> = statements.iter().flat_map(|sql| granted_to(sql)).collect();
        let gone = self.gone(roles).await?;
        let (left_out, kept): (Vec<String>, Vec<String>) = statements.into_iter().partition(|sql| {
            let to = granted_to(sql);
            !to.is_empty() && to.iter().all(|role| gone.contains(role))
        });
        for sql in &left_out {
            self.watch.note(effect, &format!("left out, as the role is gone: {sql}"));
        }
        Ok((kept, left_out))
    }

    /// Whether `found` is the checkpoint but for what was granted there to roles that are gone.
    pub(super) async fn differs_by_roles_gone(
        &self,
        effect: Effect,
        found: &Catalog,
        checkpoint: &Digest,
    ) -> Result<bool, Failure> {
        let bytes = fs_err::read(self.world.files.path(CATALOG_BEFORE)).ok();
        let before: Option<Catalog> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let Some(before) = before.filter(|before| fingerprint(before) == *checkpoint) else { return Ok(false) };
        let gone = self.gone(before.roles()).await?;
        let same = !gone.is_empty() && fingerprint(&before.without_grants_to(&gone)) == fingerprint(found);
        if same {
            let roles: Vec<&str> = gone.iter().map(String::as_str).collect();
            self.watch
                .note(effect, &format!("as the checkpoint but for what was granted to {}: gone", roles.join(", ")));
        }
        Ok(same)
    }

    async fn gone(&self, roles: BTreeSet<String>) -> Result<BTreeSet<String>, Failure> {
        if roles.is_empty() {
            return Ok(BTreeSet::new());
        }
        let roles: Vec<String> = roles.into_iter().collect();
        Ok(self.world.database.unknown_roles(&self.world.target, &roles).await?.into_iter().collect())
    }
}
