//! `dbd demo`: the whole story, told by the real program, and what is left of it.

use dbd::adapters::support::process::{self, Process};
use dbd::domain::code::Code;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long anything is waited for before the test fails. Nothing is measured by it.
const DEADLINE: Duration = Duration::from_secs(180);

/// A place for one demo: its own folder for temporary files, and an environment full of what must not matter.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        // The server's user has to come through, and a socket's path is short.
        let folder = crate::support::room::folder("demo");
        fs_err::create_dir(folder.path().join("tmp")).unwrap();
        fs_err::set_permissions(folder.path().join("tmp"), std::fs::Permissions::from_mode(0o1777)).unwrap();
        Self { folder }
    }

    fn tmp(&self) -> PathBuf {
        self.folder.path().join("tmp")
    }

    fn dbd(&self, arguments: &[&str]) -> Command {
        let inherited = |name: &str| std::env::vars_os().find(|(key, _)| key == name).map(|(_, value)| value);
        let mut command = Command::new(env!("CARGO_BIN_EXE_dbd"));
        command.args(arguments).current_dir(self.folder.path()).env_clear().stdin(Stdio::null());
        for name in ["PATH", "PG_BIN"] {
            command.envs(inherited(name).map(|value| (name, value)));
        }
        command
            .env("HOME", self.folder.path())
            .env("TMPDIR", self.tmp())
            .env("XDG_CACHE_HOME", Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"))
            // Whoever tries the demo has an environment, and nothing in it may be touched.
            .envs(
                ["DEMO", "SANDBOX", "PROD"]
                    .map(|name| (format!("{name}_POSTGRES_URL"), "postgres://nobody@127.0.0.1:1/precious")),
            )
            .envs([
                ("DEMO_URL", "http://127.0.0.1:1/"),
                ("PGHOST", "127.0.0.1"),
                ("PGPORT", "1"),
                ("PGDATABASE", "precious"),
            ]);
        command
    }

    /// What is left where the demo keeps its files.
    fn files(&self) -> BTreeSet<String> {
        fs_err::read_dir(self.tmp())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect()
    }

    /// The processes the demo started that still run; the place for temporary files is handed down to each of them.
    fn processes(&self) -> Vec<Process> {
        process::with_variable("TMPDIR", self.tmp().to_str().unwrap())
    }
}

impl Drop for Place {
    /// A test that failed half-way must not leave servers.
    fn drop(&mut self) {
        for left in self.processes() {
            left.signal(Signal::KILL);
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("stdout is no document: {error}\n{}\n{}", text(&output.stdout), text(&output.stderr))
    })
}

#[test]
fn the_story_ends_as_told_and_leaves_nothing() {
    let place = Place::new();
    let output = place.dbd(&["demo", "--json"]).output().unwrap();
    let story = document(&output);
    assert_eq!(output.status.code(), Some(0), "{story:#}\n{}", text(&output.stderr));
    assert_eq!((&story["schema"], &story["ok"], &story["kept"]), (&json!("dbd.demo/1"), &json!(true), &Value::Null));

    let acts = story["acts"].as_array().unwrap();
    let ended: Vec<(&str, i64)> =
        acts.iter().map(|act| (act["name"].as_str().unwrap(), act["exit"].as_i64().unwrap())).collect();
    let told = [
        ("good", 0),
        ("refused", 3),
        ("rolled back", 4),
        ("killed", 137),
        ("status", 0),
        ("resumed", 0),
        ("audit", 0),
        ("audit verify", 0),
    ];
    assert_eq!(ended, told);
    for act in acts {
        assert_eq!(act["exit"], act["expected"], "{act}");
        assert!(act["command"].as_str().unwrap().starts_with("dbd "), "{act}");
    }
    let runs: BTreeSet<&str> = acts.iter().filter_map(|act| act["run"].as_str()).collect();
    assert_eq!(runs.len(), 4, "four runs, one of them in two processes: {story:#}");
    assert_eq!(acts[3]["run"], acts[5]["run"], "it is the killed run that was resumed");

    assert_eq!(place.files(), BTreeSet::new());
    assert_eq!(place.processes(), []);
}

#[test]
fn ctrl_c_in_the_middle_leaves_nothing_either() {
    let place = Place::new();
    let mut demo = place.dbd(&["demo"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A run is under way once a child has made itself a sandbox.
    let deadline = Instant::now() + DEADLINE;
    while !place.files().iter().any(|name| name.starts_with("dbd-sandbox-deploy-")) {
        assert!(demo.try_wait().unwrap().is_none() && Instant::now() < deadline, "no run was begun");
        std::thread::sleep(Duration::from_millis(5));
    }
    Process::of(i32::try_from(demo.id()).unwrap()).unwrap().signal(Signal::INT);
    let output = demo.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("Ctrl-C"), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("nothing is left"), "{}", text(&output.stdout));
    assert_eq!(place.files(), BTreeSet::new());
    assert_eq!(place.processes(), []);
}

#[test]
fn without_postgresql_the_first_thing_said_is_how_to_get_it() {
    let place = Place::new();
    let empty = place.folder.path().join("no-programs-here");
    fs_err::create_dir(&empty).unwrap();
    let output = place.dbd(&["demo"]).env("PG_BIN", &empty).output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert_eq!(text(&output.stdout), "");
    assert!(said.starts_with("error: PostgreSQL's") && said.contains(Code::ToolsMissing.as_str()), "{said}");
    assert!(said.contains("hint:") && said.contains("install"), "{said}");
    assert_eq!(place.files(), BTreeSet::new());
}
