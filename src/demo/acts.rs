//! The acts: what each one puts into the project, the commands it runs, and what has to be true afterwards.

use super::stage::{ENVIRONMENT, Stage, VARIABLE, run};
use super::teller::{KILLED, Teller, named};
use crate::adapters::support::child::{ChildSpec, Finished, last_lines};
use crate::adapters::support::process::Process;
use crate::cli::exit::ExitCode;
use crate::config::env;
use crate::domain::code::Code;
use crate::domain::effect::Effect;
use crate::domain::failure::Failure;
use crate::domain::ids::{EffectId, RunId};
use crate::domain::machine::{End, State};
use crate::domain::run::Run;
use rustix::process::Signal;
use std::os::unix::process::ExitStatusExt;
use std::pin::pin;
use std::process::ExitStatus;
use std::time::Duration;

/// How many acts there are.
const ACTS: usize = 5;
/// How often the journal and the target are looked at while a moment is waited for.
const GLANCE: Duration = Duration::from_millis(20);

const PHONE: Migration = migration!("0001_customer_phone.sql");
const INDEX: Migration = migration!("0002_orders_by_date.sql");
const DROP: Migration = migration!("0003_drop_old_newsletter.sql");
const SALE: Migration = migration!("0003_autumn_sale.sql");
const TOTALS: Migration = migration!("0003_order_totals.sql");

/// A migration of the sample project.
#[derive(Clone, Copy)]
struct Migration {
    file: &'static str,
    text: &'static str,
}

macro_rules! migration {
    ($name:literal) => {
        Migration { file: concat!("migrations/", $name), text: include_str!(concat!("sample/migrations/", $name)) }
    };
}
use migration;

/// One command of the story that ended.
pub(super) struct Ended {
    /// What it shows.
    pub name: &'static str,
    /// As a user would type it.
    pub command: String,
    /// Its exit status, as a shell tells it.
    pub exit: i32,
    /// The status the story wants.
    pub expected: i32,
    /// The run it was about, if it was about one.
    pub run: Option<RunId>,
}

/// Plays all acts; each command that ended is added to `ended`.
///
/// # Errors
/// [`Code::Bug`] for the first act that does not end as told; those of setting the stage.
pub(super) async fn play(stage: &mut Stage, teller: &Teller<'_>, ended: &mut Vec<Ended>) -> Result<(), Failure> {
    stage.open().await?;
    let mut play = Play { stage, teller, ended };
    play.opening().await?;
    play.good().await?;
    play.refused().await?;
    play.rolled_back().await?;
    play.killed().await?;
    play.audit().await
}

struct Play<'a> {
    stage: &'a Stage,
    teller: &'a Teller<'a>,
    ended: &'a mut Vec<Ended>,
}

impl Play<'_> {
    async fn opening(&self) -> Result<(), Failure> {
        let Play { stage, teller, .. } = self;
        teller.title("dbd demo: what a deployment can go through, in five acts")?;
        teller.say(&format!(
            "A scratch server of PostgreSQL {} was started for a small shop: 2,000 customers, 120 products, 10,000 orders, and a newsletter \
             nobody sends any more. Everything below is real: each command is this very program, run in a project of its own.",
            stage.server()
        ))?;
        teller.facts(&[("project", &stage.folder().display().to_string()), ("target", &stage.place())])
    }

    /// Two migrations go through.
    async fn good(&mut self) -> Result<(), Failure> {
        let (stage, teller) = (self.stage, self.teller);
        teller.act(1, ACTS, "a good run")?;
        teller.say(
            "Two migrations wait: a column, and an index built without stopping anybody's work. dbd dumps the shop, restores the dump into \
             a sandbox, rehearses the migrations and runs the tests there; only then it touches the target, and looks afterwards whether \
             the target is what the rehearsal promised.",
        )?;
        self.add(PHONE)?;
        self.add(INDEX)?;
        let run = self.start("good", ExitCode::Ok).await?;
        self.ends(&run, End::Succeeded)?;
        let valid =
            stage.ask("SELECT indisvalid FROM pg_index WHERE indexrelid = 'orders_ordered_at'::regclass").await?;
        self.check(valid == ["t"], "the index is there, and valid")
    }

    /// A table with rows in it is not dropped by accident.
    async fn refused(&mut self) -> Result<(), Failure> {
        let (stage, teller) = (self.stage, self.teller);
        teller.act(2, ACTS, "refused")?;
        teller.say("The next migration drops a table that still holds 300 addresses. The rehearsal notices, and the run ends there.")?;
        self.add(DROP)?;
        let run = self.start("refused", ExitCode::Refused).await?;
        self.ends(&run, End::Refused)?;
        let rows = "SELECT count(*) FROM old_newsletter";
        self.show(rows).await?;
        let untouched = run.committed.is_empty() && stage.ask(rows).await? == ["300"];
        self.check(untouched, "the target was not touched: all 300 rows are there")?;
        teller.say(
            "Were it meant, `dbd start demo --allow table_removed --reason \"nobody reads it\"` would let it pass, and record who allowed \
             it and why. Here the file is taken out of the folder again.",
        )?;
        stage.remove(DROP.file)
    }

    /// A deployment that harms the shop is taken back.
    async fn rolled_back(&mut self) -> Result<(), Failure> {
        let (stage, teller) = (self.stage, self.teller);
        teller.act(3, ACTS, "rolled back")?;
        teller.say(
            "An autumn sale: 5.00 off everything. Every statement succeeds and the tests pass, so it is deployed. Then smoke.sh looks at the \
             shop, finds products for less than nothing, and dbd takes the target back to its checkpoint by itself.",
        )?;
        self.add(SALE)?;
        let prices = "SELECT count(*) AS products, min(price_cents), sum(price_cents) FROM products";
        let before = stage.ask(prices).await?;
        let run = self.start("rolled back", ExitCode::RolledBack).await?;
        self.ends(&run, End::RolledBack)?;
        self.show(prices).await?;
        let whole = !run.committed.is_empty() && stage.ask(prices).await? == before;
        self.check(whole, "the sale had been deployed, and every price is what it was before it")?;
        let (checkpoint, now) =
            (run.backup.as_ref().map(|backup| &backup.fingerprint), run.verified.as_ref().map(|(print, _)| print));
        let print = now.map(|print| print.short().to_string()).unwrap_or_default();
        self.check(
            checkpoint.is_some() && checkpoint == now,
            &format!("the schema's fingerprint is the checkpoint's, {print}"),
        )?;
        stage.remove(SALE.file)
    }

    /// SIGKILL in the middle of a migration, then `dbd resume`.
    async fn killed(&mut self) -> Result<(), Failure> {
        let (stage, teller) = (self.stage, self.teller);
        teller.act(4, ACTS, "killed, and resumed")?;
        teller.say(
            "Each order gets its total. While the last statement runs on the target, with ten thousand rows rewritten and nothing committed, \
             the process is killed with SIGKILL, which gives it no chance to tidy up.",
        )?;
        self.add(TOTALS)?;
        let id = self.start_and_kill().await?;

        teller.say("The journal has the intent and no outcome, so everybody can see how it stands:")?;
        let open = self.newest()?;
        if open.state.is_settled() || open.flight.is_none() {
            return Err(untrue("the run is open, with a step in flight"));
        }
        self.command("status", &["status"], ExitCode::Ok.number().into(), Some(&id)).await?;

        teller.say(
            "To resume, dbd first ends what the server may still be doing for the dead process, then asks the target whether the step was \
             committed. It was not, so it is done again; had it been, it would not be.",
        )?;
        self.command("resumed", &["resume", id.as_str()], ExitCode::Ok.number().into(), Some(&id)).await?;
        let run = self.newest()?;
        self.ends(&run, End::Succeeded)?;
        self.check(run.id == id && run.committed.len() == 1, "the step was committed, once")?;
        let totals = "SELECT count(*) AS orders, count(total_cents) AS with_total, sum(total_cents) FROM orders";
        self.show(totals).await?;
        let whole = "SELECT count(*) = 10000 AND bool_and(total_cents = quantity * price_cents) FROM orders JOIN products ON products.id = product_id";
        self.check(stage.ask(whole).await? == ["t"], "all 10,000 orders are there, each with the right total")
    }

    /// What is on record about all that.
    async fn audit(&mut self) -> Result<(), Failure> {
        let teller = self.teller;
        teller.act(5, ACTS, "the audit")?;
        teller.say(
            "Every step of every run is in the journal, chained by hashes: who asked for what, when, and how it ended, also months from now.",
        )?;
        self.command("audit", &["audit", "--since", "30d"], ExitCode::Ok.number().into(), None).await?;
        self.command("audit verify", &["audit", "verify"], ExitCode::Ok.number().into(), None).await?;
        let ends: Vec<State> = self.stage.runs()?.into_iter().map(|run| run.state).collect();
        let wanted = [End::Succeeded, End::Refused, End::RolledBack, End::Succeeded].map(|end| State::Settled { end });
        self.check(ends == wanted, "the journal tells of four runs: succeeded, refused, rolled back, succeeded")
    }

    /// Puts a migration into the project and shows it.
    fn add(&self, migration: Migration) -> Result<(), Failure> {
        self.stage.write(migration.file, migration.text)?;
        self.teller.file(migration.file, migration.text)
    }

    /// `dbd start demo`, which has to end with `expected`; the run it made.
    async fn start(&mut self, name: &'static str, expected: ExitCode) -> Result<Run, Failure> {
        let known = self.stage.runs()?.len();
        let finished = self.say_and_run(&["start", ENVIRONMENT]).await?;
        // A run that was not even recorded has its reasons on the screen, and an exit status of its own.
        let run = self.stage.runs()?.into_iter().nth(known);
        self.judge(
            name,
            &["start", ENVIRONMENT],
            &finished,
            expected.number().into(),
            run.as_ref().map(|run| &run.id),
        )?;
        run.ok_or_else(|| untrue("the run is in the journal"))
    }

    /// `dbd start demo`, killed by SIGKILL while its last statement is running on the target.
    async fn start_and_kill(&mut self) -> Result<RunId, Failure> {
        let (stage, teller) = (self.stage, self.teller);
        let arguments = ["start", ENVIRONMENT];
        let known = stage.runs()?.len();
        let spec = self.spoken(&arguments)?;
        let (finished, victim) = {
            let mut on_output = |bytes: &[u8]| teller.output(bytes);
            let mut command = pin!(run(spec, &mut on_output));
            let mut kill = pin!(kill_in_the_middle(stage, known));
            tokio::select! {
                biased;
                finished = &mut command => (finished?, None),
                victim = &mut kill => {
                    let victim = victim?;
                    (command.await?, Some(victim))
                }
            }
        };
        teller.silence()?;
        if let Some(victim) = &victim {
            teller.command(&format!("kill -9 {}", victim.pid))?;
        }
        let run = victim.map(|victim| victim.run);
        self.judge("killed", &arguments, &finished, KILLED, run.as_ref())?;
        run.ok_or_else(|| untrue("the process was killed while its last statement ran"))
    }

    /// `dbd` with `arguments`, which has to end with `expected`.
    async fn command(
        &mut self,
        name: &'static str,
        arguments: &[&str],
        expected: i32,
        about: Option<&RunId>,
    ) -> Result<(), Failure> {
        let finished = self.say_and_run(arguments).await?;
        self.judge(name, arguments, &finished, expected, about)
    }

    async fn say_and_run(&self, arguments: &[&str]) -> Result<Finished, Failure> {
        let spec = self.spoken(arguments)?;
        let finished = run(spec, &mut |bytes| self.teller.output(bytes)).await?;
        self.teller.silence()?;
        Ok(finished)
    }

    /// The command, said as a user would type it.
    fn spoken(&self, arguments: &[&str]) -> Result<ChildSpec, Failure> {
        self.teller.command(&typed(arguments))?;
        let mut spec = self.stage.dbd(arguments).args(self.teller.flags());
        if let Some(columns) = self.teller.columns() {
            spec = spec.env([(env::COLUMNS.to_owned(), columns.to_string())]);
        }
        Ok(spec)
    }

    /// Notes how a command ended, and whether that was to be.
    fn judge(
        &mut self,
        name: &'static str,
        arguments: &[&str],
        finished: &Finished,
        expected: i32,
        about: Option<&RunId>,
    ) -> Result<(), Failure> {
        let exit = status_of(finished.status);
        self.ended.push(Ended { name, command: typed(arguments), exit, expected, run: about.cloned() });
        self.teller.verdict(exit, expected)?;
        if exit == expected {
            return Ok(());
        }
        let message = format!(
            "`{}` ended with {}, not {}: the act `{name}` did not end as told",
            typed(arguments),
            named(exit),
            named(expected)
        );
        let mut failure = Failure::new(Code::Bug, message).hint("`dbd demo --keep` leaves the project to look at");
        failure.causes = last_lines(&finished.stdout, 8);
        Err(failure)
    }

    /// Shows a query of the target and what it gives.
    async fn show(&self, sql: &str) -> Result<(), Failure> {
        self.teller.command(&format!("psql \"${VARIABLE}\" -c \"{sql}\""))?;
        let finished = run(self.stage.psql(sql)?, &mut |bytes| self.teller.output(bytes)).await?;
        self.teller.silence()?;
        if finished.status.success() {
            return Ok(());
        }
        let mut failure = Failure::new(Code::QueryFailed, "the target cannot be asked");
        failure.causes = last_lines(&finished.stdout, 8);
        Err(failure)
    }

    fn newest(&self) -> Result<Run, Failure> {
        self.stage.runs()?.pop().ok_or_else(|| untrue("there is a run in the journal"))
    }

    fn ends(&self, run: &Run, end: End) -> Result<(), Failure> {
        if run.state == (State::Settled { end }) {
            Ok(())
        } else {
            Err(untrue(&format!("{} is settled as told", run.id)))
        }
    }

    /// Says what is true; an error if it is not.
    fn check(&self, is_true: bool, what: &str) -> Result<(), Failure> {
        if is_true { self.teller.proof(what) } else { Err(untrue(what)) }
    }
}

/// The process that was killed, and its run.
struct Victim {
    run: RunId,
    pid: i32,
}

/// Waits until run number `known` of the journal has a step of the plan in flight *and* the target is at that step's last statement, then
/// kills the process that drives it.
async fn kill_in_the_middle(stage: &Stage, known: usize) -> Result<Victim, Failure> {
    loop {
        if let Some(run) = stage.runs()?.into_iter().nth(known)
            && let Some(flight) = run.flight.as_ref().filter(|flight| matches!(flight.effect, Effect::Migrate { .. }))
            && is_in_last_statement(stage, &flight.id).await?
            && let Some(process) = run.lease.and_then(|lease| Process::of(i32::try_from(lease.pid).ok()?))
            && process.signal(Signal::KILL)
        {
            return Ok(Victim { run: run.id, pid: process.pid });
        }
        tokio::time::sleep(GLANCE).await;
    }
}

/// Whether the target's session of `effect` has come to the statement that only waits; sessions are called after their effect.
async fn is_in_last_statement(stage: &Stage, effect: &EffectId) -> Result<bool, Failure> {
    let session = effect.application_name();
    let sql = format!("SELECT 1 FROM pg_stat_activity WHERE application_name = '{session}' AND wait_event = 'PgSleep'");
    Ok(!stage.ask(&sql).await?.is_empty())
}

/// The exit status as a shell tells it.
fn status_of(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

fn typed(arguments: &[&str]) -> String {
    format!("dbd {}", arguments.join(" "))
}

fn untrue(what: &str) -> Failure {
    Failure::new(Code::Bug, format!("the demo did not go as told; this is not true: {what}"))
        .hint("`dbd demo --keep` leaves the project to look at")
}
