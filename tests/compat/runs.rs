//! Runs in progress as the first release left them: opened, read and continued by the program as it is now.
//!
//! Each file of `tests/compat/runs-v1` is the journal of a run that was stopped: a line about the journal, then its events as they were
//! written, with the name of the target's database taken out. A file that no longer continues is a run that somebody cannot finish: mend the
//! program, never the file.

use crate::crash::story;
use crate::support::project::Project;
use dbd_journal::{Journal, NewEvent, OpenOptions, RawValue};
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::path::PathBuf;

const DATABASE: &str = "{{database}}";
const SERVER: &str = "{{server}}";

/// The folder of the test server's socket, as a target's place names it.
fn socket() -> String {
    crate::support::pg::server().socket.display().to_string()
}

/// A run that was stopped: its file, the project, the command, the gap it was killed in (the first of that name about that thing, after
/// `effect` was intended), and the commands that go on.
struct Stopped {
    name: &'static str,
    project: fn() -> Project,
    gap: Option<(&'static str, &'static str)>,
    effect: &'static str,
    on: &'static [(&'static str, i32)],
}

const STOPPED: &[Stopped] = &[
    Stopped {
        name: "waits-for-approval",
        project: story::asks_first,
        gap: None,
        effect: "",
        on: &[("resume {run}", 75), ("approve {run}", 0), ("resume {run}", 0)],
    },
    Stopped {
        name: "killed-in-its-dump",
        project: story::deploys,
        gap: Some(("dump written", "")),
        effect: "dump",
        on: &[("resume {run}", 0)],
    },
    Stopped {
        name: "killed-before-its-first-step",
        project: story::deploys,
        gap: Some(("prepare open", "")),
        effect: "prepare_target",
        on: &[("resume {run}", 0)],
    },
];

fn file(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/compat/runs-v1")).join(format!("{name}.jsonl"))
}

/// Makes the journal of `project` from a file.
fn restore(project: &Project, name: &str) {
    let text =
        fs_err::read_to_string(file(name)).unwrap().replace(DATABASE, &project.database).replace(SERVER, &socket());
    let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let head = lines.next().expect("a line about the journal");
    let options = OpenOptions::new(head["origin"].as_str().unwrap(), head["created_ms"].as_i64().unwrap());
    let mut journal = Journal::open(project.journal(), &options).unwrap();
    let raw = |value: &Value| RawValue::from_string(value.to_string()).unwrap();
    for line in lines {
        let number = |name: &str| line[name].as_u64().unwrap();
        let epoch = number("epoch");
        let run = line["run"].as_str().unwrap();
        if line["kind"] == "run.lease_taken" {
            let lease = journal.take_lease("dev", run, "somebody pid 1", line["ts"].as_i64().unwrap()).unwrap();
            assert_eq!(lease.epoch, epoch);
        }
        let blobs = line["blobs"].as_array().unwrap().iter().map(|blob| blob.as_str().unwrap().as_bytes().to_vec());
        let new = NewEvent {
            run: run.to_owned(),
            expected_rseq: number("rseq") - 1,
            ts_ms: line["ts"].as_i64().unwrap(),
            kind: line["kind"].as_str().unwrap().to_owned(),
            v: u32::try_from(number("v")).unwrap(),
            cause: None,
            epoch,
            actor: raw(&line["actor"]),
            by: raw(&line["by"]),
            body: raw(&line["body"]),
            blobs: blobs.collect(),
        };
        journal.append(new).unwrap();
    }
}

#[test]
fn runs_that_the_first_release_left_open_are_finished_by_this_one() {
    for stopped in STOPPED {
        let project = (stopped.project)();
        restore(&project, stopped.name);
        let listed = project.dbd(&["list", "--json"]).expect(0);
        assert!(listed.stdout.contains(&project.run_in_journal()), "{listed:?}");
        for (command, status) in stopped.on {
            let output = project.dbd(&story::words(&project, command));
            assert_eq!(output.code, Some(*status), "{}: {command}\n{output:?}\n{:#?}", stopped.name, project.events());
        }
        story::STORIES[0].check(&project, &|| stopped.name.to_owned());
    }
}

#[test]
#[ignore = "writes the files of tests/compat/runs-v1 that are not there; a file that is there stays as it is"]
fn write_missing_runs() {
    for stopped in STOPPED.iter().filter(|stopped| !file(stopped.name).exists()) {
        let at = stopped.gap.map(|(name, about)| {
            let (_, gaps) = (stopped.project)().drill(None, &["start", "dev", "--json"]);
            // The rehearsal passes some of the same gaps; the last one is the target's.
            gaps.iter().rposition(|gap| gap.0 == name && gap.1 == about).expect("it is passed") + 1
        });
        let project = (stopped.project)();
        match at {
            Some(at) => assert_eq!(project.drill(Some(at), &["start", "dev", "--json"]).0.code, None),
            None => drop(project.start().expect(75)),
        }
        let journal = Journal::open_read_only(project.journal()).unwrap();
        let mut text = json!({"origin": "dbd/vela/1", "created_ms": journal.created_ms()}).to_string() + "\n";
        let mut last = String::new();
        journal
            .scan(1, |entry| {
                let value = |raw: &RawValue| serde_json::from_str::<Value>(raw.get()).unwrap();
                let texts = entry.refs.iter().map(|name| journal.blob(name).unwrap().expect("it is there"));
                let blobs: Vec<String> = texts.map(|bytes| String::from_utf8(bytes).unwrap()).collect();
                let line = json!({
                    "run": entry.run, "rseq": entry.rseq, "ts": entry.ts_ms, "kind": entry.kind, "v": entry.v, "epoch": entry.epoch,
                    "actor": value(&entry.actor), "by": value(&entry.by), "body": value(&entry.body), "blobs": blobs,
                });
                if entry.kind == "step.intended" {
                    last = line["body"]["effect"]["do"].as_str().unwrap_or_default().to_owned();
                }
                text.push_str(&line.to_string());
                text.push('\n');
                ControlFlow::Continue(())
            })
            .unwrap();
        assert!(stopped.effect.is_empty() || last == stopped.effect, "killed in {last}");
        let host = dbd::wire::host_name();
        let text = text
            .replace(&project.database, DATABASE)
            .replace(&socket(), SERVER)
            .replace(&format!("\"{host}\""), "\"vela\"");
        fs_err::create_dir_all(file(stopped.name).parent().unwrap()).unwrap();
        fs_err::write(file(stopped.name), text).unwrap();
    }
}
