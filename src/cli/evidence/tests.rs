//! Bundles made of a real journal, whole and damaged in every way there is; each damage is named, by dbd and by the verifier in Python.

use super::export::{Made, export};
use super::period::Asked;
use super::verify::{Against, Verified, verify};
use super::*;
use crate::cli::render::testing::{self, Story};
use crate::config::{self, Config};
use crate::domain::audit::AuditEvent;
use crate::domain::event::{Actor, Event, Outcome};
use crate::domain::ids::{EffectId, RunId};
use crate::ports::journal::{Journal, NewEvent};
use crate::wire::OpenJournal;
use data_encoding::{BASE64, HEXLOWER};
use dbd_journal::chain;
use dbd_journal::export::Line;
use dbd_journal::merkle::{Tree, leaf};
use dbd_journal::note::{Checkpoint, PublicKey, SigningKey};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::process::Command;

const DAY: i64 = 86_400_000;

fn carol() -> Actor {
    Actor { kind: "human".into(), id: "carol".into(), via: "os".into(), host: "build-7".into() }
}

/// A project with a journal of its own, and no server.
struct Project {
    folder: tempfile::TempDir,
    config: Config,
    journal: OpenJournal,
}

impl Project {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs_err::write(folder.path().join("dbd.toml"), "").unwrap();
        let config = config::load(folder.path(), None, None, &BTreeMap::new()).unwrap();
        let journal = crate::wire::journal(&config).unwrap();
        Self { folder, config, journal }
    }

    /// Appends a story's events as a run of its own, `days` after the beginning.
    fn tell(&mut self, story: &Story, days: i64) -> RunId {
        let start = testing::START + days * DAY;
        let id = RunId::new(&story.run.id.environment(), start);
        for (rseq, recorded) in (0..).zip(&story.events) {
            let texts = match &recorded.event {
                Event::Succeeded { outcome: Outcome::Preflight(found), .. } => {
                    vec![b"text".to_vec(); found.pending.len()]
                }
                _ => Vec::new(),
            };
            self.journal
                .append(NewEvent {
                    run: &id,
                    expected_rseq: rseq,
                    now_ms: recorded.ts_ms + days * DAY,
                    epoch: recorded.epoch,
                    actor: &recorded.actor,
                    event: &recorded.event,
                    blobs: texts,
                })
                .unwrap();
        }
        id
    }

    fn note(&mut self, event: &AuditEvent, days: i64) {
        let mut trail = self.journal.trail().unwrap();
        self.journal.append_audit(&mut trail, event, &carol(), testing::START + days * DAY).unwrap();
    }

    fn export(&mut self, name: &str, since: i64, until: Option<i64>) -> Made {
        let at = |days: i64| crate::domain::time::rfc3339(testing::START + days * DAY);
        let asked = Asked { since: at(since), until: until.map(at), env: None };
        self.export_as(name, &asked).unwrap()
    }

    fn export_as(&mut self, name: &str, asked: &Asked) -> Result<Made, crate::domain::failure::Failure> {
        let out = self.folder.path().join(name);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(export(&self.config, &mut self.journal, &carol(), asked, &out))
    }

    fn key(&self) -> SigningKey {
        SigningKey::parse(crate::wire::audit_key_file(&self.config).read().unwrap().unwrap().expose()).unwrap()
    }
}

/// Six runs over ten days: what a period is made of, with one run that began before it and a review in it.
fn project() -> (Project, RunId) {
    let mut project = Project::new();
    project.tell(&testing::refused(), 0);
    let good = project.tell(&testing::good(), 1);
    project.tell(&testing::rolled_back(), 3);
    project.tell(&testing::interrupted(), 5);
    project.note(&AuditEvent::Reviewed { run: good.clone(), reason: "the column was read by nobody".into() }, 6);
    project.tell(&testing::abandoned(), 7);
    project.tell(&testing::waiting(), 9);
    (project, good)
}

fn codes(verified: &Verified) -> Vec<(&'static str, Option<u64>)> {
    let mut codes: Vec<_> = verified.findings.iter().map(|one| (one.code.as_str(), one.seq)).collect();
    codes.dedup();
    codes
}

fn checked(folder: &Path) -> Verified {
    verify(folder, &Against::default()).unwrap()
}

/// What the verifier in Python says: its status and its lines.
fn python(folder: &Path, more: &[&str]) -> (i32, String) {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/verify_bundle.py");
    let output = Command::new("python3").arg(program).arg(folder).args(more).output().expect("python3 is there");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), text)
}

#[test]
fn a_bundle_holds_the_whole_period_and_verifies_with_dbd_and_without() {
    let (mut project, good) = project();
    let made = project.export("bundle", 2, Some(8));
    let verified = checked(&made.folder);
    assert_eq!(verified.findings, [], "{:?}", verified.notes);
    assert_eq!(python(&made.folder, &[&made.key]), (0, "sound\n".to_owned()));
    assert_eq!(verified.key.as_deref(), Some(made.key.as_str()));

    // Rolled back, interrupted and abandoned ones, and the one that was reviewed; not those before and after.
    let report: Value = serde_json::from_slice(&fs_err::read(made.folder.join(REPORT_JSON)).unwrap()).unwrap();
    let runs: Vec<&str> =
        report["entries"].as_array().unwrap().iter().map(|one| one["outcome"].as_str().unwrap()).collect();
    assert_eq!(runs, ["succeeded", "rolled_back", "interrupted", "abandoned"]);
    let reviewed = &report["entries"][0];
    assert_eq!((&reviewed["run"], &reviewed["emergency"]["is"]), (&json!(good), &json!(true)));
    assert_eq!(reviewed["emergency"]["reviews"][0]["by"], "carol");
    assert_eq!(report["emergencies_without_review"], 3, "approval was switched off for them");
    assert_eq!((verified.runs, made.parameters.runs), (4, 4));
    let lines = |name: &str| fs_err::read_to_string(made.folder.join(name)).unwrap().lines().count() as u64;
    assert_eq!(lines(BEFORE) + lines(EVENTS) + lines(AFTER), made.parameters.size);
    assert_eq!(lines(EVENTS), verified.events);
    // The stories plant a secret where no real journal has one; what is made of the events does not repeat it.
    for (name, text) in texts(&made.folder).into_iter().filter(|(name, _)| ![EVENTS, CONTEXT].contains(&name.as_str()))
    {
        assert!(!text.contains(testing::SECRET), "{name}");
    }
    // The digests are those that a stranger's own tool computes.
    let sums = Command::new("sha256sum").args(["-c", "--quiet", SUMS]).current_dir(&made.folder).output().unwrap();
    assert!(sums.status.success(), "{sums:?}");
}

fn texts(folder: &Path) -> Vec<(String, String)> {
    let all = fs_err::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    all.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs_err::read_to_string(path).unwrap()))
        .collect()
}

#[test]
fn periods_of_every_kind_verify() {
    let (mut project, _) = project();
    for (at, (since, until)) in (0..).zip([
        (-5, None),
        (-5, Some(-4)),
        (2, None),
        (20, None),
        (0, Some(1)),
        (-5, Some(4)),
        (4, Some(4)),
        (20, Some(21)),
    ]) {
        let made = project.export(&format!("bundle-{at}"), since, until);
        let verified = checked(&made.folder);
        assert_eq!(verified.findings, [], "{since} {until:?}");
        assert_eq!(python(&made.folder, &[]), (0, "sound\n".to_owned()), "{since} {until:?}");
    }
    // Only one environment is told of; the events are all there.
    let asked = Asked { since: "2024-01-01".into(), until: None, env: Some("dev".into()) };
    let made = project.export_as("dev", &asked).unwrap();
    assert_eq!((checked(&made.folder).findings, made.parameters.runs), (vec![], 0));
    assert_eq!(python(&made.folder, &[]).0, 0);
    assert!(fs_err::read_to_string(made.folder.join(REPORT_MD)).unwrap().contains("env dev"));
}

#[test]
fn bundles_of_two_periods_continue_each_other_across_a_new_key() {
    let (mut project, _) = project();
    let first = project.export("one", 0, Some(4));
    super::keys::rotate(&project.config, &mut project.journal, &carol(), None).unwrap();
    let second = project.export("two", 4, Some(8));
    assert_ne!(first.key, second.key);
    assert_eq!(first.parameters.last_seq + 1, second.parameters.first_seq, "no event is lost between");
    let note = fs_err::read_to_string(first.folder.join(LAST)).unwrap();
    let against = Against { earlier: Some(note), key: PublicKey::parse(&second.key) };
    assert_eq!(verify(&second.folder, &against).unwrap().findings, []);
    let earlier = first.folder.join(LAST);
    assert_eq!(python(&second.folder, &[&second.key, earlier.to_str().unwrap()]), (0, "sound\n".to_owned()));
    // The later checkpoint is no beginning of the earlier bundle.
    let note = fs_err::read_to_string(second.folder.join(LAST)).unwrap();
    let verified = verify(&first.folder, &Against { earlier: Some(note), key: None }).unwrap();
    assert!(verified.findings.iter().any(|one| one.code == Code::HistoryRewritten), "{:?}", codes(&verified));
    assert_eq!(python(&first.folder, &["", second.folder.join(LAST).to_str().unwrap()]).0, 6);
}

#[test]
fn nothing_is_overwritten_and_nothing_is_left_when_it_fails() {
    let (mut project, _) = project();
    project.export("bundle", 0, None);
    let failure = project.export_as("bundle", &Asked { since: "30d".into(), ..Asked::default() }).err().unwrap();
    assert_eq!(failure.code, Code::AlreadyThere);
    let failure = project.export_as("other", &Asked { since: "nonsense".into(), ..Asked::default() }).err().unwrap();
    assert_eq!(failure.code, Code::BadArgument);
    let left: Vec<PathBuf> =
        fs_err::read_dir(project.folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.iter().all(|path| !path.to_string_lossy().contains("partial")), "{left:?}");
}

#[test]
fn a_folder_that_is_no_bundle_is_told_apart_from_a_bad_one() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(verify(folder.path(), &Against::default()).err().unwrap().code, Code::NoBundle);
    assert_eq!(python(folder.path(), &[]).0, 2);
}

// ---- damage ----

/// A copy of a bundle to be damaged.
struct Copy {
    folder: tempfile::TempDir,
    /// The journal's key, for whoever got hold of it.
    key: SigningKey,
}

impl Copy {
    fn of(made: &Made, key: SigningKey) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in texts(&made.folder) {
            fs_err::write(folder.path().join(name), text).unwrap();
        }
        Self { folder, key }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs_err::read_to_string(self.path(name)).unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        fs_err::write(self.path(name), text).unwrap();
    }

    fn lines(&self, change: impl FnOnce(&mut Vec<String>)) {
        let mut lines: Vec<String> = self.read(EVENTS).lines().map(str::to_owned).collect();
        change(&mut lines);
        self.write(EVENTS, &(lines.join("\n") + "\n"));
    }

    fn replace(&self, name: &str, from: &str, to: &str) {
        let text = self.read(name);
        assert!(text.contains(from), "{name} has no `{from}`");
        self.write(name, &text.replacen(from, to, 1));
    }

    /// Makes the manifest and the sums right again, as anybody can.
    fn relist(&self) {
        let mut manifest: Manifest = serde_json::from_str(&self.read(MANIFEST)).unwrap();
        let list = |name: &str| {
            let bytes = fs_err::read(self.path(name)).unwrap();
            Listed { sha256: HEXLOWER.encode(&Sha256::digest(&bytes)), bytes: bytes.len() as u64 }
        };
        manifest.files.retain(|name, _| self.path(name).exists());
        for name in FILES.iter().filter(|name| self.path(name).exists() && **name != SUMS) {
            manifest.files.insert((*name).to_owned(), list(name));
        }
        let listed = manifest.files.iter().filter(|(name, _)| *name != SUMS);
        let sums = listed.fold(String::new(), |sums, (name, file)| format!("{sums}{}  {name}\n", file.sha256));
        self.write(SUMS, &sums);
        manifest.files.insert(SUMS.to_owned(), list(SUMS));
        let lines: Vec<Line> = self.read(EVENTS).lines().filter_map(Line::parse).collect();
        manifest.chain = lines.first().zip(lines.last()).map(|(first, last)| (first.prev.clone(), last.hash.clone()));
        self.write(MANIFEST, &(serde_json::to_string_pretty(&manifest).unwrap() + "\n"));
    }

    /// As [`Copy::relist`], and seals it, as only a holder of `key` can.
    fn reseal(&self, key: &SigningKey) {
        self.relist();
        let manifest: Manifest = serde_json::from_str(&self.read(MANIFEST)).unwrap();
        let sha256 = HEXLOWER.encode(&Sha256::digest(self.read(MANIFEST).as_bytes()));
        self.write(SEAL, &key.sign(&seal_text(&manifest.origin, &sha256)));
    }

    /// Gives every event from `from` on a hash that is right again.
    fn rechain(&self, from: usize) {
        self.lines(|lines| {
            let mut parsed: Vec<Line> = lines.iter().map(|line| Line::parse(line).unwrap()).collect();
            for at in from..parsed.len() {
                if at > 0 {
                    parsed[at].prev = parsed[at - 1].hash.clone();
                }
                let prev = chain::parse(&parsed[at].prev).unwrap();
                parsed[at].hash = chain::printed(&chain::link(&prev, parsed[at].rec.as_bytes()));
            }
            *lines = parsed.iter().map(Line::text).collect();
        });
    }

    /// Signs the roots that the files give now.
    fn recheckpoint(&self, key: &SigningKey) {
        let parameters: Parameters = serde_json::from_str(&self.read(PARAMETERS)).unwrap();
        let mut tree = Tree::default();
        let leaves = |name: &str| -> Vec<[u8; 32]> {
            self.read(name).lines().map(|line| HEXLOWER.decode(line.as_bytes()).unwrap().try_into().unwrap()).collect()
        };
        leaves(BEFORE).into_iter().for_each(|leaf| tree.push(leaf));
        let first = tree.clone();
        self.read(EVENTS).lines().for_each(|line| tree.push(leaf(Line::parse(line).unwrap().rec.as_bytes())));
        leaves(AFTER).into_iter().for_each(|leaf| tree.push(leaf));
        let sign = |tree: &Tree| {
            key.sign(&Checkpoint { origin: parameters.origin.clone(), size: tree.size(), root: tree.root() }.text())
        };
        self.write(FIRST, &sign(&first));
        self.write(LAST, &sign(&tree));
    }

    fn found(&self, against: &Against) -> Verified {
        verify(self.folder.path(), against).unwrap()
    }
}

/// Every kind of damage by somebody who may write the bundle and has no key: the manifest is made right again as far as they can.
#[test]
fn whatever_is_done_to_a_bundle_without_its_key_is_named() {
    let (mut project, _) = project();
    let made = project.export("bundle", 2, Some(8));
    let (first, last) = (made.parameters.first_seq, made.parameters.last_seq);
    let stranger = SigningKey::generate("dbd/stranger").unwrap();
    type Damage<'a> = Box<dyn Fn(&Copy) + 'a>;
    let cases: Vec<(&str, Damage<'_>, &str, Option<u64>)> = vec![
        (
            "edit an event",
            Box::new(|copy| copy.lines(|lines| lines[3] = lines[3].replacen("alice", "mally", 1))),
            "DBD-1006",
            Some(first + 3),
        ),
        ("delete an event", Box::new(|copy| copy.lines(|lines| drop(lines.remove(3)))), "DBD-1006", Some(first + 4)),
        (
            "put an event in",
            Box::new(|copy| copy.lines(|lines| lines.insert(3, lines[2].clone()))),
            "DBD-1006",
            Some(first + 2),
        ),
        ("swap two events", Box::new(|copy| copy.lines(|lines| lines.swap(3, 4))), "DBD-1006", Some(first + 4)),
        ("cut the last event", Box::new(|copy| copy.lines(|lines| drop(lines.pop()))), "DBD-1006", Some(last)),
        (
            "cut a line short",
            Box::new(|copy| copy.write(EVENTS, &copy.read(EVENTS)[..copy.read(EVENTS).len() - 40])),
            "DBD-1006",
            Some(last),
        ),
        (
            "edit an event and hash it anew",
            Box::new(|copy| {
                copy.lines(|lines| lines[3] = lines[3].replacen("alice", "mally", 1));
                copy.rechain(3);
            }),
            "DBD-1007",
            Some(made.parameters.size),
        ),
        ("edit an earlier event of a run", Box::new(|copy| copy.replace(CONTEXT, "alice", "mally")), "DBD-1006", None),
        (
            "leave out an earlier event",
            Box::new(|copy| copy.write(CONTEXT, copy.read(CONTEXT).split_once('\n').unwrap().1)),
            "DBD-0708",
            None,
        ),
        (
            "another leaf before",
            Box::new(|copy| copy.write(BEFORE, &copy.read(BEFORE).replacen('a', "b", 1))),
            "DBD-1007",
            None,
        ),
        (
            "a leaf less after",
            Box::new(|copy| copy.write(AFTER, copy.read(AFTER).split_once('\n').unwrap().1)),
            "DBD-1009",
            None,
        ),
        (
            "swap the checkpoints",
            Box::new(|copy| {
                let (one, two) = (copy.read(FIRST), copy.read(LAST));
                copy.write(FIRST, &two);
                copy.write(LAST, &one);
            }),
            "DBD-1009",
            None,
        ),
        (
            "edit a checkpoint",
            Box::new(|copy| copy.replace(LAST, &format!("\n{}\n", made.parameters.size), "\n7\n")),
            "DBD-1004",
            None,
        ),
        ("sign a checkpoint with another key", Box::new(|copy| copy.recheckpoint(&stranger)), "DBD-1004", None),
        (
            "another consistency proof",
            Box::new(|copy| copy.replace(CONSISTENCY, "\"proof\": [", "\"proof\": [\n\"\",")),
            "DBD-1008",
            None,
        ),
        (
            "change the report",
            Box::new(|copy| copy.replace(REPORT_JSON, "\"rolled_back\"", "\"succeeded\"")),
            "DBD-1010",
            None,
        ),
        (
            "take a run out of the report",
            Box::new(|copy| copy.replace(REPORT_CSV, "deploy-prod", "deploy-prob")),
            "DBD-1010",
            None,
        ),
        ("reword the report", Box::new(|copy| copy.replace(REPORT_MD, "rolled back", "succeeded")), "DBD-1010", None),
        (
            "widen the window",
            Box::new(|copy| {
                copy.replace(PARAMETERS, &format!("\"since_ms\": {}", made.parameters.since_ms), "\"since_ms\": 0")
            }),
            "DBD-1009",
            None,
        ),
        (
            "narrow the window",
            Box::new(|copy| {
                copy.replace(
                    PARAMETERS,
                    &format!("\"until_ms\": {}", made.parameters.until_ms),
                    &format!("\"until_ms\": {}", made.parameters.since_ms),
                )
            }),
            "DBD-1009",
            None,
        ),
        (
            "drop the ledger's target",
            Box::new(|copy| copy.write(LEDGER, r#"{"schema":"dbd.ledger-match/1","checked_ms":0,"targets":[]}"#)),
            "DBD-1011",
            None,
        ),
        ("another public key", Box::new(|copy| copy.write(KEY, &format!("{}\n", stranger.public()))), "DBD-1004", None),
        ("no public key", Box::new(|copy| copy.write(KEY, "none\n")), "DBD-1004", None),
        ("remove a file", Box::new(|copy| fs_err::remove_file(copy.path(LEDGER)).unwrap()), "DBD-1003", None),
        ("remove the seal", Box::new(|copy| fs_err::remove_file(copy.path(SEAL)).unwrap()), "DBD-1003", None),
        ("add a file", Box::new(|copy| copy.write("extra.txt", "x")), "DBD-1003", None),
        ("change the instructions", Box::new(|copy| copy.replace(VERIFY, "ask for it", "take it")), "DBD-1004", None),
        ("seal it with another key", Box::new(|copy| copy.reseal(&stranger)), "DBD-1004", None),
    ];
    for (name, damage, code, seq) in cases {
        for relisted in [false, true] {
            let copy = Copy::of(&made, project.key());
            damage(&copy);
            if relisted && !name.starts_with("seal") && !name.starts_with("remove the seal") && name != "add a file" {
                copy.relist();
            }
            let verified = copy.found(&Against::default());
            let found = codes(&verified);
            let named = found.iter().any(|one| one.0 == code && seq.is_none_or(|seq| one.1 == Some(seq)));
            // Whoever cannot seal a manifest leaves the mark of that, too.
            let wanted = if code == "DBD-1004" && !relisted { "DBD-1003" } else { code };
            assert!(named || found.iter().any(|one| one.0 == wanted), "{name} ({relisted}): {:?}", verified.findings);
            assert!(relisted || !found.is_empty(), "{name}");
            if relisted {
                let (status, said) = python(copy.folder.path(), &[&made.key]);
                assert_eq!(status, 6, "{name}: {said}");
            }
        }
    }
}

/// Somebody who holds the key can make a bundle that is right by itself, and not one that says something else than its own events.
#[test]
fn whatever_a_holder_of_the_key_does_inside_a_bundle_is_named_where_it_contradicts_itself() {
    let (mut project, _) = project();
    let made = project.export("bundle", 2, Some(8));
    let (key, first) = (project.key(), made.parameters.first_seq);
    type Damage<'a> = Box<dyn Fn(&Copy) + 'a>;
    let cases: Vec<(&str, Damage<'_>, &str)> = vec![
        (
            "reports something else",
            Box::new(|copy| copy.replace(REPORT_JSON, "\"rolled_back\"", "\"succeeded\"")),
            "DBD-1010",
        ),
        ("leaves a run out", Box::new(|copy| copy.replace(REPORT_MD, "rolled back", "succeeded")), "DBD-1010"),
        ("tells of fewer runs", Box::new(|copy| copy.replace(PARAMETERS, "\"runs\": 4", "\"runs\": 3")), "DBD-1010"),
        (
            "writes a history that cannot be",
            Box::new(|copy| {
                copy.lines(|lines| {
                    let at = lines.iter().position(|line| line.contains("run.lease_taken")).unwrap();
                    lines[at] = lines[at].replacen("run.lease_taken", "run.rolled_back", 1);
                });
                copy.rechain(0);
                copy.recheckpoint(&key);
            }),
            "DBD-0708",
        ),
        (
            "moves the window",
            Box::new(|copy| {
                copy.replace(PARAMETERS, &format!("\"since_ms\": {}", made.parameters.since_ms), "\"since_ms\": 1")
            }),
            "DBD-1009",
        ),
    ];
    for (name, damage, code) in cases {
        let copy = Copy::of(&made, project.key());
        damage(&copy);
        copy.reseal(&copy.key);
        let verified = copy.found(&Against::default());
        assert!(verified.findings.iter().any(|one| one.code.as_str() == code), "{name}: {:?}", verified.findings);
        assert!(!verified.findings.iter().any(|one| one.code == Code::BadSignature), "{name}");
    }

    // A history rewritten and signed with the right key: right by itself, and betrayed by a note from before.
    let note = Some(Copy::of(&made, project.key()).read(LAST));
    let copy = Copy::of(&made, project.key());
    copy.lines(|lines| lines[1] = lines[1].replacen("build-7", "build-8", 1));
    copy.rechain(1);
    copy.recheckpoint(&key);
    copy.write(CONSISTENCY, &copy.read(CONSISTENCY));
    copy.reseal(&key);
    let verified = copy.found(&Against { earlier: note.clone(), key: None });
    let rewritten = verified.findings.iter().any(|one| one.code == Code::HistoryRewritten);
    assert!(rewritten && first > 1, "{:?}", verified.findings);

    // Everything signed anew with a key of their own: the events name another, and so does whoever was given it before.
    let stranger = SigningKey::generate(&made.parameters.origin).unwrap();
    let copy = Copy::of(&made, project.key());
    copy.write(KEY, &format!("{}\n", stranger.public()));
    copy.recheckpoint(&stranger);
    copy.reseal(&stranger);
    let given = PublicKey::parse(&made.key);
    for against in [Against::default(), Against { earlier: None, key: given }] {
        assert!(copy.found(&against).findings.iter().any(|one| one.code == Code::StrangeKey));
    }
    assert_eq!(python(copy.folder.path(), &[]).0, 6);
}

/// The roots are over what the events say, and the hashes between them only the chain knows: each is computed, not merely compared with the next.
#[test]
fn a_hash_that_is_not_what_the_event_says_is_named_though_every_link_and_root_fits() {
    let (mut project, _) = project();
    let made = project.export("bundle", 2, Some(8));
    let copy = Copy::of(&made, project.key());
    let lines: Vec<Line> = copy.read(EVENTS).lines().map(|line| Line::parse(line).unwrap()).collect();
    let (old, other) = (lines[1].hash.clone(), chain::printed(&[7; 32]));
    assert!(lines.len() > 3 && lines[2].prev == old, "the next one links to it");
    for name in [EVENTS, CONTEXT] {
        copy.write(name, &copy.read(name).replace(&old, &other));
    }
    copy.reseal(&copy.key);
    let seq = lines[1].seq;
    assert!(copy.found(&Against::default()).findings.iter().any(|one| one.seq == Some(seq)));
    let (status, said) = python(copy.folder.path(), &[&made.key]);
    assert_eq!(
        (status, said.as_str()),
        (
            6,
            format!(
                "event {seq}: its hash is not that of what it says\nevent {}: its hash is not that of what it says\n",
                seq + 1
            )
            .as_str()
        )
    );
}

/// A bundle whose target was asked: rows that match, one taken out, one put in, one that names another event.
#[test]
fn a_ledger_that_differs_is_named_row_by_row() {
    let (mut project, good) = project();
    let made = project.export("bundle", 0, None);
    let copy = Copy::of(&made, project.key());
    let intents: Vec<(EffectId, u64, String)> =
        checked(&made.folder).steps.iter().flat_map(|steps| steps.intents.clone()).collect();
    let rows: Vec<LedgerRow> = checked(&made.folder)
        .steps
        .iter()
        .flat_map(|steps| steps.intents.iter().map(|intent| (steps.run.clone(), intent.clone())))
        .map(|(run, (effect, seq, hash))| LedgerRow {
            effect: effect.as_str().to_owned(),
            phase: "applied".to_owned(),
            run: run.as_str().to_owned(),
            step: "migration 1, unit 1".to_owned(),
            digest: "b3:x".to_owned(),
            seq,
            hash,
            role: "deployer".to_owned(),
            xid: "7".to_owned(),
            at_ms: 0,
        })
        .collect();
    assert!(rows.len() > 3 && rows.iter().any(|row| row.run == good.as_str()));
    let target = made.ledger.targets[0].clone();
    let with = |rows: &[LedgerRow]| {
        let target = TargetLedger { reached: true, why: None, rows: rows.to_vec(), ..target.clone() };
        let ledger = LedgerFile { targets: vec![target], ..made.ledger.clone() };
        copy.write(LEDGER, &serde_json::to_string(&ledger).unwrap());
        copy.reseal(&copy.key);
        codes(&copy.found(&Against::default()))
    };
    assert_eq!(with(&rows), []);
    assert_eq!(python(copy.folder.path(), &[]).0, 0);
    let done: Vec<(EffectId, String, u64)> =
        checked(&made.folder).steps.iter().flat_map(|steps| steps.done.clone()).collect();
    let all_but_one: Vec<LedgerRow> = rows.iter().filter(|row| row.effect != done[0].0.as_str()).cloned().collect();
    // The stories share their effects, so this is one row of each.
    let taken_out = with(&all_but_one);
    assert!(taken_out.contains(&("DBD-1011", Some(done[0].2))), "{taken_out:?}");
    assert!(taken_out.iter().all(|(code, seq)| *code == "DBD-1011" && done.iter().any(|done| Some(done.2) == *seq)));
    let another = LedgerRow { seq: 2, ..rows[0].clone() };
    assert!(with(&[&rows[..], &[another]].concat()).contains(&("DBD-1011", Some(2))));
    assert_eq!(python(copy.folder.path(), &[]).0, 6);
    let other_hash = LedgerRow { hash: intents[1].2.clone(), ..rows[0].clone() };
    assert!(with(&[&[other_hash], &rows[1..]].concat()).contains(&("DBD-1011", Some(rows[0].seq))));
}

#[test]
fn a_key_that_was_lost_or_swapped_is_not_replaced_in_silence() {
    let (mut project, _) = project();
    project.export("one", 0, None);
    let file = crate::wire::audit_key_file(&project.config);
    let old = file.read().unwrap().unwrap();
    let refused = |project: &mut Project| {
        project.export_as("two", &Asked { since: "30d".into(), ..Asked::default() }).err().unwrap().code
    };
    fs_err::remove_file(file.path()).unwrap();
    assert_eq!(refused(&mut project), Code::AuditKeyUnusable);
    let stranger = SigningKey::generate("dbd/stranger").unwrap();
    file.write(&crate::domain::secret::Secret::new(stranger.secret())).unwrap();
    assert_eq!(refused(&mut project), Code::AuditKeyUnusable);
    let rotate = |project: &mut Project, reason: Option<&str>| {
        super::keys::rotate(&project.config, &mut project.journal, &carol(), reason)
    };
    assert_eq!(rotate(&mut project, None).unwrap_err().code, Code::BadArgument);
    rotate(&mut project, Some("the disk burnt")).unwrap();
    let made = project.export("two", 0, None);
    let verified = checked(&made.folder);
    assert_eq!(verified.findings, []);
    assert!(verified.notes.iter().any(|note| note.contains("did not vouch for it")), "{:?}", verified.notes);
    assert_ne!(file.read().unwrap().unwrap(), old);
}

#[test]
fn a_rotation_that_was_cut_short_is_finished_or_forgotten() {
    let (mut project, _) = project();
    project.export("one", 0, None);
    let file = crate::wire::audit_key_file(&project.config);
    // Cut short before the event: the waiting key is nobody's.
    let waiting = SigningKey::generate(&project.journal.origin()).unwrap();
    file.write_next(&crate::domain::secret::Secret::new(waiting.secret())).unwrap();
    let made = project.export("two", 0, None);
    assert_ne!(made.key, waiting.public().to_string());
    // Cut short after it: the waiting key signs from now on.
    let event = AuditEvent::KeyRotated {
        from: made.key.clone(),
        key: waiting.public().to_string(),
        endorsement: Some(project.key().sign(&super::keys::endorsement(&waiting.public().to_string()))),
        reason: None,
    };
    project.note(&event, 10);
    let made = project.export("three", 0, None);
    assert_eq!(made.key, waiting.public().to_string());
    assert_eq!(checked(&made.folder).findings, []);
    assert_eq!(python(&made.folder, &[]).0, 0);
}

#[test]
fn a_journal_that_does_not_continue_what_was_signed_is_not_signed_again() {
    let (mut project, _) = project();
    let made = project.export("one", 0, None);
    project.note(
        &AuditEvent::Exported {
            size: made.checkpoint.size,
            root: BASE64.encode(&[7; 32]),
            key: made.key.clone(),
            manifest: String::new(),
            since_ms: 0,
            until_ms: 0,
            environment: None,
        },
        11,
    );
    let failure = project.export_as("two", &Asked { since: "2024-01-01".into(), ..Asked::default() }).err().unwrap();
    assert_eq!(failure.code, Code::JournalBroken);
}

/// The run that `journal/benches/journal.rs` repeats: a deployment that went well, as it stands in a journal.
#[test]
#[ignore = "writes benches/run.jsonl"]
fn write_the_run_for_the_benchmark() {
    let mut project = Project::new();
    let run = project.tell(&testing::good(), 0);
    let lines: Vec<String> =
        project.journal.store().events(run.as_str()).unwrap().into_iter().map(|entry| entry.rec).collect();
    let text = lines.join("\n").replace(run.as_str(), "{run}").replace(testing::SECRET, "secret");
    fs_err::write(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/run.jsonl"), text + "\n").unwrap();
}
