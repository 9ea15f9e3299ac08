//! A sandbox filled: from the dump, which proves it, or by dbd's own copy of the rows where some are left out or masked.

use crate::domain::code::Code;
use crate::domain::connection::ConnectionUrl;
use crate::domain::copying::{Mask, Sample};
use crate::domain::event::Settings;
use crate::domain::failure::Failure;
use crate::domain::migration::{formats, tables_beside};
use crate::ports::backup::{Backups, FillOrder, Filled, Progress, Section};
use crate::ports::database::{CopyOrder, Database};
use std::collections::BTreeMap;

/// Which rows a sandbox gets, and how.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// None at all.
    pub none: bool,
    /// Columns that are masked.
    pub masks: Vec<Mask>,
    /// How much of each table; everything without one.
    pub sample: Option<Sample>,
    /// The tracking table, which comes whole, if it is known.
    pub tracking: String,
}

impl Rows {
    /// As a run's settings say.
    ///
    /// # Errors
    /// [`Code::BadValue`] for a mask that cannot be read.
    pub fn of(settings: &Settings) -> Result<Self, Failure> {
        Self::new(&settings.data, &settings.masks, settings.sample)
    }

    /// From `full`, `schema` or `sample`, the masks by column, and the size of a sample.
    ///
    /// # Errors
    /// As [`Rows::of`].
    pub fn new(data: &str, masks: &BTreeMap<String, String>, sample: Option<Sample>) -> Result<Self, Failure> {
        let read = |(column, rule): (&String, &String)| {
            Mask::parse(column, rule).map_err(|must| {
                Failure::new(Code::BadValue, format!("`{column}` in [sandbox.mask] cannot be read: it must be {must}"))
            })
        };
        Ok(Self {
            none: data == "schema",
            masks: masks.iter().map(read).collect::<Result<_, _>>()?,
            sample: sample.filter(|_| data == "sample"),
            tracking: String::new(),
        })
    }

    /// Whether the rows are copied by dbd itself, from the target and not from the dump.
    #[must_use]
    pub fn copied(&self) -> bool {
        !self.none && (!self.masks.is_empty() || self.sample.is_some())
    }

    /// Whether every row is there, if perhaps under a mask.
    #[must_use]
    pub fn all(&self) -> bool {
        !self.none && self.sample.is_none()
    }
}

/// Fills the sandbox of `order` with the schema of the dump and the rows that are wanted of `source`. Says which way was used.
///
/// # Errors
/// The dump's and the copy's.
pub async fn fill(
    database: &dyn Database,
    backups: &dyn Backups,
    order: &FillOrder,
    rows: &Rows,
    source: &ConnectionUrl,
    snapshot: Option<String>,
    progress: Progress<'_>,
) -> Result<Filled, Failure> {
    let filled = rows_of(database, backups, order, rows, source, snapshot, progress).await?;
    if !rows.none {
        // Until then whoever reads a row asks whether its transaction is over, which takes longer than most of what is to be foretold.
        database.vacuum(&order.url, &[]).await?;
    }
    Ok(filled)
}

async fn rows_of(
    database: &dyn Database,
    backups: &dyn Backups,
    order: &FillOrder,
    rows: &Rows,
    source: &ConnectionUrl,
    snapshot: Option<String>,
    progress: Progress<'_>,
) -> Result<Filled, Failure> {
    if !rows.copied() {
        return backups.fill(order, progress).await;
    }
    let mut filled = backups.fill(&FillOrder { section: Some(Section::PreData), ..order.clone() }, progress).await?;
    // What says which migrations are applied is needed whole, wherever it is kept.
    let tracking = formats().iter().map(|format| format.tracking());
    let usual = tracking.flat_map(|one| {
        std::iter::once(one.table.to_string()).chain(one.more.iter().map(ToString::to_string).collect::<Vec<_>>())
    });
    let whole = usual.chain([rows.tracking.clone()]).chain(tables_beside(&rows.tracking));
    let name = order.effect.application_name();
    let copy = CopyOrder {
        source,
        snapshot,
        sandbox: &order.url,
        application_name: &name,
        masks: &rows.masks,
        sample: rows.sample,
        whole: whole.collect(),
        progress,
    };
    let copied = database.copy_rows(&copy).await?;
    let after = backups.fill(&FillOrder { section: Some(Section::PostData), ..order.clone() }, progress).await;
    after.map_err(|failure| {
        failure.hint(
            "the rows were copied by themselves: a mask that makes two values the same, or none, breaks constraints",
        )
    })?;
    if let Some(sample) = rows.sample {
        filled.notes.push(format!(
            "the sandbox has a sample: {} rows of {} tables, {} of them because others refer to them ({} rows or {} % of each table); every foreign key was validated",
            copied.rows, copied.tables, copied.fetched, sample.rows, sample.percent
        ));
    }
    if !rows.masks.is_empty() {
        filled.notes.push(format!("{} column(s) were masked while they were copied", rows.masks.len()));
    }
    filled
        .notes
        .push("the rows come from the target itself: the backup was read back whole, and not restored".to_owned());
    Ok(filled)
}
