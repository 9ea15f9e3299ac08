//! How long a deployment may keep others waiting, and what of a forecast is over that.

use super::finding::{Finding, Severity};
use super::forecast::{Basis, CHANGED_ROWS, Forecast, Ran};
use super::rehearsal::StatementTrace;
use super::sql;
use serde::{Deserialize, Serialize};

/// What an environment allows. All in milliseconds; what is not set is not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// How long reads of one object may wait at a stretch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked_reads_ms: Option<u64>,
    /// How long writes to one object may wait at a stretch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked_writes_ms: Option<u64>,
    /// How long all statements may take together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
}

impl Budget {
    /// What of the forecast is over the budget: an error where it is expected to be, a warning where only its upper bound is.
    #[must_use]
    pub fn findings(&self, forecast: &[Forecast], total_ms: u64, basis: Basis, ran: &[Ran]) -> Vec<Finding> {
        let mut found = Vec::new();
        for one in forecast {
            let reads = one.blocks == "reads and writes";
            let writes = reads || one.blocks == "writes" || one.blocks == CHANGED_ROWS;
            let limits = [
                ("blocked_reads_over_budget", "reads of", self.blocked_reads_ms.filter(|_| reads)),
                ("blocked_writes_over_budget", "writes to", self.blocked_writes_ms.filter(|_| writes)),
            ];
            for (code, what, limit) in limits {
                let Some(limit) = limit else { continue };
                let high = one.high_ms.unwrap_or(one.held_ms);
                let Some(severity) = weigh(one.held_ms, high, limit) else { continue };
                let what = if one.blocks == CHANGED_ROWS { "writes to rows of" } else { what };
                let mut message = format!(
                    "{what} {} wait {}, up to {}; the budget is {}",
                    one.object,
                    time(one.held_ms),
                    time(high),
                    time(limit)
                );
                let longest = one.through.as_ref().or(one.by.as_ref());
                if let Some(by) = &one.by {
                    message = format!("{message}: {by} takes {}", one.lock);
                }
                if let Some(through) = &one.through {
                    message = format!("{message} and it is held through {through}");
                }
                if let Some((label, statement)) = longest.and_then(|label| statement(ran, label)) {
                    message = format!(
                        "{message}; {label} is `{}`: {}",
                        sql::summary(&statement.sql),
                        way_out(one, statement)
                    );
                }
                found.push(finding(code, severity, &one.object, message));
            }
        }
        if let Some(limit) = self.duration_ms
            && let (_, more) = basis.band()
            && let Some(severity) = weigh(total_ms, scaled(total_ms, more), limit)
        {
            let longest = ran.iter().flat_map(|one| one.statements.iter().map(move |statement| (one, statement)));
            let longest = longest.max_by_key(|(_, statement)| statement.duration_ms);
            let mut message = format!(
                "the migrations take {}, up to {}; the budget is {}",
                time(total_ms),
                time(scaled(total_ms, more)),
                time(limit)
            );
            let mut object = String::new();
            if let Some((one, statement)) = longest {
                object.clone_from(&one.migration);
                message = format!(
                    "{message}; the longest is {}:{}, `{}`: deploy it by itself, at a calmer time, or in batches",
                    one.migration,
                    statement.line,
                    sql::summary(&statement.sql)
                );
            }
            found.push(finding("duration_over_budget", severity, &object, message));
        }
        found
    }
}

fn finding(code: &str, severity: Severity, object: &str, message: String) -> Finding {
    Finding { code: code.to_owned(), severity, object: object.to_owned(), message, allowed: false, waived: None }
}

fn weigh(expected: u64, high: u64, limit: u64) -> Option<Severity> {
    match () {
        () if expected > limit => Some(Severity::Error),
        () if high > limit => Some(Severity::Warning),
        () => None,
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
fn scaled(ms: u64, by: f64) -> u64 {
    (ms as f64 * by).ceil() as u64
}

/// A time as people say it.
fn time(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..120_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        _ => format!("{} min", ms / 60_000),
    }
}

fn statement<'a>(ran: &'a [Ran], label: &'a str) -> Option<(&'a str, &'a StatementTrace)> {
    let (migration, line) = label.rsplit_once(':')?;
    let line: u32 = line.parse().ok()?;
    let mut ours = ran.iter().filter(|one| one.migration == migration).flat_map(|one| &one.statements);
    ours.find(|one| one.line == line).map(|one| (label, one))
}

/// What may be done instead, from what the statement was seen to do.
fn way_out(one: &Forecast, statement: &StatementTrace) -> &'static str {
    let elsewhere = one.through.is_some();
    match () {
        () if !statement.changed.is_empty() && statement.batch.is_none() => {
            "change the rows in batches (`-- dbd: batch`), in a migration of its own"
        }
        () if !statement.rewrites.is_empty() => {
            "add a new column, fill it in batches (`-- dbd: batch`), and switch over, instead of rewriting the table"
        }
        () if !statement.index_builds.is_empty() => "build the index CONCURRENTLY, in a migration of its own",
        () if !statement.fk_validations.is_empty() => {
            "add the foreign key NOT VALID, and VALIDATE it in a migration of its own"
        }
        () if !statement.table_scans.is_empty() => {
            "add the constraint NOT VALID, and VALIDATE it in a migration of its own"
        }
        () if elsewhere => "move it before the lock is taken, or into a migration of its own",
        () => "split it, or deploy at a calmer time",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forecast(blocks: &str, held_ms: u64, high_ms: u64) -> Forecast {
        Forecast {
            object: "public.t".to_owned(),
            lock: "ShareLock".to_owned(),
            held_ms,
            blocks: blocks.to_owned(),
            high_ms: Some(high_ms),
            by: Some("0001:3".to_owned()),
            ..Forecast::default()
        }
    }

    fn found(budget: &Budget, one: Forecast) -> Vec<(String, Severity)> {
        let found = budget.findings(&[one], 100, Basis::Copy, &[]);
        found.into_iter().map(|one| (one.code, one.severity)).collect()
    }

    #[test]
    fn what_is_expected_over_the_budget_refuses_and_what_may_be_warns() {
        let budget = Budget { blocked_reads_ms: Some(50), blocked_writes_ms: Some(500), duration_ms: None };
        assert_eq!(found(&budget, forecast("reads and writes", 40, 50)), []);
        assert_eq!(
            found(&budget, forecast("reads and writes", 40, 60)),
            [("blocked_reads_over_budget".to_owned(), Severity::Warning)]
        );
        assert_eq!(
            found(&budget, forecast("reads and writes", 600, 800)),
            [
                ("blocked_reads_over_budget".to_owned(), Severity::Error),
                ("blocked_writes_over_budget".to_owned(), Severity::Error)
            ]
        );
        assert_eq!(
            found(&budget, forecast(CHANGED_ROWS, 501, 700)),
            [("blocked_writes_over_budget".to_owned(), Severity::Error)]
        );
        assert_eq!(found(&budget, forecast("schema changes", 9_999, 9_999)), []);
    }

    #[test]
    fn the_statement_and_the_way_out_are_named() {
        let statement = StatementTrace {
            line: 3,
            sql: "create index i on t (a)".to_owned(),
            index_builds: vec!["public.i".to_owned()],
            duration_ms: 90,
            ..StatementTrace::default()
        };
        let ran = [Ran { migration: "0001".to_owned(), statements: vec![statement], ..Ran::default() }];
        let budget = Budget { blocked_writes_ms: Some(500), duration_ms: Some(80), blocked_reads_ms: None };
        let found = budget.findings(&[forecast("writes", 2_345, 3_100)], 95, Basis::Copy, &ran);
        assert_eq!(
            found[0].message,
            "writes to public.t wait 2.3 s, up to 3.1 s; the budget is 500 ms: 0001:3 takes ShareLock; 0001:3 is \
             `create index i on t (a)`: build the index CONCURRENTLY, in a migration of its own"
        );
        assert_eq!((found[1].code.as_str(), found[1].severity), ("duration_over_budget", Severity::Error));
        assert!(found[1].message.contains("0001:3, `create index i on t (a)`"), "{}", found[1].message);
    }
}
