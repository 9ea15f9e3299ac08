//! Given a run, when somebody asks something of it or something happens to it, then that is decided.

use super::samples::{self, Case, finding};
use super::sim::{Move, Sim};
use dbd::domain::code::Code;
use dbd::domain::decide::{Command, decide, judge, steps};
use dbd::domain::digest::Digest;
use dbd::domain::effect::{DumpPurpose, Effect};
use dbd::domain::event::{CheckStatus, Event, Outcome, Pause, Recorded, Verdict};
use dbd::domain::evolve::evolve;
use dbd::domain::failure::{Certainty, Failure};
use dbd::domain::finding::Severity;
use dbd::domain::machine::{End, Flight, Position, Stage, State, Undoing};
use dbd::domain::next::{Next, next, poisoned};
use dbd::domain::recovery::{Found, Recovery, blocks_target, recovery};
use dbd::domain::run::{BACKUP_AGE_MS, MAX_TAKEOVERS};
use dbd::domain::way::Way;

/// A story as it is told: a run, and its events so far.
struct Story {
    sim: Sim,
    events: Vec<Recorded>,
}

impl Story {
    fn of(case: Case) -> Self {
        let mut events = Vec::new();
        Self { sim: Sim::new(case, &mut events).unwrap(), events }
    }

    /// Everything goes well until `effect` is next.
    fn up_to(mut self, effect: Effect) -> Self {
        while self.next() != Next::Perform(effect) {
            assert!(!self.sim.run.state.is_settled(), "{effect:?} never came");
            self = self.make(Move::Go);
        }
        self
    }

    /// Everything goes well until `effect` is under way.
    fn during(self, effect: Effect) -> Self {
        self.up_to(effect).make(Move::Go)
    }

    /// Everything goes well until nothing is left to do without somebody else.
    fn driven_to_the_end(mut self) -> Self {
        self.sim.finish(100, &mut self.events).unwrap();
        self
    }

    fn make(mut self, one: Move) -> Self {
        self.sim.make(one, &mut self.events).unwrap();
        self
    }

    fn say(mut self, event: Event) -> Self {
        self.sim.say(event, &mut self.events).unwrap();
        self
    }

    /// Nothing happens for a while; then the process dies and another one takes over.
    fn later(mut self, ms: i64) -> Self {
        self.sim.now_ms += ms;
        self.make(Move::Die)
    }

    /// Process after process dies as soon as it has taken over.
    fn dies_often(mut self) -> Self {
        while self.sim.run.takeovers <= MAX_TAKEOVERS {
            self = self.make(Move::Die);
        }
        self
    }

    fn next(&self) -> Next {
        next(&self.sim.run)
    }

    fn state(&self) -> State {
        self.sim.run.state
    }

    /// Whether the product itself refuses it; what the laws beside it think does not count here.
    fn refuses(&self, event: Event) -> bool {
        let draft = self.sim.draft(event);
        evolve(&self.sim.run, &draft).is_err()
    }

    fn decides(&self, command: Command) -> Result<Event, Code> {
        decide(&self.sim.run, command).map_err(|failure| {
            assert!(failure.message.contains(self.sim.run.id.as_str()), "which run? {failure}");
            failure.code
        })
    }

    /// The effects that were intended, in order.
    fn effects(&self) -> Vec<Effect> {
        let intended = self.events.iter().filter_map(|recorded| match &recorded.event {
            Event::Intended { effect, .. } => Some(*effect),
            _ => None,
        });
        intended.collect()
    }
}

fn cancel() -> Command {
    Command::Cancel { reason: Some("wrong day".into()) }
}

fn approve() -> Command {
    Command::Approve { reason: None }
}

fn reject() -> Command {
    Command::Reject { reason: None }
}

fn roll_back() -> Command {
    Command::RollBack { reason: None, restore: false }
}

fn rule(applied: bool) -> Command {
    Command::Rule { applied, reason: "I looked".into() }
}

fn waiting() -> Story {
    let story = Story::of(Case { approval: true, ..Case::of(2) }).driven_to_the_end();
    assert_eq!(story.next(), Next::AwaitApproval);
    story
}

fn halted_in_doubt() -> Story {
    let story = Story::of(Case::of(2))
        .during(Effect::Migrate { step: 1 })
        .make(Move::DieAfter)
        .make(Move::CannotTell)
        .driven_to_the_end();
    assert_eq!(story.state(), State::Halted { at: Position::Forward(1), doubt: true });
    story
}

fn restore_failed() -> Story {
    let story =
        Story::of(Case::of(1)).during(Effect::CheckSchema).make(Move::Fail).during(Effect::Restore).make(Move::Fail);
    let story = story.driven_to_the_end();
    assert_eq!(story.state(), State::Halted { at: Position::Rolling(Undoing::Restore), doubt: false });
    story
}

const MIGRATE: Effect = Effect::Migrate { step: 0 };
const REFRESH: Effect = Effect::Dump { purpose: DumpPurpose::Refresh };
const SAVE: Effect = Effect::Dump { purpose: DumpPurpose::BeforeRollback };

// The order of things

#[test]
fn a_plain_deployment_does_these_things_in_this_order() {
    let story = Story::of(Case { tests: true, verify: true, health: true, ..Case::of(2) }).driven_to_the_end();
    use Effect::*;
    let checkpoint = Dump { purpose: DumpPurpose::Checkpoint };
    assert_eq!(story.state(), State::Settled { end: End::Succeeded });
    assert_eq!(
        story.effects(),
        [
            Preflight,
            checkpoint,
            CreateSandbox,
            FillSandbox,
            Rehearse,
            RunTests,
            DropSandbox,
            PrepareTarget,
            Migrate { step: 0 },
            Migrate { step: 1 },
            CheckSchema,
            RunVerify,
            CheckHealth,
        ]
    );
}

#[test]
fn with_nothing_to_deploy_nothing_is_dumped() {
    let story = Story::of(Case::of(0)).driven_to_the_end();
    assert_eq!((story.state(), story.effects()), (State::Settled { end: End::Succeeded }, vec![Effect::Preflight]));
}

#[test]
fn a_dry_run_ends_with_the_plan_and_asks_nobody() {
    let story = Story::of(Case { dry_run: true, approval: true, ..Case::of(2) }).driven_to_the_end();
    assert_eq!(story.state(), State::Settled { end: End::Rehearsed });
    assert!(story.sim.run.plan.is_some());
    assert!(!story.effects().contains(&Effect::PrepareTarget));
}

#[test]
fn a_dry_run_killed_at_its_plan_is_resumable_and_waits_for_nobody() {
    let mut story = Story::of(Case { dry_run: true, approval: true, ..Case::of(1) });
    while story.state() != (State::Planned {}) {
        story = story.make(Move::Go);
    }
    let found = [Found { run: story.sim.run.clone(), held_by: None }];
    assert_eq!(recovery(&found), Recovery { resumable: vec![story.sim.run.id.clone()], ..Recovery::default() });
    assert_eq!(story.decides(approve()), Err(Code::NotAwaiting));
}

#[test]
fn a_migration_without_a_statement_has_a_step_that_records_it() {
    let mut preflight = samples::preflight(&Case::of(3));
    preflight.pending[1].migration.units.clear();
    let steps = steps(&preflight.pending);
    let seen: Vec<_> = steps.iter().map(|step| (step.migration, step.unit, step.last, step.statements.len())).collect();
    assert_eq!(seen, [(0, 0, true, 1), (1, 0, true, 0), (2, 0, true, 1)]);
    assert_ne!(steps[0].digest, steps[1].digest);
}

// The judgement

#[test]
fn a_finding_of_weight_refuses_the_run_and_says_how_to_let_it_pass() {
    let story = Story::of(Case { findings: vec![finding("column_removed", Severity::Error)], ..Case::of(1) })
        .driven_to_the_end();
    assert_eq!(story.state(), State::Settled { end: End::Refused });
    let reason = &story.sim.run.reasons[0];
    assert_eq!(reason.code, Code::BreakingChange);
    assert!(reason.hints[0].contains("--allow column_removed"), "{reason:?}");
    assert!(!story.sim.run.findings[0].allowed);
}

#[test]
fn a_finding_that_is_allowed_passes_and_says_so() {
    for code in ["column_removed", "column-removed", "all"] {
        let findings = vec![finding("column_removed", Severity::Error)];
        let story = Story::of(Case { findings, allow: vec![code.into()], ..Case::of(1) }).driven_to_the_end();
        assert_eq!(story.state(), State::Settled { end: End::Succeeded }, "--allow {code}");
        assert!(story.sim.run.findings[0].allowed);
    }
}

#[test]
fn a_finding_that_only_warns_refuses_nothing() {
    let story =
        Story::of(Case { findings: vec![finding("slow_scan", Severity::Warning)], ..Case::of(1) }).driven_to_the_end();
    assert_eq!(story.state(), State::Settled { end: End::Succeeded });
    assert!(!story.sim.run.findings[0].allowed);
}

#[test]
fn every_failed_check_of_the_preflight_is_a_reason() {
    let story = Story::of(Case::of(1)).during(Effect::Preflight);
    let (_, id) = story.sim.under_way.clone().unwrap();
    let failed = ["server version", "disk room"].map(|name| samples::check(name, CheckStatus::Failed));
    let checks = failed.into_iter().chain([samples::check("pending migrations", CheckStatus::Skipped)]).collect();
    let failure = samples::failure("two checks failed");
    let mut story = story.say(Event::Failed { id, failure, partial: Some(Outcome::Checks(checks)), duration_ms: 1 });
    story.sim.under_way = None;
    let Event::Refused { reasons, .. } = judge(&story.sim.run) else { panic!("judged otherwise") };
    let messages: Vec<&str> = reasons.iter().map(|reason| reason.message.as_str()).collect();
    assert_eq!(messages, ["server version is not in order", "disk room is not in order"]);
}

#[test]
fn a_sandbox_that_cannot_be_removed_is_no_reason_to_refuse() {
    let story = Story::of(Case::of(1)).during(Effect::DropSandbox).make(Move::Fail).driven_to_the_end();
    assert_eq!(story.state(), State::Settled { end: End::Succeeded });
}

#[test]
fn failed_tests_refuse_the_run_even_if_the_sandbox_then_fails_with_the_very_same_words() {
    let story = Story::of(Case { tests: true, ..Case::of(1) }).during(Effect::RunTests);
    let same = samples::failure("the server went away");
    let fail = |mut story: Story| {
        let (_, id) = story.sim.under_way.take().unwrap();
        story.say(Event::Failed { id, failure: same.clone(), partial: None, duration_ms: 1 })
    };
    let story = fail(fail(story).during(Effect::DropSandbox)).driven_to_the_end();
    assert_eq!(story.state(), State::Settled { end: End::Refused });
    assert_eq!(story.sim.run.reasons, [same]);
}

// Approvals

#[test]
fn an_approval_lets_exactly_this_plan_pass() {
    let story = waiting();
    let digest = story.sim.run.plan_digest.clone().unwrap();
    assert_eq!(story.decides(approve()), Ok(Event::Approved { plan_digest: digest.clone(), reason: None }));
    assert!(story.refuses(Event::Approved { plan_digest: Digest::of("another plan"), reason: None }));
    let story = story.make(Move::Approve);
    assert_eq!(story.next(), Next::Perform(Effect::PrepareTarget));
    assert!(story.refuses(Event::Approved { plan_digest: digest, reason: None }), "once is enough");
}

#[test]
fn a_rejection_refuses_the_run_in_the_name_of_who_rejected() {
    let story = waiting().make(Move::Reject);
    assert_eq!(story.decides(approve()), Err(Code::NotAwaiting));
    let story = story.driven_to_the_end();
    assert_eq!(story.state(), State::Settled { end: End::Refused });
    assert_eq!(story.sim.run.reasons[0].code, Code::Rejected);
    assert_eq!(story.sim.run.reasons[0].causes, ["not on a Friday"]);
}

#[test]
fn nobody_can_approve_what_does_not_wait() {
    let asked = [
        Story::of(Case::of(1)),
        Story::of(Case::of(1)).during(MIGRATE),
        Story::of(Case::of(1)).driven_to_the_end(),
        waiting().make(Move::Cancel),
        waiting().make(Move::Approve),
        halted_in_doubt(),
    ];
    for story in asked {
        for command in [approve(), reject()] {
            assert_eq!(story.decides(command), Err(Code::NotAwaiting), "{:?}", story.state());
        }
    }
}

#[test]
fn looking_in_on_a_run_that_waits_does_not_wear_it_out() {
    let mut story = waiting();
    for _ in 0..3 * MAX_TAKEOVERS {
        story = story.make(Move::Rest);
    }
    assert!(!poisoned(&story.sim.run));
    assert_eq!(story.make(Move::Approve).driven_to_the_end().state(), State::Settled { end: End::Succeeded });
}

// Cancelling

#[test]
fn cancelled_before_the_target_is_touched_a_run_is_refused_and_does_no_more() {
    use Effect::*;
    let checkpoint = Dump { purpose: DumpPurpose::Checkpoint };
    for at in [Preflight, checkpoint, CreateSandbox, FillSandbox, Rehearse, RunTests, DropSandbox, PrepareTarget] {
        let case = || Case { tests: true, ..Case::of(1) };
        let between = Story::of(case()).up_to(at);
        let meanwhile = [Move::Go, Move::Fail, Move::DieBefore, Move::DieAfter]
            .map(|end| Story::of(case()).during(at).make(Move::Cancel).make(end));
        for (story, done) in std::iter::once((between.make(Move::Cancel), 0)).chain(meanwhile.map(|story| (story, 1))) {
            let before = story.effects().len() - done;
            let story = story.driven_to_the_end();
            assert_eq!(story.state(), State::Settled { end: End::Refused }, "{at:?}");
            let codes: Vec<Code> = story.sim.run.reasons.iter().map(|reason| reason.code).collect();
            assert!(codes.contains(&Code::Cancelled), "{at:?}: {codes:?}");
            let more = &story.effects()[before + done..];
            assert!(more.iter().all(|effect| *effect == DropSandbox), "{at:?}, then {more:?}");
        }
    }
}

#[test]
fn cancelled_between_two_steps_a_run_is_taken_back() {
    let story = Story::of(Case::of(2)).up_to(Effect::Migrate { step: 1 });
    assert!(matches!(story.decides(cancel()), Ok(Event::CancelRequested { reason: Some(_) })));
    let story = story.make(Move::Cancel);
    let Next::Record(Event::RollbackStarted { why }) = story.next() else { panic!("{:?}", story.next()) };
    assert_eq!(why.code, Code::Cancelled);
    let story = story.driven_to_the_end();
    assert_eq!(story.state(), State::Settled { end: End::RolledBack });
    assert!(!story.effects().contains(&Effect::Migrate { step: 1 }));
}

#[test]
fn cancelled_while_a_step_is_in_flight_a_run_turns_round_once_that_is_resolved() {
    for end in [Move::Go, Move::Fail, Move::DieBefore, Move::DieAfter, Move::LoseAfter] {
        let story = Story::of(Case::of(2)).during(MIGRATE).make(Move::Cancel);
        assert_eq!(story.state(), State::Forward { step: 0, flight: Flight::Out }, "only noted");
        assert!(story.refuses(Event::RollbackStarted { why: samples::failure("too early") }));
        let story = story.make(end).driven_to_the_end();
        assert_eq!(story.state(), State::Settled { end: End::RolledBack }, "{end:?}");
        assert!(!story.effects().contains(&Effect::Migrate { step: 1 }));
    }
}

#[test]
fn cancelled_while_it_is_verified_a_run_is_taken_back() {
    for at in [Effect::CheckSchema, Effect::RunVerify, Effect::CheckHealth] {
        let case = Case { verify: true, health: true, ..Case::of(1) };
        let story = Story::of(case).during(at).make(Move::Cancel).make(Move::Go).driven_to_the_end();
        assert_eq!(story.state(), State::Settled { end: End::RolledBack }, "{at:?}");
    }
}

#[test]
fn what_is_on_its_way_back_or_over_cannot_be_cancelled() {
    assert_eq!(
        Story::of(Case::of(1)).during(MIGRATE).make(Move::Fail).up_to(Effect::CheckRestored).decides(cancel()),
        Err(Code::Cancelled)
    );
    assert_eq!(Story::of(Case::of(1)).driven_to_the_end().decides(cancel()), Err(Code::AlreadySettled));
}

#[test]
fn cancelling_what_is_halted_gives_it_up_where_it_stands() {
    let story = halted_in_doubt();
    assert!(matches!(story.decides(cancel()), Ok(Event::Abandoned { .. })));
    let story = story.make(Move::Cancel);
    assert_eq!(story.state(), State::Settled { end: End::Abandoned });
    assert!(story.sim.moves().is_empty());
}

// Rolling back

#[test]
fn a_run_that_succeeded_is_taken_back_when_asked() {
    let story = Story::of(Case::of(2)).driven_to_the_end();
    assert!(matches!(story.decides(roll_back()), Ok(Event::RollbackRequested { .. })));
    let story = story.make(Move::RollBack).driven_to_the_end();
    assert_eq!(story.state(), State::Settled { end: End::RolledBack });
    assert_eq!(story.decides(roll_back()), Err(Code::AlreadySettled), "twice");
}

#[test]
fn what_changed_nothing_cannot_be_taken_back() {
    assert_eq!(Story::of(Case::of(0)).driven_to_the_end().decides(roll_back()), Err(Code::NothingToRollBack));
    let refused = Story::of(Case::of(1)).during(Effect::Preflight).make(Move::Fail).driven_to_the_end();
    assert_eq!(refused.decides(roll_back()), Err(Code::AlreadySettled));
    assert_eq!(Story::of(Case::of(1)).during(MIGRATE).decides(roll_back()), Err(Code::NothingToRollBack));
}

#[test]
fn nothing_is_taken_back_past_an_effect_in_doubt() {
    let story = halted_in_doubt();
    assert_eq!(story.decides(roll_back()), Err(Code::InDoubt));
    assert!(story.refuses(Event::RollbackRequested { reason: None, restore: false }));
}

#[test]
fn the_way_back_is_tried_again_when_asked_as_another_effect_than_the_first() {
    let story = restore_failed();
    let first = story.sim.run.past.iter().filter(|past| past.effect == Effect::Restore).count();
    let story = story.make(Move::RollBack).driven_to_the_end();
    assert_eq!(story.state(), State::Settled { end: End::RolledBack });
    assert_eq!((first, story.sim.run.rollbacks), (1, 2));
    let ids = story.events.iter().filter_map(|recorded| match &recorded.event {
        Event::Intended { effect: Effect::Restore, id, .. } => Some(id.clone()),
        _ => None,
    });
    let ids: Vec<_> = ids.collect();
    assert!(ids.len() == 2 && ids[0] != ids[1], "{ids:?}");
}

#[test]
fn a_check_of_the_checkpoint_that_failed_with_nothing_committed_can_be_asked_for_again() {
    let story = Story::of(Case::of(1))
        .during(MIGRATE)
        .make(Move::Fail)
        .during(Effect::CheckRestored)
        .make(Move::Fail)
        .driven_to_the_end();
    assert_eq!(story.state(), State::Halted { at: Position::Rolling(Undoing::Check), doubt: false });
    let story = story.make(Move::RollBack).driven_to_the_end();
    assert_eq!(story.state(), State::Settled { end: End::RolledBack });
    assert!(!story.effects().contains(&Effect::Restore));
}

#[test]
fn rows_that_a_restore_would_forget_are_dumped_before_it() {
    let mut story = Story::of(Case::of(1)).driven_to_the_end();
    story.sim.slow = true;
    let story = story.make(Move::RollBack).driven_to_the_end();
    assert_eq!(story.state(), State::Settled { end: End::RolledBack });
    assert_eq!(
        story.effects().split_off(8),
        [Effect::CheckSchema, Effect::AssessLoss, SAVE, Effect::Restore, Effect::CheckRestored]
    );
    assert!(story.sim.run.saved.is_some());
}

#[test]
fn rows_written_while_nobody_worked_on_the_way_back_are_counted_before_it_goes_on() {
    for (at, end) in [(Effect::Restore, Move::DieBefore), (SAVE, Move::DieBefore), (SAVE, Move::DieAfter)] {
        let mut story = Story::of(Case::of(1)).driven_to_the_end();
        story.sim.target_is_written();
        let mut story = story.make(Move::RollBack).during(at);
        story.sim.slow = true;
        let story = story.make(end).make(Move::Go);
        assert_eq!(story.next(), Next::Perform(Effect::AssessLoss), "{at:?} {end:?}");
        assert_eq!(story.driven_to_the_end().state(), State::Settled { end: End::RolledBack });
    }
    let story =
        Story::of(Case::of(1)).during(Effect::CheckSchema).make(Move::Fail).up_to(Effect::Restore).make(Move::Die);
    assert_eq!(story.next(), Next::Perform(Effect::AssessLoss));
}

// Failing

#[test]
fn a_step_that_fails_turns_the_run_round() {
    let story = Story::of(Case::of(2)).during(Effect::Migrate { step: 1 }).make(Move::Fail);
    let Next::Record(Event::RollbackStarted { why }) = story.next() else { panic!("{:?}", story.next()) };
    assert_eq!(why.code, Code::StatementFailed);
    let story = story.driven_to_the_end();
    assert_eq!(story.state(), State::Settled { end: End::RolledBack });
    assert_eq!(story.effects().split_off(9), [Effect::AssessLoss, Effect::Restore, Effect::CheckRestored]);
}

#[test]
fn with_nothing_committed_the_way_back_only_checks() {
    let story = Story::of(Case::of(2)).during(MIGRATE).make(Move::Fail).driven_to_the_end();
    assert_eq!(story.state(), State::Settled { end: End::RolledBack });
    assert_eq!(story.effects().split_off(7), [MIGRATE, Effect::CheckRestored]);
}

#[test]
fn a_failed_undo_halts_the_run_and_is_never_tried_in_a_loop() {
    for undo in [Effect::AssessLoss, Effect::Restore, Effect::CheckRestored] {
        let story = Story::of(Case::of(1)).during(Effect::CheckSchema).make(Move::Fail).during(undo).make(Move::Fail);
        assert!(matches!(story.next(), Next::Record(Event::Halted { .. })), "{undo:?}");
        // Not even by another process.
        let story = story.make(Move::Die).driven_to_the_end();
        assert!(matches!(story.state(), State::Halted { doubt: false, .. }));
        assert_eq!(story.next(), Next::Halted);
        let why = story.sim.run.halted.clone().unwrap();
        assert!(why.hints.iter().any(|hint| hint.contains("backup.dump")), "where the backup is: {why:?}");
    }
}

#[test]
fn not_to_know_is_no_failure_of_what_changes_the_target() {
    let unsure = samples::failure("the connection was lost").certainty(Certainty::InDoubt);
    let fails = |failure: &Failure, story: &Story| {
        let id = story.sim.run.flight.as_ref().unwrap().id.clone();
        !story.refuses(Event::Failed { id, failure: failure.clone(), partial: None, duration_ms: 1 })
    };
    let step = Story::of(Case::of(1)).during(MIGRATE);
    let restore = Story::of(Case::of(1)).during(Effect::CheckSchema).make(Move::Fail).during(Effect::Restore);
    let look = Story::of(Case::of(1)).during(Effect::Preflight);
    assert!(!fails(&unsure, &step) && !fails(&unsure, &restore) && fails(&unsure, &look));
    let sure = unsure.certainty(Certainty::Transient);
    assert!(fails(&sure, &step) && fails(&sure, &restore));
}

#[test]
fn a_step_that_failed_cannot_have_brought_what_a_committed_one_brings() {
    let story = Story::of(Case::of(1)).during(MIGRATE);
    let id = story.sim.run.flight.as_ref().unwrap().id.clone();
    let partial = Some(Outcome::Step(samples::step()));
    assert!(story.refuses(Event::Failed { id, failure: samples::failure("half"), partial, duration_ms: 1 }));
}

// Steps that commit as they go

fn piecemeal(steps: usize, back: Way) -> Case {
    Case { piecemeal: true, back, ..Case::of(steps) }
}

#[test]
fn a_step_that_failed_after_a_part_of_it_was_committed_is_taken_back_by_the_backup() {
    let story = Story::of(piecemeal(1, Way::Restore)).during(MIGRATE).make(Move::FailPartly);
    assert!(matches!(story.next(), Next::Record(Event::RollbackStarted { .. })), "{:?}", story.next());
    let story = story.make(Move::Go);
    assert_eq!(story.next(), Next::Perform(Effect::AssessLoss));
    assert_eq!((story.sim.run.committed.len(), story.sim.run.partial_step()), (0, Some(0)));
    // What is known to be its own is no row of others.
    let known = story.sim.run.known_transactions();
    assert!(known.contains(&samples::step().xid.unwrap()), "{known:?}");
    let story = story.during(Effect::CheckRestored);
    assert_eq!(story.sim.run.partial_step(), None, "the target went back");
}

#[test]
fn a_step_that_failed_after_a_part_of_it_was_committed_is_taken_back_by_the_swap_where_writes_are_captured() {
    let story = Story::of(piecemeal(1, Way::Swap)).during(MIGRATE).make(Move::FailPartly).make(Move::Go);
    assert_eq!(story.next(), Next::Perform(Effect::CatchUp));
}

#[test]
fn a_part_of_a_step_is_not_taken_back_in_place_though_the_whole_of_it_could_be() {
    let second = Effect::Migrate { step: 1 };
    let whole = Story::of(piecemeal(2, Way::InPlace)).during(second).make(Move::Fail).make(Move::Go);
    assert_eq!(whole.next(), Next::Perform(Effect::UndoStep { step: 0 }));
    let part = Story::of(piecemeal(2, Way::InPlace)).during(second).make(Move::FailPartly).make(Move::Go);
    assert_eq!(part.next(), Next::Perform(Effect::AssessLoss));
}

#[test]
fn a_step_cut_off_half_way_is_taken_back_and_not_begun_again() {
    let story = Story::of(piecemeal(1, Way::Restore)).during(MIGRATE).make(Move::DiePartly).make(Move::Go);
    assert!(matches!(story.next(), Next::Record(Event::RollbackStarted { .. })), "{:?}", story.next());
    assert_eq!(story.sim.run.partial_step(), Some(0));
}

#[test]
fn rows_of_others_halt_the_way_back_of_a_part_until_somebody_asks_for_it() {
    let mut story = Story::of(piecemeal(1, Way::Restore)).during(MIGRATE);
    story.sim.target_is_written();
    let story = story.make(Move::FailPartly).make(Move::Go).make(Move::Go).make(Move::Go).make(Move::Go);
    assert_eq!(story.next(), Next::Halted);
    let why = story.sim.run.halted.clone().unwrap();
    assert_eq!(why.code, Code::WouldLoseRows);
    assert!(why.hints.iter().any(|hint| hint.contains("--restore")), "{why:?}");
    assert!(why.causes.iter().any(|cause| cause.contains("the step that failed")), "{why:?}");
    let story = story.make(Move::RestoreBackup).during(Effect::Restore);
    assert!(story.sim.run.saved.is_some(), "dumped before");
}

// In doubt

#[test]
fn an_intent_without_an_outcome_is_looked_up_and_never_repeated_blindly() {
    let story = Story::of(Case::of(1)).during(MIGRATE).make(Move::DieAfter);
    let Next::Reconcile(flight) = story.next() else { panic!("{:?}", story.next()) };
    assert_eq!(flight.effect, MIGRATE);
    assert!(story.refuses(Event::Intended { effect: MIGRATE, id: flight.id.clone(), attempt: 2 }), "no second attempt");
    let verdict = |verdict| Event::Reconciled { id: flight.id.clone(), verdict, evidence: String::new() };
    assert!(story.refuses(verdict(Verdict::NotApplied)), "no verdict without a fence");
    let story = story.say(Event::Fenced { id: flight.id.clone(), evidence: "gone".into() });
    let late = Event::Succeeded { id: flight.id.clone(), outcome: Outcome::Step(samples::step()), duration_ms: 9 };
    assert!(story.refuses(late), "nothing counts that comes from beyond the fence");
    let story = story.make(Move::Go);
    assert_eq!((story.sim.run.committed.len(), story.next()), (1, Next::Perform(Effect::CheckSchema)));
}

#[test]
fn an_effect_nobody_can_tell_about_halts_the_run_and_says_what_to_look_for() {
    let why = halted_in_doubt().sim.run.halted.unwrap();
    assert_eq!((why.code, why.certainty), (Code::InDoubt, Certainty::InDoubt));
    assert!(why.message.contains("migrate 2"), "{why}");
}

#[test]
fn a_look_at_the_target_is_never_in_doubt_for_good() {
    for at in [Effect::CheckSchema, Effect::CheckHealth] {
        let story = Story::of(Case { health: true, ..Case::of(1) }).during(at).make(Move::DieAfter);
        let id = story.sim.run.flight.as_ref().unwrap().id.clone();
        let story = story.say(Event::Fenced { id: id.clone(), evidence: String::new() });
        assert!(story.refuses(Event::Reconciled { id, verdict: Verdict::Unknown, evidence: String::new() }), "{at:?}");
    }
}

#[test]
fn a_ruling_takes_the_run_on_from_where_it_stood() {
    let story = halted_in_doubt();
    assert!(matches!(story.decides(rule(true)), Ok(Event::Ruled { applied: true, .. })));
    assert_eq!(story.make(Move::Rule(true)).next(), Next::Perform(Effect::CheckSchema));
    assert_eq!(halted_in_doubt().make(Move::Rule(false)).next(), Next::Perform(Effect::Migrate { step: 1 }));
}

#[test]
fn a_ruling_that_is_wrong_ends_neither_in_success_nor_in_a_false_checkpoint() {
    let story = halted_in_doubt().make(Move::Rule(false)).driven_to_the_end();
    assert_eq!(story.state(), State::Settled { end: End::RolledBack }, "the ledger refuses the second time");
    let unapplied =
        Story::of(Case::of(1)).during(MIGRATE).make(Move::DieBefore).make(Move::CannotTell).driven_to_the_end();
    let story = unapplied.make(Move::Rule(true)).driven_to_the_end();
    assert_eq!(story.state(), State::Settled { end: End::RolledBack }, "the schema is not the rehearsed one");
}

#[test]
fn nobody_can_rule_on_what_is_not_in_doubt() {
    for story in [Story::of(Case::of(1)).during(MIGRATE), restore_failed(), Story::of(Case::of(1)).driven_to_the_end()]
    {
        assert_eq!(story.decides(rule(true)), Err(Code::NotAwaiting), "{:?}", story.state());
    }
}

// Time and take-overs

#[test]
fn a_dump_that_grew_old_while_the_run_waited_is_taken_again() {
    let mut story = waiting();
    story.sim.now_ms += BACKUP_AGE_MS;
    let story = story.make(Move::Approve);
    assert_eq!(story.next(), Next::Perform(REFRESH));
    assert!(story.refuses(Event::Intended { effect: Effect::PrepareTarget, id: samples_id(), attempt: 1 }));
    let story = story.driven_to_the_end();
    assert_eq!(story.state(), State::Settled { end: End::Succeeded });
    assert_eq!(story.effects().iter().filter(|effect| **effect == REFRESH).count(), 1);
}

#[test]
fn a_dump_that_grew_old_anywhere_before_the_first_step_is_taken_again() {
    for at in [Effect::PrepareTarget, MIGRATE] {
        let between = Story::of(Case::of(1)).up_to(at).later(BACKUP_AGE_MS);
        assert_eq!(between.next(), Next::Perform(REFRESH), "{at:?}");
        let mut meanwhile = Story::of(Case::of(1)).during(at);
        meanwhile.sim.slow = true;
        let meanwhile = meanwhile.make(Move::DieBefore).make(Move::Go);
        assert_eq!(meanwhile.next(), Next::Perform(REFRESH), "{at:?}");
        for mut story in [between, meanwhile] {
            story.sim.slow = false;
            assert_eq!(story.driven_to_the_end().state(), State::Settled { end: End::Succeeded });
        }
    }
}

#[test]
fn a_dump_is_never_taken_again_once_a_step_is_committed_or_ruled_on() {
    let story = Story::of(Case::of(2)).up_to(Effect::Migrate { step: 1 }).later(BACKUP_AGE_MS);
    assert_eq!(story.next(), Next::Perform(Effect::Migrate { step: 1 }));
    let doubt = Story::of(Case::of(1)).during(MIGRATE).make(Move::DieAfter).make(Move::CannotTell).driven_to_the_end();
    let ruled = doubt.make(Move::Rule(false)).later(BACKUP_AGE_MS);
    assert_eq!(ruled.next(), Next::Perform(MIGRATE));
}

#[test]
fn a_dump_found_after_a_crash_is_as_old_as_its_intent() {
    let mut story = Story::of(Case::of(1)).during(Effect::Dump { purpose: DumpPurpose::Checkpoint });
    let intended = story.sim.now_ms;
    story.sim.slow = true;
    let mut story = story.make(Move::DieAfter).make(Move::Go);
    assert_eq!(story.sim.run.backup_ms, intended);
    story.sim.slow = false;
    assert!(story.driven_to_the_end().effects().contains(&REFRESH));
}

#[test]
fn a_sandbox_does_not_outlive_the_process_that_made_it() {
    for at in [Effect::FillSandbox, Effect::Rehearse, Effect::RunTests] {
        let case = || Case { tests: true, ..Case::of(1) };
        let between = Story::of(case()).up_to(at).make(Move::Die);
        let meanwhile = Story::of(case()).during(at).make(Move::DieAfter).make(Move::Go);
        for story in [between, meanwhile] {
            assert_eq!(story.next(), Next::Perform(Effect::CreateSandbox), "{at:?}");
            assert_eq!(story.driven_to_the_end().state(), State::Settled { end: End::Succeeded });
        }
    }
}

#[test]
fn a_file_written_twice_is_listed_once() {
    let story =
        Story::of(Case { tests: true, ..Case::of(1) }).up_to(Effect::RunTests).make(Move::Die).driven_to_the_end();
    let names: Vec<&str> = story.sim.run.artifacts.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["rehearsal.json", "tests.log"]);
}

#[test]
fn a_run_that_only_ever_dies_is_refused_while_the_target_is_untouched() {
    let story = Story::of(Case::of(1)).up_to(Effect::Rehearse).dies_often();
    assert!(poisoned(&story.sim.run));
    let story = story.driven_to_the_end();
    assert_eq!(story.state(), State::Settled { end: End::Refused });
    assert_eq!(story.sim.run.reasons[0].code, Code::TooManyTakeovers);
}

#[test]
fn a_run_that_only_ever_dies_is_halted_once_the_target_is_touched_and_can_be_taken_back() {
    for at in [Effect::Migrate { step: 1 }, Effect::CheckSchema] {
        let story = Story::of(Case::of(2)).up_to(at).dies_often().driven_to_the_end();
        assert!(matches!(story.state(), State::Halted { doubt: false, .. }), "{at:?}: {:?}", story.state());
        assert_eq!(story.sim.run.halted.as_ref().map(|why| why.code), Some(Code::TooManyTakeovers));
        assert_eq!(story.make(Move::RollBack).driven_to_the_end().state(), State::Settled { end: End::RolledBack });
    }
    let back = Story::of(Case::of(1))
        .during(Effect::CheckSchema)
        .make(Move::Fail)
        .up_to(Effect::AssessLoss)
        .dies_often()
        .driven_to_the_end();
    assert_eq!(back.state(), State::Halted { at: Position::Rolling(Undoing::Assess), doubt: false });
}

#[test]
fn what_was_started_is_looked_up_however_often_its_process_died() {
    let story = Story::of(Case::of(2)).during(MIGRATE).make(Move::DieAfter).dies_often();
    assert!(matches!(story.next(), Next::Reconcile(_)));
    let story = story.make(Move::Go);
    assert!(!poisoned(&story.sim.run), "an outcome is progress");
    assert_eq!(story.driven_to_the_end().state(), State::Settled { end: End::Succeeded });
}

#[test]
fn what_cannot_even_be_looked_up_can_be_cancelled_and_then_given_up() {
    let story = Story::of(Case::of(2)).during(MIGRATE).make(Move::DieAfter).dies_often();
    assert!(matches!(story.decides(cancel()), Ok(Event::CancelRequested { .. })), "first it is turned round");
    let story = story.make(Move::Cancel).dies_often();
    assert!(matches!(story.decides(cancel()), Ok(Event::Abandoned { .. })), "then there is a way out");
    let back = Story::of(Case::of(1))
        .during(Effect::CheckSchema)
        .make(Move::Fail)
        .during(Effect::Restore)
        .make(Move::DieBefore)
        .dies_often();
    assert!(matches!(back.decides(cancel()), Ok(Event::Abandoned { .. })));
}

#[test]
fn a_rest_on_purpose_and_a_decision_count_as_progress() {
    let story = Story::of(Case::of(1)).up_to(MIGRATE);
    let take_over = || Event::LeaseTaken { host: "vela".into(), pid: 1, epoch: 9 };
    let mut story = story;
    for _ in 0..3 * MAX_TAKEOVERS {
        story = story.say(take_over()).say(Event::Paused { why: Pause::Unreachable });
    }
    assert_eq!(story.sim.run.takeovers, 0);
    // Also with an effect in flight that nobody could look up, as the server was away.
    let mut story = Story::of(Case::of(1)).during(MIGRATE).make(Move::DieBefore);
    for _ in 0..3 * MAX_TAKEOVERS {
        story = story.say(Event::Paused { why: Pause::Unreachable }).say(take_over());
    }
    assert!(matches!(story.next(), Next::Reconcile(_)));
    assert_eq!(story.driven_to_the_end().state(), State::Settled { end: End::Succeeded });
}

// Who comes next

#[test]
fn open_runs_are_sorted_by_who_has_to_do_something() {
    let found = |story: Story, held_by: Option<&str>| Found { run: story.sim.run, held_by: held_by.map(str::to_owned) };
    let id = samples::run_id();
    let sorted = |one: Found| recovery(&[one]);
    let empty = Recovery::default();
    assert_eq!(sorted(found(waiting(), None)), Recovery { waiting: vec![id.clone()], ..empty.clone() });
    assert_eq!(sorted(found(halted_in_doubt(), None)), Recovery { halted: vec![id.clone()], ..empty.clone() });
    assert_eq!(
        sorted(found(Story::of(Case::of(1)).during(MIGRATE), None)),
        Recovery { resumable: vec![id.clone()], ..empty.clone() }
    );
    assert_eq!(sorted(found(waiting(), Some("pid 7"))), Recovery { held: vec![(id, "pid 7".into())], ..empty.clone() });
    assert_eq!(sorted(found(Story::of(Case::of(1)).driven_to_the_end(), None)), empty);
}

#[test]
fn an_open_run_keeps_others_off_its_target_from_the_first_step_on() {
    assert!(!blocks_target(&Story::of(Case::of(1)).during(Effect::PrepareTarget).sim.run));
    assert!(blocks_target(&Story::of(Case::of(1)).up_to(MIGRATE).sim.run));
    assert!(blocks_target(&restore_failed().sim.run));
    assert!(!blocks_target(&Story::of(Case::of(1)).driven_to_the_end().sim.run));
}

#[test]
fn every_stage_is_reached_by_going_on() {
    let mut story = Story::of(Case { tests: true, ..Case::of(1) });
    let mut stages = Vec::new();
    while let State::Preparing { stage, .. } = story.state() {
        if stages.last() != Some(&stage) {
            stages.push(stage);
        }
        story = story.make(Move::Go);
    }
    use Stage::*;
    assert_eq!(stages, [Preflight, Dump, CreateSandbox, FillSandbox, Rehearse, RunTests, DropSandbox, Judge]);
}

fn samples_id() -> dbd::domain::ids::EffectId {
    dbd::domain::ids::EffectId::derive("given", &samples::run_id(), "some effect", b"")
}
