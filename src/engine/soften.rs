//! What a step drops, set aside instead: the same step in another form, tried out before anybody relies on it.
//!
//! The form is found statement by statement, in the transaction of the trial, as a table may be called otherwise by the time it is dropped. It
//! is taken only if everybody sees the same afterwards as after the step in its own words, and if what was set aside has nothing to do with
//! anything that is left: dropping it later is then nobody's concern.

use super::reverse::{Others, Proof, Tried, told};
use super::runner::Runner;
use crate::domain::failure::Failure;
use crate::domain::migration::dropped_tables;
use crate::domain::schema::catalog::Catalog;
use crate::domain::schema::diff::diff;
use crate::domain::way::{InPlace, Instead, ROOM, Rung, generate};
use crate::ports::database::{SetAside, Trial};

/// A step in another form.
pub(super) struct Softened {
    /// All its statements, in the form they are run in.
    pub statements: Vec<String>,
    /// Those that are run in another form.
    pub instead: Vec<Instead>,
    /// The schemas in which tables are set aside.
    pub rooms: Vec<String>,
}

impl Softened {
    /// What takes the empty rooms away again, once their tables are back.
    pub fn leave(&self) -> impl Iterator<Item = String> {
        self.rooms.iter().map(|room| format!("DROP SCHEMA {room}"))
    }
}

impl Runner<'_> {
    /// Whether what steps drop is to be set aside.
    fn sets_aside(&self) -> bool {
        self.run
            .request
            .as_ref()
            .is_some_and(|request| request.settings.rollback.in_place && request.settings.rollback.soft_drop)
    }

    /// The step with what it drops set aside; none if it drops no table that was there before, why not if that cannot be. The trial is where
    /// it was afterwards.
    ///
    /// `name` is what kept tables of the step are called, `about` what is said of them, `left` the catalog the step in its own words leaves.
    pub(super) async fn soften(
        &self,
        trial: &dyn Trial,
        statements: &[String],
        (name, about): (&str, &str),
        left: &Catalog,
    ) -> Result<Option<Result<Softened, String>>, Failure> {
        if !self.sets_aside() || !statements.iter().any(|sql| dropped_tables(sql).is_some()) {
            return Ok(None);
        }
        let found = self.softened(trial, statements, (name, about), left).await;
        trial.back().await?;
        trial.mark().await?;
        Ok(match found {
            Ok(Ok(one)) if one.instead.is_empty() => None,
            Ok(found) => Some(found),
            Err(failure) => Some(Err(told(&failure))),
        })
    }

    /// The way back of a step that sets aside what it drops: it is a step as any other, in which tables were given another place.
    pub(super) async fn way_of_softened(
        &self,
        trial: &dyn Trial,
        tried: Tried<'_>,
        softened: &Softened,
        others: &Others<'_>,
    ) -> Result<Result<(InPlace, Vec<String>), String>, Failure> {
        let statements = &softened.statements;
        let deed = match self.look_at(trial, others.last, statements).await {
            Ok(deed) => deed,
            // The trial is in a transaction that failed.
            Err(failure) => {
                trial.back().await?;
                trial.mark().await?;
                return Ok(Err(told(&failure)));
            }
        };
        let way = generate(&others.seen(&deed)).map(|mut way| {
            if way.rung == Rung::Reverse {
                way.rung = Rung::SoftDrop;
            }
            way.instead.clone_from(&softened.instead);
            way.undo.extend(softened.leave());
            way.keeps.extend(softened.rooms.iter().map(|room| format!("a table that is set aside whole, in {room}")));
            way
        });
        let proof = Proof { runner: self, trial, tried, statements, before: others.last, deed: &deed };
        proof.of(way).await
    }

    async fn softened(
        &self,
        trial: &dyn Trial,
        statements: &[String],
        (name, about): (&str, &str),
        left: &Catalog,
    ) -> Result<Result<Softened, String>, Failure> {
        let known = trial.names().await?;
        let room = format!("{ROOM}{name}_");
        let mut made = Softened { statements: Vec::new(), instead: Vec::new(), rooms: Vec::new() };
        for (place, sql) in statements.iter().enumerate() {
            let dropped = dropped_tables(sql);
            let aside = match &dropped {
                Some(dropped) => trial.set_aside(dropped, &known, &room, made.rooms.len() + 1, about).await?,
                None => SetAside::NotNeeded,
            };
            match aside {
                SetAside::Not(why) => return Ok(Err(why)),
                SetAside::NotNeeded => {
                    if let Err(failure) = trial.run(std::slice::from_ref(sql)).await {
                        return Ok(Err(failure.message));
                    }
                    made.statements.push(sql.clone());
                }
                SetAside::By(by) => {
                    let sql = by.iter().map(|(sql, _)| sql.as_str()).collect::<Vec<_>>().join(";\n");
                    made.rooms.extend(by.into_iter().map(|(_, room)| room));
                    made.instead.push(Instead { statement: place, sql: sql.clone() });
                    made.statements.push(sql);
                }
            }
        }
        let seen = trial.catalog(self.tracking_table()).await?;
        if let Some(change) = diff(left, &seen).first() {
            return Ok(Err(format!("{} {} would not be as the step leaves it", change.kind.words(), change.object)));
        }
        let ties = trial.ties(&made.rooms).await?;
        Ok(match ties.first() {
            Some(tie) => Err(tie.clone()),
            None => Ok(made),
        })
    }
}
