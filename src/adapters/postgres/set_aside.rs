//! Setting a table aside instead of dropping it: how, and whether it would be in anybody's way there.
//!
//! It goes into a schema of its own, as its indexes, constraints and sequences come along and keep their names. Before, everything is taken
//! off it that acts on others or holds on to them; on the way back that is made anew, from the catalog.

use super::trial::Tried;
use crate::domain::failure::Failure;
use crate::domain::migration::DroppedTables;
use crate::domain::sql::{quote_ident, quote_literal};
use crate::domain::way::names::{Class, Names};
use crate::ports::database::{SetAside, Trial};

const HOW: &str = include_str!("set_aside.sql");

const TIES: &str = include_str!("ties.sql");

impl Tried {
    pub(super) async fn put_aside(
        &self,
        dropped: &DroppedTables,
        known: &Names,
        room: &str,
        first: usize,
        about: &str,
    ) -> Result<SetAside, Failure> {
        let mut by = Vec::new();
        let (mut there, mut new) = (0, 0);
        for table in &dropped.tables {
            let row = self
                .rows("SELECT pg_catalog.to_regclass($1)::oid, pg_catalog.to_regclass($1)::text", &[&table])
                .await?;
            let Some(oid) = row.first().and_then(|row| row.get::<_, Option<u32>>(0)) else { continue };
            there += 1;
            if !known.all.contains_key(&(Class::Relation, oid, 0)) {
                new += 1;
                continue;
            }
            let found = self.rows(HOW, &[&table, &dropped.cascade]).await?;
            let mut statements = Vec::new();
            let room = format!("{room}{}", first + by.len());
            for row in &found {
                let (place, text): (i32, String) = (row.get(0), row.get(1));
                match place {
                    0 => return Ok(SetAside::Not(format!("{table}: {text}"))),
                    8 => statements.push(format!("{text}{}", quote_ident(&room))),
                    _ => statements.push(text),
                }
            }
            let said = quote_literal(&format!("{table}, set aside instead of dropped; {about}"));
            let sql = format!(
                "CREATE SCHEMA {0};\nREVOKE ALL ON SCHEMA {0} FROM PUBLIC;\nCOMMENT ON SCHEMA {0} IS {said};\n{1}",
                quote_ident(&room),
                statements.join(";\n")
            );
            self.run(std::slice::from_ref(&sql)).await?;
            by.push((sql, room));
        }
        Ok(match (there, new) {
            (there, new) if there == new => SetAside::NotNeeded,
            (_, 0) => SetAside::By(by),
            _ => SetAside::Not("it drops tables of the step's own making together with others".to_owned()),
        })
    }

    pub(super) async fn tied(&self, rooms: &[String]) -> Result<Vec<String>, Failure> {
        Ok(self.rows(TIES, &[&rooms]).await?.iter().map(|row| row.get(0)).collect())
    }
}
