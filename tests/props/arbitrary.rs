//! Events nobody would append: any kind, any content, in any order. The fold answers for each, and is never thrown off its feet.

use super::histories::{case, choices, history};
use super::samples;
use dbd::domain::code::Code;
use dbd::domain::decide::{Command, decide};
use dbd::domain::digest::Digest;
use dbd::domain::effect::{DumpPurpose, Effect};
use dbd::domain::event::*;
use dbd::domain::evolve::{Misfit, evolve};
use dbd::domain::failure::{Certainty, Failure, Place};
use dbd::domain::finding::{Finding, Severity};
use dbd::domain::forecast::{Basis, Correction, Forecast, Timeline};
use dbd::domain::ids::{EffectId, MigrationId};
use dbd::domain::migration::{AloneProbe, Bookkeeping, Down, Format, Migration, Span, Unit, UnitMode};
use dbd::domain::next::next;
use dbd::domain::plan::{Plan, PlanStep, PlannedMigration, UndoClass};
use dbd::domain::recovery::{Found, blocks_target, recovery};
use dbd::domain::rehearsal::MigrationTiming;
use dbd::domain::run::Run;
use dbd::domain::way::CaptureWay;
use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z0-9_. -]{0,12}", any::<String>()]
}

fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 2]>().prop_map(Digest::of)
}

/// Few enough that an id is met again.
fn id() -> impl Strategy<Value = EffectId> {
    (0_u8..4).prop_map(|one| EffectId::derive("any", &samples::run_id(), "any", &[one]))
}

fn effect() -> impl Strategy<Value = Effect> {
    use Effect::*;
    let purpose = select(vec![DumpPurpose::Checkpoint, DumpPurpose::Refresh, DumpPurpose::BeforeRollback]);
    prop_oneof![
        4 => select(vec![
            Preflight, CreateSandbox, FillSandbox, Rehearse, RunTests, DropSandbox, PrepareTarget, CheckSchema, RunVerify, CheckHealth,
            AssessLoss, Restore, CheckRestored, StartCapture, RaiseShadow, EndCapture, CheckWay, CatchUp, Swap,
        ]),
        1 => purpose.prop_map(|purpose| Dump { purpose }),
        1 => prop_oneof![0_usize..4, any::<usize>()].prop_map(|step| Migrate { step }),
        1 => prop_oneof![0_usize..4, any::<usize>()].prop_map(|step| UndoStep { step }),
    ]
}

fn failure() -> impl Strategy<Value = Failure> {
    let certainty = select(vec![Certainty::Definite, Certainty::Transient, Certainty::InDoubt]);
    let place = (text(), any::<u32>(), any::<u32>()).prop_map(|(file, line, column)| Place { file, line, column });
    (select(Code::ALL), certainty, text(), vec(text(), 0..3), vec(text(), 0..3), of(place)).prop_map(
        |(code, certainty, message, causes, hints, place)| Failure { code, certainty, message, causes, hints, place },
    )
}

fn finding() -> impl Strategy<Value = Finding> {
    let severity = select(vec![Severity::Info, Severity::Warning, Severity::Error]);
    (text(), severity, text(), text(), any::<bool>()).prop_map(|(code, severity, object, message, allowed)| Finding {
        code,
        severity,
        object,
        message,
        allowed,
        waived: None,
    })
}

fn artifact() -> impl Strategy<Value = Artifact> {
    (text(), digest(), any::<u64>()).prop_map(|(name, digest, bytes)| Artifact { name, digest, bytes })
}

fn request() -> impl Strategy<Value = Request> {
    let user_command = || {
        of((text(), any::<u64>(), any::<bool>()).prop_map(|(command, timeout_ms, once)| UserCommand {
            command,
            timeout_ms,
            once,
        }))
    };
    let health =
        of((any::<u64>(), any::<u32>()).prop_map(|(timeout_ms, attempts)| HealthCheck { timeout_ms, attempts }));
    (
        case(),
        text(),
        any::<[u64; 3]>(),
        of(any::<u64>()),
        any::<[bool; 2]>(),
        user_command(),
        user_command(),
        health,
        text(),
    )
        .prop_map(
            |(
                case,
                target,
                [migration_timeout_ms, lock_timeout_ms, lock_budget_ms],
                statement_timeout_ms,
                flags,
                tests,
                verify,
                health,
                data,
            )| {
                let mut request = samples::request(&case);
                request.target = target;
                request.settings = Settings {
                    migration_timeout_ms,
                    lock_timeout_ms,
                    lock_budget_ms,
                    statement_timeout_ms,
                    approval: flags[0],
                    require_clean_tree: flags[1],
                    data,
                    tests,
                    verify,
                    health,
                    sample: None,
                    masks: Default::default(),
                    previous_tests: None,
                    budget: None,
                    rollback: RollbackSettings {
                        in_place: flags[0],
                        soft_drop: flags[1],
                        capture: if flags[1] { vec![CaptureWay::Slot] } else { Vec::new() },
                        window_ms: migration_timeout_ms,
                        required: flags[1],
                        slot_bytes: flags[0].then_some(migration_timeout_ms),
                    },
                };
                request
            },
        )
}

fn check() -> impl Strategy<Value = Check> {
    let status = select(vec![CheckStatus::Ok, CheckStatus::Warning, CheckStatus::Failed, CheckStatus::Skipped]);
    (text(), status, text(), of(failure()), any::<u64>())
        .prop_map(|(name, status, message, failure, duration_ms)| Check { name, status, message, failure, duration_ms })
}

fn mode() -> impl Strategy<Value = UnitMode> {
    let probe = prop_oneof![
        (of(text()), text(), text()).prop_map(|(schema, table, index)| AloneProbe::IndexValid { schema, table, index }),
        (of(text()), text()).prop_map(|(schema, index)| AloneProbe::IndexGone { schema, index }),
        Just(AloneProbe::Repeatable),
        text().prop_map(|relation| AloneProbe::Reindex { relation }),
        (text(), text()).prop_map(|(table, partition)| AloneProbe::Detached { table, partition }),
        (text(), text(), any::<u32>(), any::<u64>()).prop_map(|(table, called, size, pause_ms)| AloneProbe::Batch {
            table,
            called,
            size,
            pause_ms
        }),
        Just(AloneProbe::UserCommand),
        Just(AloneProbe::Unknown),
    ];
    prop_oneof![Just(UnitMode::Transaction), probe.prop_map(|probe| UnitMode::Alone { probe })]
}

fn span() -> impl Strategy<Value = Span> {
    (any::<usize>(), any::<usize>(), any::<u32>()).prop_map(|(start, len, line)| Span { start, len, line })
}

fn units() -> impl Strategy<Value = Vec<Unit>> {
    vec((mode(), vec(span(), 0..3)).prop_map(|(mode, statements)| Unit { mode, statements }), 0..3)
}

fn bookkeeping() -> impl Strategy<Value = Bookkeeping> {
    prop_oneof![
        Just(Bookkeeping::Dbd),
        (text(), any::<i64>()).prop_map(|(hash, when)| Bookkeeping::Drizzle { hash, when, table: None }),
        (text(), proptest::collection::btree_map(text(), text(), 0..3))
            .prop_map(|(key, values)| Bookkeeping::Row { key, values })
    ]
}

/// Without its text, which is kept in a blob and not in the event.
fn pending() -> impl Strategy<Value = Pending> {
    let down =
        (text(), digest(), units()).prop_map(|(file, digest, units)| Down { file, digest, text: String::new(), units });
    (text(), text(), digest(), units(), bookkeeping(), of(down), any::<usize>()).prop_map(
        |(id, file, digest, units, bookkeeping, down, blob)| Pending {
            migration: Migration {
                id: MigrationId::new(id),
                file,
                digest,
                text: String::new(),
                units,
                bookkeeping,
                down,
            },
            blob,
        },
    )
}

fn format() -> impl Strategy<Value = Format> {
    select(dbd::domain::migration::formats().iter().map(|reader| reader.format()).collect::<Vec<_>>())
}

fn preflight() -> impl Strategy<Value = Preflight> {
    let server = (
        any::<u32>(),
        text(),
        of(text()),
        any::<i64>(),
        any::<[bool; 5]>(),
        vec((text(), text()), 0..2),
        vec(text(), 0..2),
    )
        .prop_map(|(version_num, version, system_identifier, size_bytes, flags, settings, roles)| ServerFacts {
            version_num,
            version,
            system_identifier: system_identifier.clone(),
            size_bytes,
            superuser: flags[0],
            read_only: flags[1],
            pooled: flags[2],
            owns_database: flags[3],
            has_public: flags[4],
            session_settings: settings.clone(),
            server_settings: settings,
            member_of: roles.clone(),
            roles,
            locale: system_identifier,
            ..samples::server()
        });
    let git = (text(), of(text()), any::<bool>(), vec(text(), 0..2), of(text())).prop_map(
        |(commit, branch, dirty, dirty_files, author)| GitState { commit, branch, dirty, dirty_files, author },
    );
    let swap =
        vec(text(), 0..2).prop_map(|why_not| SwapOffer { ways: vec![CaptureWay::Slot, CaptureWay::Triggers], why_not });
    let git = (of(git), of(swap));
    (vec(check(), 0..3), server, digest(), format(), text(), any::<usize>(), vec(pending(), 0..3), git).prop_map(
        |(checks, server, fingerprint, format, dir, applied, pending, (git, swap))| Preflight {
            table: (applied % 2 == 1).then(|| dir.clone()),
            checks,
            server,
            fingerprint,
            format,
            dir,
            applied,
            pending,
            git,
            swap,
        },
    )
}

fn rehearsal() -> impl Strategy<Value = Rehearsal> {
    let timing = (text(), any::<usize>(), any::<u64>()).prop_map(|(id, statements, duration_ms)| MigrationTiming {
        id: MigrationId::new(id),
        statements,
        duration_ms,
    });
    let forecast = (text(), text(), any::<u64>(), text(), of(any::<u64>()), of(text()), of(any::<(usize, usize)>()))
        .prop_map(|(object, lock, held_ms, blocks, low_ms, by, at)| Forecast {
            object,
            lock,
            held_ms,
            blocks,
            low_ms,
            high_ms: low_ms,
            basis: by.as_ref().map(|_| Basis::Sample),
            through: by.clone(),
            by,
            at,
        });
    let changes = btree_map(text(), any::<u64>(), 0..3);
    (
        vec(timing, 0..2),
        any::<bool>(),
        digest(),
        digest(),
        changes,
        vec(finding(), 0..3),
        vec(forecast, 0..2),
        vec(artifact(), 0..2),
    )
        .prop_map(
            |(
                migrations,
                roles_kept,
                fingerprint_before,
                fingerprint_after,
                changes,
                findings,
                forecast,
                artifacts,
            )| Rehearsal {
                migrations,
                roles_kept,
                fingerprints: vec![fingerprint_before.clone()],
                fingerprint_before,
                fingerprint_after,
                changes,
                findings,
                correction: forecast.first().map(|_| Correction { percent: 140, runs: 3 }),
                copy: forecast.iter().map(|one| one.object.clone()).collect(),
                timeline: forecast.first().map(|_| Timeline { total_ms: 7, ..Timeline::default() }),
                forecast,
                reverse: None,
                ways: vec![StepWay {
                    undo: UndoClass::Restore,
                    why_not: Vec::new(),
                    writes: Default::default(),
                    notes: Vec::new(),
                    rows: Some(RowsChanged::default()),
                }],
                artifacts,
            },
        )
}

fn readiness() -> impl Strategy<Value = Readiness> {
    (any::<u64>(), any::<u64>(), of(any::<u64>()), vec(text(), 0..2), of(text())).prop_map(
        |(transactions, rows, behind_bytes, residue, blocked)| Readiness {
            transactions,
            rows,
            behind_bytes,
            residue,
            blocked,
        },
    )
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let counts = any::<[u64; 3]>().prop_map(|[passed, failed, skipped]| TestCounts { passed, failed, skipped });
    let rows = || btree_map(text(), any::<i64>(), 0..3);
    let backup = (text(), digest(), any::<u64>(), digest(), rows(), text(), of(json())).prop_map(
        |(path, digest, bytes, fingerprint, rows, xid, base)| {
            let seen = if rows.is_empty() { Vec::new() } else { vec![xid.clone()] };
            // A JSON null would come back as nothing.
            let base = base.filter(|base| !base.is_null());
            Backup { path, digest, bytes, fingerprint, rows, xid, seen, base }
        },
    );
    prop_oneof![
        (json(), text()).prop_map(|(record, place)| Outcome::Capture { record, place }),
        readiness().prop_map(Outcome::Readiness),
        (of(any::<u64>()), text(), any::<u64>()).prop_map(|(fence_ms, kept, rows_compared)| {
            let pooler = fence_ms.map(|ms| format!("clients waited at the pooler for {ms} ms"));
            Outcome::Swapped(Swapped { fence_ms, kept, rows_compared, pooler })
        }),
        preflight().prop_map(|one| Outcome::Preflight(Box::new(one))),
        vec(check(), 0..3).prop_map(Outcome::Checks),
        backup.prop_map(|backup| Outcome::Dump(Box::new(backup))),
        (json(), text()).prop_map(|(location, place)| Outcome::Sandbox { location, place }),
        rehearsal().prop_map(|one| Outcome::Rehearsal(Box::new(one))),
        (of(any::<i32>()), of(counts), of(artifact())).prop_map(|(status, counts, output)| Outcome::Command(
            CommandReport { status, counts, output, previous: None }
        )),
        (any::<u64>(), any::<u32>(), of(text())).prop_map(|(duration_ms, tries, xid)| Outcome::Step(StepReport {
            duration_ms,
            tries,
            held_ms: xid.iter().map(|_| duration_ms).collect(),
            left_out: Vec::new(),
            xids: xid.clone().into_iter().collect(),
            xid,
        })),
        (digest(), text()).prop_map(|(fingerprint, xid)| Outcome::Fingerprint { fingerprint, xid }),
        (rows(), rows(), any::<bool>()).prop_map(|(written, missing, schema)| Outcome::Loss(Loss {
            deleted: missing.clone(),
            tracking: missing.clone(),
            written,
            missing,
            schema
        })),
        Just(Outcome::Done),
    ]
}

/// Without fractions: no adapter writes one, and not every one reads back to the bit.
fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        text().prop_map(Into::into),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Into::into),
            btree_map(text(), inner, 0..3).prop_map(|fields| serde_json::Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn plan() -> impl Strategy<Value = Plan> {
    let undo = select(vec![
        UndoClass::Restore,
        UndoClass::Nothing,
        UndoClass::Swap,
        UndoClass::InPlace(Box::new(samples::in_place())),
    ]);
    let step = (any::<usize>(), any::<usize>(), any::<bool>(), mode(), vec(span(), 0..3), digest(), undo).prop_map(
        |(migration, unit, last, mode, statements, digest, undo)| PlanStep {
            migration,
            unit,
            last,
            mode,
            statements,
            digest,
            undo,
        },
    );
    let migration = (text(), text(), digest(), any::<usize>(), bookkeeping()).prop_map(
        |(id, file, digest, statements, bookkeeping)| PlannedMigration {
            id: MigrationId::new(id),
            file,
            digest,
            statements,
            bookkeeping,
        },
    );
    (
        format(),
        vec(migration, 0..3),
        vec(step, 0..4),
        digest(),
        digest(),
        any::<[u64; 3]>(),
        of(any::<u64>()),
        any::<[bool; 2]>(),
    )
        .prop_map(
            |(
                format,
                migrations,
                steps,
                fingerprint_before,
                fingerprint_after,
                limits,
                statement_timeout_ms,
                flags,
            )| Plan {
                format,
                migrations,
                steps,
                fingerprint_before,
                fingerprint_after,
                roles_compared: flags[0],
                migration_timeout_ms: limits[0],
                lock_timeout_ms: limits[1],
                lock_budget_ms: limits[2],
                statement_timeout_ms,
                approval_required: flags[1],
                capture: flags[0].then_some(CaptureWay::Slot),
            },
        )
}

/// An event of any kind, with any content.
pub fn event() -> impl Strategy<Value = Event> {
    let verdict = prop_oneof![
        outcome().prop_map(|outcome| Verdict::Applied { outcome }),
        Just(Verdict::NotApplied),
        (outcome(), failure()).prop_map(|(outcome, failure)| Verdict::PartlyApplied { outcome, failure }),
        Just(Verdict::Unknown),
    ];
    let why = select(vec![Pause::Interrupted, Pause::AwaitingApproval, Pause::Unreachable]);
    let reason = || of(text());
    prop_oneof![
        request().prop_map(|one| Event::Requested(Box::new(one))),
        (text(), any::<u32>(), any::<u64>()).prop_map(|(host, pid, epoch)| Event::LeaseTaken { host, pid, epoch }),
        why.prop_map(|why| Event::Paused { why }),
        (effect(), id(), any::<u32>()).prop_map(|(effect, id, attempt)| Event::Intended { effect, id, attempt }),
        (id(), outcome(), any::<u64>()).prop_map(|(id, outcome, duration_ms)| Event::Succeeded {
            id,
            outcome,
            duration_ms
        }),
        (id(), failure(), of(outcome()), any::<u64>()).prop_map(|(id, failure, partial, duration_ms)| Event::Failed {
            id,
            failure,
            partial,
            duration_ms
        }),
        (id(), text()).prop_map(|(id, evidence)| Event::Fenced { id, evidence }),
        (id(), verdict, text()).prop_map(|(id, verdict, evidence)| Event::Reconciled { id, verdict, evidence }),
        (id(), any::<bool>(), text()).prop_map(|(id, applied, reason)| Event::Ruled { id, applied, reason }),
        (plan(), digest(), vec(finding(), 0..3)).prop_map(|(plan, digest, findings)| Event::Planned {
            plan: Box::new(plan),
            digest,
            findings
        }),
        (digest(), reason()).prop_map(|(plan_digest, reason)| Event::Approved { plan_digest, reason }),
        reason().prop_map(|reason| Event::Rejected { reason }),
        reason().prop_map(|reason| Event::CancelRequested { reason }),
        failure().prop_map(|why| Event::RollbackStarted { why }),
        (reason(), any::<bool>()).prop_map(|(reason, restore)| Event::RollbackRequested { reason, restore }),
        text().prop_map(|why| Event::CaptureEnded { why }),
        readiness().prop_map(|readiness| Event::WayChecked { readiness }),
        Just(Event::RunSucceeded),
        Just(Event::RolledBack),
        (vec(failure(), 0..3), vec(finding(), 0..3))
            .prop_map(|(reasons, findings)| Event::Refused { reasons, findings }),
        Just(Event::Rehearsed),
        failure().prop_map(|why| Event::Halted { why }),
        reason().prop_map(|reason| Event::Abandoned { reason }),
        vec(artifact(), 0..3).prop_map(|files| Event::ArtifactsWritten { files }),
    ]
}

/// The same event about the effect in flight, so that it is not refused for its id alone.
fn about_the_flight(event: Event, run: &Run) -> Event {
    let Some(flight) = &run.flight else { return event };
    let mut event = event;
    match &mut event {
        Event::Succeeded { id, .. }
        | Event::Failed { id, .. }
        | Event::Fenced { id, .. }
        | Event::Reconciled { id, .. }
        | Event::Ruled { id, .. } => *id = flight.id.clone(),
        _ => {}
    }
    event
}

/// Everything that is asked of a run.
fn ask(run: &Run) {
    let _ = (next(run), run.facts(), run.phases(), run.duration_ms(), blocks_target(run));
    let reason = || Some("why".to_owned());
    for command in [
        Command::Approve { reason: reason() },
        Command::Reject { reason: reason() },
        Command::Cancel { reason: reason() },
        Command::RollBack { reason: reason(), restore: false },
        Command::Rule { applied: true, reason: String::new() },
    ] {
        let _ = decide(run, command);
    }
    let plan = recovery(&[Found { run: run.clone(), held_by: None }]);
    let places = plan.resumable.len() + plan.waiting.len() + plan.halted.len() + plan.held.len();
    let open = !run.state.is_settled() && run.rseq > 0;
    assert_eq!(places, usize::from(open), "an open run is in exactly one list");
}

proptest! {
    #[test]
    fn any_sequence_of_events_is_folded_or_refused(
        case in case(),
        choices in choices(),
        events in vec((event(), any::<i64>(), prop::bool::weighted(0.8)), 1..24),
    ) {
        // From somewhere within a run, not only from its beginning.
        let (_, situations) = history(case, &choices).map_err(TestCaseError::fail)?;
        let mut run = situations[situations.len() - 1].run.clone();
        for (event, ts_ms, fitting) in events {
            let recorded = Recorded {
                seq: run.seq.wrapping_add(1),
                rseq: run.rseq + 1,
                ts_ms,
                epoch: 1,
                actor: samples::actor("mallory"),
                event: if fitting { about_the_flight(event, &run) } else { event },
                refs: Vec::new(),
                hash: String::new(),
            };
            match evolve(&run, &recorded) {
                Ok(next) => run = next,
                Err(Misfit::Illegal { illegal, .. }) => prop_assert_eq!(illegal.event, recorded.event.kind()),
                Err(gap) => prop_assert!(false, "{}", gap),
            }
            ask(&run);
        }
    }

    #[test]
    fn an_event_with_one_missing_before_it_is_refused(case in case(), choices in choices(), event in event(), rseq in any::<u64>()) {
        let (_, situations) = history(case, &choices).map_err(TestCaseError::fail)?;
        let run = &situations[situations.len() - 1].run;
        prop_assume!(rseq != run.rseq + 1);
        let recorded = Recorded {
            seq: 1,
            rseq,
            ts_ms: 0,
            epoch: 1,
            actor: samples::actor("mallory"),
            event,
            refs: Vec::new(),
            hash: String::new(),
        };
        let is_gap = matches!(evolve(run, &recorded), Err(Misfit::Gap { expected, found, .. }) if expected == run.rseq + 1 && found == rseq);
        prop_assert!(is_gap);
    }
}
